using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>The sizes of a Transformer that its cost depends on.</summary>
/// <param name="Layers">Number of layers.</param>
/// <param name="Width">C.</param>
/// <param name="FeedForwardWidth">Inner width of the feed-forward block.</param>
/// <param name="Vocabulary">V of the output head; 0 without one.</param>
public sealed record TransformerSize(int Layers, int Width, int FeedForwardWidth, int Vocabulary = 0);

/// <summary>What a model costs: parameters, bytes, floating-point operations.</summary>
public static class ModelCost
{
    private const double OperationsPerMultiplyAdd = 2;

    /// <summary>Number of parameters; a parameter used in two places counts once.</summary>
    public static long Parameters(nn.Module module)
    {
        ArgumentNullException.ThrowIfNull(module);
        return Once(module.parameters()).Sum(parameter => parameter.numel());
    }

    /// <summary>Bytes of parameters and buffers; a tensor used in two places counts once.</summary>
    public static long Bytes(nn.Module module)
    {
        ArgumentNullException.ThrowIfNull(module);
        return Once(module.parameters().Concat(module.buffers())).Sum(tensor => tensor.numel() * tensor.element_size());
    }

    /// <summary>
    /// Floating-point operations of one forward pass over one sequence, a multiply-add counted as 2: per layer the query, key, value and output
    /// projections 4 L C^2, scores and weighted sum 2 L^2 C, feed-forward 2 L C F; once the output head L C V; all times 2. Softmax,
    /// normalisation, biases and embeddings are left out, as is usual. A training step costs about three times as much.
    /// </summary>
    /// <param name="size">The model.</param>
    /// <param name="length">L.</param>
    public static double ForwardOperations(TransformerSize size, long length)
    {
        ArgumentNullException.ThrowIfNull(size);
        double l = length,
            c = size.Width;
        double layer = 4 * l * c * c + 2 * l * l * c + 2 * l * c * size.FeedForwardWidth;
        return OperationsPerMultiplyAdd * (size.Layers * layer + l * c * size.Vocabulary);
    }

    private static IEnumerable<Tensor> Once(IEnumerable<Tensor> tensors) => tensors.DistinctBy(tensor => tensor.Handle);
}
