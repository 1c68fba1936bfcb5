using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Quantization;

/// <summary>
/// Levels that are learned while the weights stay (differentiable quantization; arXiv 1802.05668, section 4): every scaled weight goes to the nearest of
/// the points p in [0, 1], half way to the upper, and Q = α p_index + β.
/// </summary>
public static class LearnedLevels
{
    /// <summary>The quantized weight as a function of the points: d/dp_j is the sum of α times the gradient over the elements at point j.</summary>
    /// <param name="weight">Any shape; receives no gradient.</param>
    /// <param name="points">[P], ascending.</param>
    /// <param name="bucket">k, the elements that share scale and offset; null: all.</param>
    /// <returns>The quantized weight, and each element's point int64, both in the shape of the weight.</returns>
    /// <exception cref="ArgumentException">There is no point, or the weight is empty.</exception>
    public static (Tensor Values, Tensor Index) Quantize(Tensor weight, Tensor points, int? bucket)
    {
        Shapes.Require(points, "[P]");
        ArgumentNullException.ThrowIfNull(weight);
        if (points.size(0) == 0)
            throw new ArgumentException("There must be at least one point.", nameof(points));
        using var scope = NewDisposeScope();
        var buckets = WeightBuckets.Of(weight, bucket);
        var index = Nearest(buckets.Unit, points.detach());
        var chosen = points.index_select(0, index.reshape(-1)).view(index.shape);
        return (
            buckets.Shaped(buckets.Scaled(chosen)).MoveToOuterDisposeScope(),
            buckets.Shaped(index).clone().MoveToOuterDisposeScope()
        );
    }

    /// <summary>The points' gradient from the gradient at the quantized weight.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="upstream">The gradient at the quantized weight, the same shape.</param>
    /// <param name="points">[P], ascending.</param>
    /// <param name="bucket">k; null: all.</param>
    /// <returns>[P].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Gradient(Tensor weight, Tensor upstream, Tensor points, int? bucket)
    {
        Shapes.Require(points, "[P]");
        Shapes.RequireExact(upstream, weight.shape);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var buckets = WeightBuckets.Of(weight, bucket);
        var index = buckets.Shaped(Nearest(buckets.Unit, points)).reshape(-1);
        var shares = (buckets.AlphaOfElements * upstream).reshape(-1).to(points.dtype);
        return zeros_like(points).index_add_(0, index, shares, 1).MoveToOuterDisposeScope();
    }

    /// <summary>Points at the quantiles 0 to 1 of the scaled weights, evenly spaced, by linear interpolation: how the levels start.</summary>
    /// <param name="weight">Any shape.</param>
    /// <param name="count">P, 2 or more.</param>
    /// <param name="bucket">k; null: all.</param>
    /// <returns>[P] in [0, 1], ascending.</returns>
    /// <exception cref="ArgumentException">There are fewer than two points, or the weight is empty.</exception>
    public static Tensor Quantiles(Tensor weight, int count, int? bucket)
    {
        RequireTwo(count);
        ArgumentNullException.ThrowIfNull(weight);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var (sorted, _) = WeightBuckets.Of(weight, bucket).Elements.sort();
        var places = linspace(0.0, 1.0, count, dtype: ScalarType.Float64, device: sorted.device) * (sorted.size(0) - 1);
        var lower = places.floor();
        var low = sorted.index_select(0, lower.to(ScalarType.Int64));
        var high = sorted.index_select(0, places.ceil().to(ScalarType.Int64));
        return (low + (high - low) * (places - lower).to(sorted.dtype)).MoveToOuterDisposeScope();
    }

    /// <summary>Points evenly spaced from 0 to 1: the levels of <see cref="UniformQuantizer"/>.</summary>
    /// <param name="weight">Says type and device.</param>
    /// <param name="count">P, 2 or more.</param>
    /// <exception cref="ArgumentException">There are fewer than two points.</exception>
    public static Tensor Even(Tensor weight, int count)
    {
        RequireTwo(count);
        ArgumentNullException.ThrowIfNull(weight);
        return linspace(0.0, 1.0, count, dtype: weight.dtype, device: weight.device);
    }

    private static Tensor Nearest(Tensor unit, Tensor points)
    {
        if (points.size(0) == 1)
            return zeros(unit.shape, dtype: ScalarType.Int64, device: unit.device);
        var halves = (points.narrow(0, 0, points.size(0) - 1) + points.narrow(0, 1, points.size(0) - 1)) / 2;
        var index = zeros(unit.shape, dtype: ScalarType.Int64, device: unit.device);
        for (long half = 0; half < halves.size(0); half++)
            index.add_((unit >= halves[half]).to(ScalarType.Int64));
        return index;
    }

    private static void RequireTwo(int count)
    {
        if (count < 2)
            throw new ArgumentException($"Levels need two points or more, but {count} were asked for.", nameof(count));
    }
}
