using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Quantization;

/// <summary>How a gradient at quantized weights becomes one at the weights themselves.</summary>
public enum QuantizationGradient
{
    /// <summary>As it is: the straight-through estimate, the default of quantized distillation.</summary>
    Identity,

    /// <summary>As it is, but 0 where |w| is above 1; such weights are clamped to [-1, 1] before they are quantized.</summary>
    Truncated,

    /// <summary>Rounding passes it on, and scale and offset follow the largest and the smallest element of each bucket.</summary>
    Scaled,
}

/// <summary>Weights brought to levels.</summary>
/// <param name="Quantized">The weights' shape: scale times level plus offset.</param>
/// <param name="Codes">The number of each weight's level, from 0; the weights' shape and type.</param>
/// <param name="Scale">α, largest minus smallest of each bucket, [buckets]; 1 where they are equal.</param>
/// <param name="Offset">β, the smallest of each bucket, [buckets].</param>
public sealed record QuantizedWeights(Tensor Quantized, Tensor Codes, Tensor Scale, Tensor Offset);

/// <summary>
/// Weights in buckets of a few elements, each scaled to [0, 1] by its own smallest and largest element and brought to levels there: evenly spaced ones, or
/// learned ones. The last bucket is filled up with the tensor's last element, which changes no extreme.
/// </summary>
/// <remarks>
/// Polino, Pascanu, Alistarh 2018, "Model compression via distillation and quantization", arXiv 1802.05668, sections 2 and 4; antspy/quantized_distillation
/// @ bb500b7, whose scaled gradient uses the wrong largest element where several reach the top level; here the first largest weight is used.
/// </remarks>
public static class BucketedQuantization
{
    private const double Flat = 1e-10;

    /// <summary>Q = α round(u (s - 1)) / (s - 1) + β with u = (w - β) / α; halves are rounded to even.</summary>
    /// <param name="weight">Any shape, real numbers.</param>
    /// <param name="levels">s, at least 2: 2^bits.</param>
    /// <param name="bucket">Elements of a bucket; null, or more than there are, for one bucket.</param>
    /// <param name="draws">[buckets, elements], uniform in [0, 1): rounds up where the draw is at most the fraction; null for the nearest level.</param>
    /// <exception cref="ArgumentException">A number is out of range, or the draws have another shape than the buckets.</exception>
    public static QuantizedWeights Quantize(Tensor weight, int levels, int? bucket = null, Tensor? draws = null)
    {
        RequireLevels(levels);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var (scaled, scale, offset) = Scaled(weight, bucket);
        var steps = scaled * (levels - 1);
        Tensor codes;
        if (draws is null)
        {
            codes = steps.round();
        }
        else
        {
            Shapes.RequireExact(draws, scaled.shape);
            var lower = steps.floor();
            codes = lower + (draws <= steps - lower).to(lower.dtype);
        }
        var values = codes / (levels - 1) * scale.unsqueeze(1) + offset.unsqueeze(1);
        return new(
            Unfolded(values, weight).MoveToOuterDisposeScope(),
            Unfolded(codes, weight).MoveToOuterDisposeScope(),
            scale.MoveToOuterDisposeScope(),
            offset.MoveToOuterDisposeScope()
        );
    }

    /// <summary>The gradient at the weights from that at the evenly quantized weights.</summary>
    /// <param name="weight">The weights.</param>
    /// <param name="upstream">The gradient at the quantized weights, same shape.</param>
    /// <param name="levels">s.</param>
    /// <param name="bucket">Elements of a bucket; null for one bucket.</param>
    /// <param name="style">How.</param>
    /// <exception cref="ArgumentException">A number is out of range, or the shapes differ.</exception>
    public static Tensor Gradient(
        Tensor weight,
        Tensor upstream,
        int levels,
        int? bucket = null,
        QuantizationGradient style = QuantizationGradient.Identity
    )
    {
        RequireLevels(levels);
        Shapes.RequireExact(upstream, weight.shape);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        if (style == QuantizationGradient.Identity)
            return upstream.clone().MoveToOuterDisposeScope();
        if (style == QuantizationGradient.Truncated)
            return upstream.masked_fill(weight.abs() > 1, 0.0).MoveToOuterDisposeScope();
        var (scaled, _, _) = Scaled(weight, bucket);
        var moved = ((scaled * (levels - 1)).round() / (levels - 1) - scaled) * Folded(upstream, bucket, filled: false);
        var sums = moved.sum(1L, keepdim: true);
        var folded = Folded(upstream, bucket, filled: false).clone();
        // The filler repeats the last element, so the first of equal extremes is never a filler.
        folded.scatter_add_(1, scaled.argmax(1, keepdim: true), sums);
        folded.scatter_add_(1, scaled.argmin(1, keepdim: true), -sums);
        return Unfolded(folded, weight).MoveToOuterDisposeScope();
    }

    /// <summary>Every weight at its nearest learned level; half way between two it goes to the upper. Differentiable in the levels.</summary>
    /// <param name="weight">The weights; they receive no gradient.</param>
    /// <param name="points">[levels], ascending, in [0, 1].</param>
    /// <param name="bucket">Elements of a bucket; null for one bucket.</param>
    /// <returns>The quantized weights and, int64 of the same shape, the level of each.</returns>
    /// <exception cref="ArgumentException">There are no levels, or they do not ascend.</exception>
    public static (Tensor Quantized, Tensor Index) ToPoints(Tensor weight, Tensor points, int? bucket = null)
    {
        Shapes.Require(points, "[levels]");
        using var scope = NewDisposeScope();
        long count = points.size(0);
        if (count == 0)
            throw new ArgumentException("There is no level.", nameof(points));
        var fixedPoints = points.detach();
        if (count > 1 && (fixedPoints.narrow(0, 1, count - 1) < fixedPoints.narrow(0, 0, count - 1)).any().ToBoolean())
            throw new ArgumentException("The levels do not ascend. Sort them after each step.", nameof(points));
        var (scaled, scale, offset) = Scaled(weight.detach(), bucket);
        var middles = (fixedPoints.narrow(0, 1, count - 1) + fixedPoints.narrow(0, 0, count - 1)) / 2;
        var index = zeros(scaled.shape, dtype: ScalarType.Int64, device: scaled.device);
        for (long middle = 0; middle < count - 1; middle++)
            index += (scaled >= middles[middle]).to(ScalarType.Int64);
        var levels = points.index_select(0, index.flatten()).view(scaled.shape).to(scaled.dtype);
        var values = levels * scale.unsqueeze(1) + offset.unsqueeze(1);
        return (Unfolded(values, weight).MoveToOuterDisposeScope(), Unfolded(index, weight).MoveToOuterDisposeScope());
    }

    /// <summary>Levels to start from: evenly spaced quantiles, 0 to 1, of the scaled weights, by linear interpolation.</summary>
    /// <param name="weight">The weights.</param>
    /// <param name="count">Levels, at least 2.</param>
    /// <param name="bucket">Elements of a bucket; null for one bucket.</param>
    /// <exception cref="ArgumentException">There are fewer than two levels.</exception>
    public static Tensor QuantilePoints(Tensor weight, int count, int? bucket = null)
    {
        RequireLevels(count);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var (scaled, _, _) = Scaled(weight, bucket);
        var sorted = scaled.flatten().narrow(0, 0, weight.numel()).sort().Values;
        var places = linspace(0, sorted.size(0) - 1, count, dtype: sorted.dtype, device: sorted.device);
        var lower = places.floor();
        var upper = (lower + 1).clamp_max(sorted.size(0) - 1);
        var low = sorted.index_select(0, lower.to(ScalarType.Int64));
        var high = sorted.index_select(0, upper.to(ScalarType.Int64));
        return (low + (high - low) * (places - lower)).MoveToOuterDisposeScope();
    }

    private static void RequireLevels(int levels)
    {
        if (levels < 2)
            throw new ArgumentException($"There are {levels} levels. Give at least 2, 2^bits for so many bits.", nameof(levels));
    }

    private static (Tensor Scaled, Tensor Scale, Tensor Offset) Scaled(Tensor weight, int? bucket)
    {
        var folded = Folded(weight, bucket, filled: true);
        var offset = folded.amin([1L]);
        var range = folded.amax([1L]) - offset;
        var scale = range.masked_fill(range < Flat, 1.0);
        return ((folded - offset.unsqueeze(1)) / scale.unsqueeze(1), scale, offset);
    }

    /// <summary>[buckets, elements]; the last bucket's places beyond the tensor hold its last element, or 0.</summary>
    private static Tensor Folded(Tensor tensor, int? bucket, bool filled)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (bucket is < 1)
            throw new ArgumentException(
                $"A bucket holds {bucket} elements. Give 1 or more, or null for one bucket.",
                nameof(bucket)
            );
        if (tensor.numel() == 0)
            throw new ArgumentException("The tensor is empty.", nameof(tensor));
        var flat = tensor.reshape(-1);
        long count = flat.size(0),
            elements = Math.Min(bucket ?? count, count),
            missing = (elements - count % elements) % elements;
        if (missing > 0)
        {
            var last = flat.narrow(0, count - 1, 1).expand(missing);
            flat = cat([flat, filled ? last : zeros_like(last)]);
        }
        return flat.view(-1, elements);
    }

    private static Tensor Unfolded(Tensor buckets, Tensor like) =>
        buckets.flatten().narrow(0, 0, like.numel()).reshape(like.shape);
}
