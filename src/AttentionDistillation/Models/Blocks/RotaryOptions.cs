namespace AttentionDistillation.Models.Blocks;

/// <summary>How rotary frequencies are changed for contexts longer than the one trained on; names as <c>rope_type</c> has them.</summary>
public enum RotaryScaling
{
    /// <summary>Not at all (<c>default</c>).</summary>
    None,

    /// <summary>Positions divided by a factor (<c>linear</c>; Chen et al., "Extending Context Window via Positional Interpolation", 2023).</summary>
    Linear,

    /// <summary>A base that grows with the length beyond the trained one (<c>dynamic</c>, "dynamic NTK").</summary>
    Dynamic,

    /// <summary>Interpolation of slow, extrapolation of fast frequencies (<c>yarn</c>; Peng et al., "YaRN", 2023, section 3).</summary>
    Yarn,

    /// <summary>A factor for every frequency, two sets for short and long inputs (<c>longrope</c>; Ding et al., "LongRoPE", 2024).</summary>
    LongRope,

    /// <summary>The rule of Llama 3.1: slow frequencies divided, medium ones blended (<c>llama3</c>).</summary>
    Llama3,
}

/// <summary>Rotary position embeddings: base, share of the head that turns, and scaling.</summary>
/// <remarks>Su et al., "RoFormer", 2021, section 3.2.2. The options and their defaults are those of transformers 5 (<c>rope_parameters</c>).</remarks>
public sealed record RotaryOptions
{
    /// <summary>The base of the frequencies where a configuration names none.</summary>
    public const double DefaultTheta = 10000.0;

    /// <summary>The base: frequency i is Theta^(-2i / rotary width).</summary>
    public double Theta { get; init; } = DefaultTheta;

    /// <summary>The share of a head's width that turns; the rest passes.</summary>
    public double PartialFactor { get; init; } = 1.0;

    /// <summary>How frequencies are scaled.</summary>
    public RotaryScaling Scaling { get; init; } = RotaryScaling.None;

    /// <summary>The length factor. Null (YaRN and LongRoPE alone): the ratio of the model's positions to the original ones.</summary>
    public double? Factor { get; init; }

    /// <summary>Positions the model was trained on before scaling; null means all that it has.</summary>
    public long? OriginalPositions { get; init; }

    /// <summary>Factor on cosines and sines; null means the scaling's own.</summary>
    public double? AttentionFactor { get; init; }

    /// <summary>YaRN: rotations above which a frequency is kept; null means 32.</summary>
    public double? BetaFast { get; init; }

    /// <summary>YaRN: rotations below which a frequency is interpolated; null means 1.</summary>
    public double? BetaSlow { get; init; }

    /// <summary>YaRN: numerator of the attention factor; counts only together with <see cref="MagnitudeScaleAll"/>.</summary>
    public double? MagnitudeScale { get; init; }

    /// <summary>YaRN: denominator of the attention factor; counts only together with <see cref="MagnitudeScale"/>.</summary>
    public double? MagnitudeScaleAll { get; init; }

    /// <summary>YaRN: whether the ends of the blend are rounded to whole frequencies.</summary>
    public bool Truncate { get; init; } = true;

    /// <summary>Llama 3.1: wavelengths above OriginalPositions / this are divided by the factor.</summary>
    public double? LowFrequencyFactor { get; init; }

    /// <summary>Llama 3.1: wavelengths below OriginalPositions / this are kept.</summary>
    public double? HighFrequencyFactor { get; init; }

    /// <summary>LongRoPE: divisors of the frequencies up to the original length.</summary>
    public IReadOnlyList<double>? ShortFactors { get; init; }

    /// <summary>LongRoPE: divisors of the frequencies beyond the original length.</summary>
    public IReadOnlyList<double>? LongFactors { get; init; }

    /// <summary>The width of a head that turns: an even number.</summary>
    /// <param name="headWidth">D.</param>
    public long RotaryWidth(long headWidth) => (long)(headWidth * PartialFactor);

    /// <summary>Checks the options.</summary>
    /// <param name="headWidth">D.</param>
    /// <exception cref="ArgumentException">An option is missing or out of its range; the message says what and how to mend it.</exception>
    public void Validate(long headWidth)
    {
        Require(Theta > 0, nameof(Theta), Theta, "above 0");
        Require(PartialFactor is > 0 and <= 1, nameof(PartialFactor), PartialFactor, "above 0, at most 1");
        long width = RotaryWidth(headWidth);
        Require(
            width >= 2 && width % 2 == 0,
            nameof(PartialFactor),
            PartialFactor,
            $"such that an even number of the head's {headWidth} channels turns"
        );
        bool optional = Scaling is RotaryScaling.None or RotaryScaling.Yarn or RotaryScaling.LongRope;
        if (!optional || Factor is not null)
            Require(Factor is >= 1, nameof(Factor), Factor, "1 or more");
        if (Scaling == RotaryScaling.Dynamic)
            Require(width > 2, nameof(PartialFactor), PartialFactor, "such that more than 2 channels turn, for dynamic scaling");
        if (OriginalPositions is { } original)
            Require(original >= 1, nameof(OriginalPositions), original, "1 or more");
        if (AttentionFactor is { } attention)
            Require(attention > 0, nameof(AttentionFactor), attention, "above 0");
        if (Scaling == RotaryScaling.Yarn)
            Require(
                (BetaFast ?? RotaryFrequencies.DefaultBetaFast) >= (BetaSlow ?? RotaryFrequencies.DefaultBetaSlow),
                nameof(BetaFast),
                BetaFast,
                "at least BetaSlow"
            );
        if (Scaling == RotaryScaling.Llama3)
        {
            Require(LowFrequencyFactor is > 0, nameof(LowFrequencyFactor), LowFrequencyFactor, "above 0");
            Require(
                HighFrequencyFactor > LowFrequencyFactor,
                nameof(HighFrequencyFactor),
                HighFrequencyFactor,
                "above LowFrequencyFactor"
            );
        }
        if (Scaling == RotaryScaling.LongRope)
            foreach (var (name, factors) in new[] { (nameof(ShortFactors), ShortFactors), (nameof(LongFactors), LongFactors) })
                Require(
                    factors?.Count == width / 2,
                    name,
                    factors is null ? null : $"{factors.Count} numbers",
                    $"{width / 2} numbers, one for each frequency"
                );
    }

    /// <inheritdoc/>
    public bool Equals(RotaryOptions? other) =>
        other is not null
        && Scalars.Equals(other.Scalars)
        && Same(ShortFactors, other.ShortFactors)
        && Same(LongFactors, other.LongFactors);

    /// <inheritdoc/>
    public override int GetHashCode() => Scalars.GetHashCode();

    private object Scalars =>
        (
            (Theta, PartialFactor, Scaling, Factor, OriginalPositions, AttentionFactor, BetaFast),
            (BetaSlow, MagnitudeScale, MagnitudeScaleAll, Truncate, LowFrequencyFactor, HighFrequencyFactor)
        );

    private static bool Same(IReadOnlyList<double>? first, IReadOnlyList<double>? second) =>
        first is null || second is null ? first is null && second is null : first.SequenceEqual(second);

    private static void Require(bool holds, string name, object? value, string expected)
    {
        if (!holds)
            throw new ArgumentException(
                FormattableString.Invariant($"{nameof(RotaryOptions)}.{name} is {value ?? "null"}, but must be {expected}.")
            );
    }
}
