namespace AttentionDistillation.Training;

/// <summary>One value of one loss term.</summary>
/// <param name="Step">The step's number, from 0.</param>
/// <param name="Term">The term's name; the weighted sum is <see cref="TrainingCurve.Total"/>.</param>
/// <param name="Value">Its value on that step's batch, unweighted.</param>
public sealed record CurvePoint(long Step, string Term, double Value);

/// <summary>How each loss term went, recorded every few steps.</summary>
/// <param name="Points">All points, by step and then in the order of the terms.</param>
public sealed record TrainingCurve(IReadOnlyList<CurvePoint> Points)
{
    /// <summary>The name under which the weighted sum of the terms is recorded.</summary>
    public const string Total = "total";

    /// <summary>The terms in the order they first appear.</summary>
    public IReadOnlyList<string> Terms => [.. Points.Select(point => point.Term).Distinct()];

    /// <summary>The points of a term, by step.</summary>
    /// <exception cref="ArgumentException">No such term; the message lists the terms there are.</exception>
    public IReadOnlyList<CurvePoint> Of(string term)
    {
        CurvePoint[] points = [.. Points.Where(point => point.Term == term)];
        return points.Length > 0
            ? points
            : throw new ArgumentException($"The curve has no term '{term}'. It has: {string.Join(", ", Terms)}.", nameof(term));
    }

    /// <summary>The latest value of a term.</summary>
    /// <exception cref="ArgumentException">No such term.</exception>
    public double Last(string term = Total) => Of(term)[^1].Value;
}

/// <summary>What a training did.</summary>
/// <param name="Curve">The loss terms over the whole training, the part before a resume included.</param>
/// <param name="Steps">Steps done in all.</param>
/// <param name="StepsRun">Steps done by this call; fewer than <paramref name="Steps"/> after a resume, 0 when the training was already complete.</param>
/// <param name="WallTime">Time this call took.</param>
/// <param name="StepsPerSecond">Speed of this call; 0 when it ran no step.</param>
/// <param name="PeakMemoryBytes">
/// The most memory in use on the CUDA device, counting all of its users, as seen whenever recorded points were read and at the end (libtorch
/// keeps what it once needed, so a single user's peak is seen); null on the CPU.
/// </param>
public sealed record TrainingResult(
    TrainingCurve Curve,
    long Steps,
    long StepsRun,
    TimeSpan WallTime,
    double StepsPerSecond,
    long? PeakMemoryBytes
);

/// <summary>A loss term is no longer a finite number. The message names the step and the term and what to try.</summary>
public sealed class TrainingDivergedException : Exception
{
    internal TrainingDivergedException(string label, long step, string term, double value)
        : base(
            $"{label}: loss term '{term}' is {value} at step {step}. Try a lower learning rate, a longer warm-up or a smaller ClipNorm; "
                + "if it happens at step 0, check the data and the masks (a row with nothing to see) of that batch."
        ) => (Step, Term) = (step, term);

    /// <summary>The step's number, from 0.</summary>
    public long Step { get; }

    /// <summary>The term's name.</summary>
    public string Term { get; }
}
