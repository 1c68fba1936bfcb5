using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The angular frequencies of rotary positions under every scaling, in float32 as transformers 5 computes them.</summary>
public static class RotaryFrequencies
{
    /// <summary>YaRN's default for beta_fast (section 3.2 of the paper).</summary>
    public const double DefaultBetaFast = 32;

    /// <summary>YaRN's default for beta_slow.</summary>
    public const double DefaultBetaSlow = 1;

    /// <summary>Keeps the blend's slope finite where its ends meet.</summary>
    private const double LeastBlend = 0.001;

    /// <summary>The frequencies and the factor on cosines and sines.</summary>
    /// <param name="options">Base and scaling.</param>
    /// <param name="headWidth">D.</param>
    /// <param name="maximumPositions">Positions that the model has.</param>
    /// <param name="length">The input's length, past included, which dynamic scaling and LongRoPE read; null means a short input.</param>
    /// <returns>Radians per position, float32 [rotary width / 2] on the CPU, and the factor.</returns>
    public static (Tensor Frequencies, double Factor) Of(
        RotaryOptions options,
        long headWidth,
        long maximumPositions,
        long? length = null
    )
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate(headWidth);
        TorchRuntime.EnsureLoaded();
        using var scope = NewDisposeScope();
        long width = options.RotaryWidth(headWidth);
        var exponents = arange(0, width, 2, dtype: ScalarType.Int64).to(ScalarType.Float32) / width;
        double original = options.OriginalPositions ?? maximumPositions;
        var (frequencies, factor) = options.Scaling switch
        {
            RotaryScaling.None => (Inverse(options.Theta, exponents), 1.0),
            RotaryScaling.Linear => (Inverse(options.Theta, exponents) / options.Factor!.Value, 1.0),
            RotaryScaling.Dynamic => (Dynamic(options, exponents, width, maximumPositions, length), 1.0),
            RotaryScaling.Yarn => Yarn(options, exponents, width, maximumPositions, original),
            RotaryScaling.LongRope => LongRope(options, exponents, maximumPositions, original, length),
            RotaryScaling.Llama3 => (Llama3(options, Inverse(options.Theta, exponents), original), 1.0),
            var other => throw new NotSupportedException($"Rotary scaling {other} is unknown."),
        };
        return (frequencies.MoveToOuterDisposeScope(), factor);
    }

    private static Tensor Power(double theta, Tensor exponents) => tensor((float)theta).pow(exponents);

    private static Tensor Inverse(double theta, Tensor exponents) => Power(theta, exponents).reciprocal();

    private static Tensor Dynamic(RotaryOptions options, Tensor exponents, long width, long maximum, long? length)
    {
        double factor = options.Factor!.Value;
        double ratio = (double)Math.Max(length ?? maximum, maximum) / maximum;
        double theta = options.Theta * Math.Pow(factor * ratio - (factor - 1), (double)width / (width - 2));
        return Inverse(theta, exponents);
    }

    private static (Tensor, double) Yarn(RotaryOptions options, Tensor exponents, long width, long maximum, double original)
    {
        double factor = options.Factor ?? maximum / original;
        double attention =
            options.AttentionFactor
            ?? (
                options is { MagnitudeScale: not (null or 0), MagnitudeScaleAll: not (null or 0) }
                    ? Magnitude(factor, options.MagnitudeScale.Value) / Magnitude(factor, options.MagnitudeScaleAll.Value)
                    : Magnitude(factor, 1.0)
            );
        double low = Dimension(options.BetaFast ?? DefaultBetaFast),
            high = Dimension(options.BetaSlow ?? DefaultBetaSlow);
        if (options.Truncate)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, width - 1));
        if (low == high)
            high += LeastBlend;
        var interpolated = ((arange(width / 2, dtype: ScalarType.Float32) - low) / (high - low)).clamp(0, 1);
        var powers = Power(options.Theta, exponents);
        var kept = interpolated.neg().add(1.0);
        var frequencies = (powers * factor).reciprocal() * kept.neg().add(1.0) + powers.reciprocal() * kept;
        return (frequencies, attention);

        // The channel pair whose frequency makes this many rotations over the original length.
        double Dimension(double rotations) =>
            width * Math.Log(original / (rotations * 2 * Math.PI)) / (2 * Math.Log(options.Theta));

        static double Magnitude(double scale, double weight) => scale <= 1 ? 1.0 : 0.1 * weight * Math.Log(scale) + 1.0;
    }

    private static (Tensor, double) LongRope(RotaryOptions options, Tensor exponents, long maximum, double original, long? length)
    {
        double factor = options.Factor ?? maximum / original;
        double attention = options.AttentionFactor ?? (factor <= 1 ? 1.0 : Math.Sqrt(1 + Math.Log(factor) / Math.Log(original)));
        var divisors = length > original ? options.LongFactors! : options.ShortFactors!;
        var scaled = tensor(divisors.Select(number => (float)number).ToArray()) * Power(options.Theta, exponents);
        return (scaled.reciprocal(), attention);
    }

    private static Tensor Llama3(RotaryOptions options, Tensor frequencies, double original)
    {
        double factor = options.Factor!.Value,
            low = options.LowFrequencyFactor!.Value,
            high = options.HighFrequencyFactor!.Value;
        var wavelengths = frequencies.reciprocal() * (2 * Math.PI);
        var slow = wavelengths > original / low;
        var scaled = where(slow, frequencies / factor, frequencies);
        var smooth = (wavelengths.reciprocal() * original - low) / (high - low);
        var blended = (smooth.neg() + 1.0) * scaled / factor + smooth * scaled;
        var medium = (wavelengths < original / high).logical_or(slow).logical_not();
        return where(medium, blended, scaled);
    }
}
