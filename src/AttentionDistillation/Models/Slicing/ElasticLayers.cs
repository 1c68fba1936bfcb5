using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>The weights of one post-norm encoder layer at its full size.</summary>
/// <param name="Query">[Hmax x D, Cmax] and bias [Hmax x D]; so <paramref name="Key"/> and <paramref name="Value"/>.</param>
/// <param name="Key">As the query.</param>
/// <param name="Value">As the query.</param>
/// <param name="Output">[Cmax, Hmax x D] and bias [Cmax].</param>
/// <param name="AttentionNorm">Gain and bias [Cmax].</param>
/// <param name="Inner">[Fmax, Cmax] and bias [Fmax].</param>
/// <param name="Outer">[Cmax, Fmax] and bias [Cmax].</param>
/// <param name="OutputNorm">Gain and bias [Cmax].</param>
public sealed record ElasticBlockWeights(
    (Tensor Weight, Tensor Bias) Query,
    (Tensor Weight, Tensor Bias) Key,
    (Tensor Weight, Tensor Bias) Value,
    (Tensor Weight, Tensor Bias) Output,
    (Tensor Weight, Tensor Bias) AttentionNorm,
    (Tensor Weight, Tensor Bias) Inner,
    (Tensor Weight, Tensor Bias) Outer,
    (Tensor Weight, Tensor Bias) OutputNorm
);

/// <summary>
/// Layers of a weight-sharing super-network: a smaller layer uses the FIRST rows and columns of the big layer's weights (AutoDistil, arXiv 2201.12507),
/// and its gradient outside them is zero.
/// </summary>
public static class ElasticLayers
{
    /// <summary>x W[:O, :I]^T + b[:O], where I is the width of x.</summary>
    /// <param name="input">[..., I].</param>
    /// <param name="weight">[Omax, Imax].</param>
    /// <param name="bias">[Omax], or null.</param>
    /// <param name="outputWidth">O.</param>
    /// <exception cref="ArgumentException">The slice is larger than the weight.</exception>
    public static Tensor Linear(Tensor input, Tensor weight, Tensor? bias, long outputWidth)
    {
        ArgumentNullException.ThrowIfNull(input);
        Shapes.Require(weight, "[O, I]");
        long inputWidth = input.shape[^1];
        if (outputWidth < 1 || outputWidth > weight.size(0) || inputWidth > weight.size(1))
            throw new ArgumentException(
                $"A layer from {inputWidth} to {outputWidth} does not lie in a weight {Shapes.Describe(weight)} (output, input)."
            );
        using var scope = NewDisposeScope();
        return LinearProduct
            .Of(input, weight.narrow(0, 0, outputWidth).narrow(1, 0, inputWidth), bias?.narrow(0, 0, outputWidth))
            .MoveToOuterDisposeScope();
    }

    /// <summary>Layer normalisation over the width of the input, with the first entries of gain and bias.</summary>
    /// <param name="input">[..., C].</param>
    /// <param name="gain">[Cmax].</param>
    /// <param name="bias">[Cmax].</param>
    /// <param name="epsilon">Added to the variance.</param>
    public static Tensor LayerNorm(Tensor input, Tensor gain, Tensor bias, double epsilon)
    {
        ArgumentNullException.ThrowIfNull(input);
        Shapes.Require(gain, "[C]");
        long width = input.shape[^1];
        if (width > gain.size(0))
            throw new ArgumentException($"An input of width {width} does not lie in a layer norm of width {gain.size(0)}.");
        using var scope = NewDisposeScope();
        return nn
            .functional.layer_norm(input, [width], gain.narrow(0, 0, width), bias.narrow(0, 0, width), epsilon)
            .MoveToOuterDisposeScope();
    }

    /// <summary>The attention call of a layer: the first heads of its query, key and value projections.</summary>
    /// <param name="input">[B, L, C].</param>
    /// <param name="weights">The full layer.</param>
    /// <param name="heads">H.</param>
    /// <param name="headWidth">D, that of the full layer.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    public static AttentionState Attend(Tensor input, ElasticBlockWeights weights, int heads, int headWidth, Tensor? mask)
    {
        Shapes.Require(input, "[B, L, C]");
        ArgumentNullException.ThrowIfNull(weights);
        using var scope = NewDisposeScope();
        return new AttentionState(Heads(weights.Query), Heads(weights.Key), Heads(weights.Value), mask).MoveToOuterDisposeScope();

        Tensor Heads((Tensor Weight, Tensor Bias) layer) =>
            Linear(input, layer.Weight, layer.Bias, (long)heads * headWidth)
                .view(input.size(0), input.size(1), heads, headWidth)
                .transpose(1, 2);
    }

    /// <summary>What follows the attention call in a post-norm encoder layer, the call's result included.</summary>
    /// <param name="input">[B, L, C], the layer's input.</param>
    /// <param name="attention">The layer's attention call (<see cref="Attend"/>).</param>
    /// <param name="weights">The full layer.</param>
    /// <param name="innerWidth">F, inner width of the feed-forward block.</param>
    /// <param name="epsilon">Epsilon of the layer norms.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    /// <returns>[B, L, C].</returns>
    public static Tensor Complete(
        Tensor input,
        AttentionState attention,
        ElasticBlockWeights weights,
        int innerWidth,
        double epsilon,
        string activation = "gelu"
    )
    {
        Shapes.Require(input, "[B, L, C]");
        ArgumentNullException.ThrowIfNull(attention);
        ArgumentNullException.ThrowIfNull(weights);
        using var scope = NewDisposeScope();
        long width = input.size(2);
        var allowed = AttentionMask.Allowed(attention.Mask, false, input.size(1), input.size(1), input.device);
        var mixed = nn
            .functional.scaled_dot_product_attention(attention.Query, attention.Key, attention.Value, allowed)
            .transpose(1, 2)
            .reshape(input.size(0), input.size(1), attention.Heads * attention.Query.size(3));
        var attended = Linear(mixed, weights.Output.Weight, weights.Output.Bias, width);
        var middle = LayerNorm(input + attended, weights.AttentionNorm.Weight, weights.AttentionNorm.Bias, epsilon);
        var inner = Activation.Find(activation)(Linear(middle, weights.Inner.Weight, weights.Inner.Bias, innerWidth));
        var outer = Linear(inner, weights.Outer.Weight, weights.Outer.Bias, width);
        return LayerNorm(middle + outer, weights.OutputNorm.Weight, weights.OutputNorm.Bias, epsilon).MoveToOuterDisposeScope();
    }

    /// <summary>A whole post-norm encoder layer: the first heads, channels and neurons of the full one; the width of a head stays.</summary>
    /// <param name="input">[B, L, C].</param>
    /// <param name="weights">The full layer.</param>
    /// <param name="heads">H.</param>
    /// <param name="headWidth">D.</param>
    /// <param name="innerWidth">F, inner width of the feed-forward block.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="epsilon">Epsilon of the layer norms.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    /// <returns>[B, L, C].</returns>
    public static Tensor Block(
        Tensor input,
        ElasticBlockWeights weights,
        int heads,
        int headWidth,
        int innerWidth,
        Tensor? mask,
        double epsilon,
        string activation = "gelu"
    )
    {
        using var scope = NewDisposeScope();
        var attention = Attend(input, weights, heads, headWidth, mask);
        return Complete(input, attention, weights, innerWidth, epsilon, activation).MoveToOuterDisposeScope();
    }
}
