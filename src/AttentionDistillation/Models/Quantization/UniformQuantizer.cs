using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Quantization;

/// <summary>The gradient that passes through <see cref="UniformQuantizer"/>.</summary>
public enum QuantizationGradient
{
    /// <summary>The gradient at the quantized weight, unchanged (straight-through).</summary>
    Identity,

    /// <summary>Weights are clamped to [-1, 1] before they are quantized; straight-through inside, 0 outside.</summary>
    Truncated,

    /// <summary>Rounding is straight-through, but a bucket's scale and offset follow its largest and smallest element.</summary>
    Scaled,
}

/// <summary>How weights become levels.</summary>
public sealed record QuantizationOptions
{
    /// <summary>s, the number of levels of a bucket, 2 or more; 2 to the power of the bits.</summary>
    public int Levels { get; init; } = 4;

    /// <summary>k, the elements that share scale and offset; null: all of a tensor.</summary>
    public int? Bucket { get; init; } = 256;

    /// <summary>The gradient.</summary>
    public QuantizationGradient Gradient { get; init; } = QuantizationGradient.Identity;

    internal void Validate()
    {
        if (Levels < 2)
            throw new ArgumentException($"{nameof(Levels)} must be 2 or more (4 for 2 bits), but is {Levels}.");
        if (Bucket is < 1)
            throw new ArgumentException($"{nameof(Bucket)} must be 1 or more, or null for a whole tensor, but is {Bucket}.");
    }
}

/// <summary>A quantized tensor.</summary>
/// <param name="Values">The shape of the weight: α q + β.</param>
/// <param name="Codes">The shape of the weight, whole numbers 0 to s - 1: the level of each element.</param>
/// <param name="Alpha">[buckets], each bucket's range.</param>
/// <param name="Beta">[buckets], each bucket's least element.</param>
public sealed record QuantizedTensor(Tensor Values, Tensor Codes, Tensor Alpha, Tensor Beta);

/// <summary>
/// Bucketed uniform quantization (Polino, Pascanu and Alistarh, "Model compression via distillation and quantization", arXiv 1802.05668, 2018,
/// sections 2.1 and 3): a tensor is flattened and cut into buckets of k elements, each scaled to [0, 1] by its own range and rounded to s levels.
/// </summary>
/// <remarks>
/// Per bucket β = min, α = max - min, u = (w - β) / α, q = round(u (s - 1)) / (s - 1) with halves to even, Q(w) = α q + β.
/// </remarks>
public static class UniformQuantizer
{
    /// <summary>Quantizes a tensor; no gradient passes.</summary>
    /// <param name="weight">Any shape, at least one element.</param>
    /// <param name="options">Levels and buckets.</param>
    /// <param name="draws">
    /// [buckets, k] uniform in [0, 1) for stochastic rounding, where an element goes up when its draw is at most its fraction; null rounds to the nearest.
    /// </param>
    /// <exception cref="ArgumentException">An option is out of range, the tensor is empty, or the draws have another shape.</exception>
    public static QuantizedTensor Quantize(Tensor weight, QuantizationOptions options, Tensor? draws = null)
    {
        ArgumentNullException.ThrowIfNull(weight);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var used = options.Gradient == QuantizationGradient.Truncated ? weight.clamp(-1.0, 1.0) : weight;
        var buckets = WeightBuckets.Of(used, options.Bucket);
        var steps = buckets.Unit * (options.Levels - 1);
        if (draws is not null && !draws.shape.SequenceEqual(steps.shape))
            throw new ArgumentException(
                $"Stochastic rounding needs draws [{string.Join(", ", steps.shape)}] (buckets, elements), but they are [{string.Join(", ", draws.shape)}].",
                nameof(draws)
            );
        var codes = draws is null ? steps.round() : steps.floor() + (draws <= steps - steps.floor()).to(steps.dtype);
        codes = codes.clamp(0, options.Levels - 1);
        var values = buckets.Scaled(codes / (options.Levels - 1));
        return new(
            buckets.Shaped(values).MoveToOuterDisposeScope(),
            buckets.Shaped(codes).MoveToOuterDisposeScope(),
            buckets.Alpha.squeeze(1).clone().MoveToOuterDisposeScope(),
            buckets.Beta.squeeze(1).clone().MoveToOuterDisposeScope()
        );
    }

    /// <summary>The quantized weight as a function of the weight, with the options' gradient; its values lie exactly on the levels.</summary>
    /// <param name="weight">Any shape.</param>
    /// <param name="options">Levels, buckets, gradient.</param>
    /// <exception cref="ArgumentException">An option is out of range, or the tensor is empty.</exception>
    public static Tensor StraightThrough(Tensor weight, QuantizationOptions options)
    {
        ArgumentNullException.ThrowIfNull(weight);
        ArgumentNullException.ThrowIfNull(options);
        using var scope = NewDisposeScope();
        var values = Quantize(weight, options).Values;
        var passed = options.Gradient == QuantizationGradient.Truncated ? weight.clamp(-1.0, 1.0) : weight;
        var result = values + (passed - passed.detach());
        if (options.Gradient == QuantizationGradient.Scaled)
        {
            var (slope, highest, lowest) = Extremes(weight, values, options);
            var flat = weight.reshape(-1);
            var range = flat.index_select(0, highest) - flat.index_select(0, lowest);
            result = result + Spread(slope * (range - range.detach()).unsqueeze(1), weight);
        }
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>The weight's gradient from the gradient at the quantized weight, for training that puts the levels into the model itself.</summary>
    /// <param name="weight">The full-precision weight.</param>
    /// <param name="upstream">The gradient at the quantized weight, the same shape.</param>
    /// <param name="options">Levels, buckets, gradient.</param>
    /// <exception cref="ArgumentException">An option is out of range, or the shapes differ.</exception>
    public static Tensor Gradient(Tensor weight, Tensor upstream, QuantizationOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        Tensors.Shapes.RequireExact(upstream, weight.shape);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        switch (options.Gradient)
        {
            case QuantizationGradient.Identity:
                return upstream.clone().MoveToOuterDisposeScope();
            case QuantizationGradient.Truncated:
                return upstream.masked_fill(weight.abs() > 1.0, 0.0).MoveToOuterDisposeScope();
            default:
                var (slope, highest, lowest) = Extremes(weight, Quantize(weight, options).Values, options);
                var sums = (slope * WeightBuckets.Cut(upstream, options.Bucket, fills: false)).sum(1);
                var gradient = upstream.reshape(-1).clone();
                gradient.index_add_(0, highest, sums, 1);
                gradient.index_add_(0, lowest, sums, -1);
                return gradient.view(weight.shape).MoveToOuterDisposeScope();
        }
    }

    // q - u of every element [buckets, k], and where in the flat weight each bucket's largest and smallest element lies.
    private static (Tensor Slope, Tensor Highest, Tensor Lowest) Extremes(
        Tensor weight,
        Tensor values,
        QuantizationOptions options
    )
    {
        using var guard = no_grad();
        var buckets = WeightBuckets.Of(weight, options.Bucket);
        var slope = (WeightBuckets.Cut(values, options.Bucket) - buckets.Beta) / buckets.Alpha - buckets.Unit;
        return (
            slope,
            buckets.First(buckets.Unit.amax([1], keepdim: true)),
            buckets.First(buckets.Unit.amin([1], keepdim: true))
        );
    }

    private static Tensor Spread(Tensor rows, Tensor like) => rows.reshape(-1).narrow(0, 0, like.numel()).view(like.shape);
}
