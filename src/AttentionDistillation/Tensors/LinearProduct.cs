using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>
/// Linear layers on inputs of any rank, computed on their rows [N, features]. Only there does TorchSharp's linear layer add the bias within the
/// product; on other ranks it takes a pass over the output of its own for it, which on an H100 costs as much as the product.
/// </summary>
public static class LinearProduct
{
    /// <summary>A layer's output, for the same result as <c>layer.call(input)</c>, faster.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="input">[..., input width].</param>
    /// <returns>[..., output width].</returns>
    /// <exception cref="ArgumentException">The last axis is not the layer's input width.</exception>
    public static Tensor Project(this Linear layer, Tensor input)
    {
        ArgumentNullException.ThrowIfNull(layer);
        return OnRows(input, layer.weight!.size(1), layer.weight.size(0), layer.call);
    }

    /// <summary>input weightᵀ + bias.</summary>
    /// <param name="input">[..., input width].</param>
    /// <param name="weight">[output width, input width].</param>
    /// <param name="bias">[output width], or null.</param>
    /// <returns>[..., output width].</returns>
    /// <exception cref="ArgumentException">The last axis is not the weight's input width.</exception>
    public static Tensor Of(Tensor input, Tensor weight, Tensor? bias)
    {
        ArgumentNullException.ThrowIfNull(weight);
        return OnRows(input, weight.size(1), weight.size(0), rows => nn.functional.linear(rows, weight, bias));
    }

    private static Tensor OnRows(Tensor input, long width, long outputWidth, Func<Tensor, Tensor> product)
    {
        ArgumentNullException.ThrowIfNull(input);
        if (input.dim() == 0 || input.size(-1) != width)
            throw new ArgumentException(
                $"The layer takes {width} features, but the input is {Shapes.Describe(input)}: its last axis must be {width}.",
                nameof(input)
            );
        if (input.dim() == 2)
            return product(input);
        using var scope = NewDisposeScope();
        long[] shape = input.shape;
        shape[^1] = outputWidth;
        return product(input.reshape(-1, width)).view(shape).MoveToOuterDisposeScope();
    }
}
