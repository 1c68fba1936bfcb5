using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>The sizes of a Transformer that its cost depends on.</summary>
/// <param name="Layers">Number of layers.</param>
/// <param name="Width">C.</param>
/// <param name="FeedForwardWidth">Inner width of the feed-forward block.</param>
/// <param name="Vocabulary">V of the output head; 0 without one.</param>
public sealed record TransformerSize(int Layers, int Width, int FeedForwardWidth, int Vocabulary = 0)
{
    private const int PlainMatrices = 2;

    /// <summary>H x D, the width of the queries, where it is not the width of the model, as in pruned models.</summary>
    public int? AttentionWidth { get; init; }

    /// <summary>Width of the keys and of the values, where grouped queries have fewer key heads; null means that of the queries.</summary>
    public int? KeyWidth { get; init; }

    /// <summary>Matrices of a feed-forward block: 2, or 3 when it is gated.</summary>
    public int FeedForwardMatrices { get; init; } = PlainMatrices;
}

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
    /// projections 2 L C A + 2 L C K, scores and weighted sum 2 L^2 A, feed-forward 2 L C F (3 when gated); once the output head L C V; all times 2.
    /// A is the width of the queries and K that of the keys, both C in a plain model. Softmax, normalisation, biases and embeddings are left out,
    /// as is usual. A training step costs about three times as much.
    /// </summary>
    /// <param name="size">The model.</param>
    /// <param name="length">L.</param>
    public static double ForwardOperations(TransformerSize size, long length)
    {
        ArgumentNullException.ThrowIfNull(size);
        double l = length,
            c = size.Width,
            a = size.AttentionWidth ?? size.Width,
            k = size.KeyWidth ?? a;
        double layer = 2 * l * c * (a + k) + 2 * l * l * a + size.FeedForwardMatrices * l * c * size.FeedForwardWidth;
        return OperationsPerMultiplyAdd * (size.Layers * layer + l * c * size.Vocabulary);
    }

    private static IEnumerable<Tensor> Once(IEnumerable<Tensor> tensors) => tensors.DistinctBy(tensor => tensor.Handle);
}
