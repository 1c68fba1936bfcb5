using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Quantization;

/// <summary>A flattened tensor cut into buckets of equally many elements and scaled bucket by bucket to [0, 1].</summary>
/// <remarks>
/// The last bucket is filled with the tensor's last element, which changes neither its minimum nor its maximum. A tensor of fewer elements than a bucket is
/// one bucket of its own size.
/// </remarks>
internal sealed class WeightBuckets
{
    // A bucket of (nearly) equal elements is not scaled up: the official code's bound.
    private const double LeastRange = 1e-10;

    private readonly long[] shape;
    private readonly long count;

    private WeightBuckets(Tensor rows, Tensor weight)
    {
        (shape, count) = (weight.shape, weight.numel());
        Beta = rows.amin([1], keepdim: true);
        var range = rows.amax([1], keepdim: true) - Beta;
        Alpha = range.masked_fill(range < LeastRange, 1.0);
        Unit = (rows - Beta) / Alpha;
    }

    /// <summary>α [buckets, 1].</summary>
    internal Tensor Alpha { get; }

    /// <summary>β [buckets, 1].</summary>
    internal Tensor Beta { get; }

    /// <summary>u [buckets, k] in [0, 1], the filler included.</summary>
    internal Tensor Unit { get; }

    internal static WeightBuckets Of(Tensor weight, int? bucket) => new(Cut(weight.detach(), bucket), weight);

    /// <summary>[buckets, k]; the filler is the last element or, for gradients, 0.</summary>
    internal static Tensor Cut(Tensor weight, int? bucket, bool fills = true)
    {
        long count = weight.numel();
        if (count == 0)
            throw new ArgumentException("An empty tensor cannot be quantized. Leave it out.", nameof(weight));
        var flat = weight.reshape(-1);
        if (bucket is not { } size || count < size)
            return flat.view(1, count);
        long missing = (size - count % size) % size;
        if (missing > 0)
        {
            var last = flat.narrow(0, count - 1, 1).expand(missing);
            flat = cat([flat, fills ? last : zeros_like(last)]);
        }
        return flat.view(-1, size);
    }

    internal Tensor Scaled(Tensor unit) => unit * Alpha + Beta;

    /// <summary>Rows [buckets, k] in the shape of the weight, without the filler.</summary>
    internal Tensor Shaped(Tensor rows) => rows.reshape(-1).narrow(0, 0, count).reshape(shape);

    /// <summary>The elements' scaled values without the filler, flat.</summary>
    internal Tensor Elements => Unit.reshape(-1).narrow(0, 0, count);

    /// <summary>α of every element, in the shape of the weight.</summary>
    internal Tensor AlphaOfElements => Shaped(Alpha.expand(Unit.shape));

    /// <summary>Where in the flat weight the first element of each bucket lies that equals a value [buckets, 1].</summary>
    internal Tensor First(Tensor value)
    {
        long size = Unit.size(1);
        var places = arange(size, dtype: ScalarType.Int64, device: Unit.device).unsqueeze(0).expand(Unit.shape);
        var first = places.masked_fill(Unit != value, size).amin([1]);
        return first + arange(Unit.size(0), dtype: ScalarType.Int64, device: Unit.device) * size;
    }
}
