using System.Globalization;

namespace AttentionDistillation.Experiments;

/// <summary>Which way a claim points.</summary>
public enum ClaimDirection
{
    /// <summary>The variant's metric is higher than the baseline's.</summary>
    Higher,

    /// <summary>The variant's metric is lower than the baseline's.</summary>
    Lower,
}

/// <summary>What the numbers say about a claim.</summary>
public enum ClaimVerdict
{
    /// <summary>The mean difference passes the margin by more than two standard errors.</summary>
    Holds,

    /// <summary>The difference points significantly the other way, or its 95 % interval lies below the margin.</summary>
    Fails,

    /// <summary>Neither, or too few seeds.</summary>
    Inconclusive,
}

/// <summary>
/// A paired comparison over seeds: by seed, the difference d = variant - baseline (baseline - variant when the claim is
/// <see cref="ClaimDirection.Lower"/>), so that a positive d supports the claim.
/// </summary>
/// <remarks>
/// With mean m, sample standard deviation s and n seeds, the standard error is e = s / sqrt(n).
/// <see cref="ClaimVerdict.Holds"/>: m - margin &gt; 2 e. <see cref="ClaimVerdict.Fails"/>: m &lt; min(margin, 0) - 2 e, or the upper end of the 95 %
/// interval m + t e (Student's t, n - 1 degrees of freedom) is below the margin. <see cref="ClaimVerdict.Inconclusive"/>: otherwise, and always for
/// n &lt; 2 or a value that is not finite. Two standard errors are a fixed rule, not a test's level: with 3 seeds it is passed by chance about 9 times in
/// 100 one-sided, and several claims side by side are not corrected for their number.
/// </remarks>
/// <param name="Name">The claim in words.</param>
/// <param name="Variant">The variant.</param>
/// <param name="Baseline">What it is compared with.</param>
/// <param name="Metric">On which metric.</param>
/// <param name="Direction">Which way.</param>
/// <param name="Margin">By more than how much, in the metric's unit.</param>
public sealed record Claim(
    string Name,
    string Variant,
    string Baseline,
    string Metric,
    ClaimDirection Direction = ClaimDirection.Higher,
    double Margin = 0
)
{
    private const double StandardErrorsNeeded = 2;
    private const double Confidence = 0.95;

    /// <summary>Judges the claim by an ablation's numbers, over the seeds that both variants have.</summary>
    /// <exception cref="KeyNotFoundException">The ablation has no such variant or metric.</exception>
    public ClaimOutcome Judge(AblationResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return Judge(result.Paired(Variant, Baseline, Metric));
    }

    /// <summary>Judges the claim by differences variant - baseline, by seed.</summary>
    public ClaimOutcome Judge(IReadOnlyDictionary<long, double> differences)
    {
        ArgumentNullException.ThrowIfNull(differences);
        long[] seeds = [.. differences.Keys.Order()];
        double sign = Direction == ClaimDirection.Higher ? 1 : -1;
        double[] directed = [.. seeds.Select(seed => sign * differences[seed])];
        var summary = MetricSummary.Of(directed);
        int n = summary.N;
        if (n < 2 || !directed.All(double.IsFinite))
            return new(
                this,
                ClaimVerdict.Inconclusive,
                summary.Mean,
                double.NaN,
                double.NaN,
                double.NaN,
                double.NaN,
                seeds,
                n < 2 ? $"{n} paired seeds; at least 2 are needed" : "a value is not finite"
            );
        double error = summary.StandardDeviation / Math.Sqrt(n),
            reach = StudentT.TwoSidedQuantile(Confidence, n - 1) * error,
            lower = summary.Mean - reach,
            upper = summary.Mean + reach,
            needed = StandardErrorsNeeded * error;
        var (verdict, reason) =
            summary.Mean - Margin > needed
                ? (ClaimVerdict.Holds, "the mean difference passes the margin by more than 2 standard errors")
            : summary.Mean < Math.Min(Margin, 0) - needed
                ? (ClaimVerdict.Fails, "the mean difference lies more than 2 standard errors in the other direction")
            : upper < Margin ? (ClaimVerdict.Fails, "the 95 % interval lies below the margin")
            : (ClaimVerdict.Inconclusive, "the difference is within 2 standard errors of the margin");
        return new(this, verdict, summary.Mean, summary.StandardDeviation, error, lower, upper, seeds, reason);
    }
}

/// <summary>A judged claim. All differences point in the claim's direction: positive supports it.</summary>
/// <param name="Claim">The claim.</param>
/// <param name="Verdict">The verdict.</param>
/// <param name="Difference">Mean difference over seeds; NaN without seeds.</param>
/// <param name="StandardDeviation">Sample standard deviation of the differences.</param>
/// <param name="StandardError">Standard error of the mean difference.</param>
/// <param name="Lower">Lower end of the 95 % interval.</param>
/// <param name="Upper">Upper end of the 95 % interval.</param>
/// <param name="Seeds">The paired seeds.</param>
/// <param name="Reason">Why this verdict.</param>
public sealed record ClaimOutcome(
    Claim Claim,
    ClaimVerdict Verdict,
    double Difference,
    double StandardDeviation,
    double StandardError,
    double Lower,
    double Upper,
    IReadOnlyList<long> Seeds,
    string Reason
)
{
    /// <summary>The number of paired seeds.</summary>
    public int N => Seeds.Count;

    /// <summary>The outcome in one line.</summary>
    public override string ToString() =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{Claim.Name}: {Verdict} (difference {Difference:g4}, standard error {StandardError:g3}, 95 % interval {Lower:g4} to {Upper:g4}, n = {N}; {Reason})"
        );
}

/// <summary>Claims that must hold together, for example that every variant beats the baseline.</summary>
/// <param name="Name">The whole in words.</param>
/// <param name="Parts">The claims.</param>
public sealed record ClaimConjunction(string Name, IReadOnlyList<Claim> Parts)
{
    /// <summary>Judges every part: holds when all hold, fails when one fails, else inconclusive.</summary>
    /// <exception cref="InvalidOperationException">There are no parts.</exception>
    public ConjunctionOutcome Judge(AblationResult result)
    {
        if (Parts.Count == 0)
            throw new InvalidOperationException($"'{Name}' joins no claims. Give it at least one.");
        ClaimOutcome[] parts = [.. Parts.Select(part => part.Judge(result))];
        var verdict =
            parts.Any(part => part.Verdict == ClaimVerdict.Fails) ? ClaimVerdict.Fails
            : parts.All(part => part.Verdict == ClaimVerdict.Holds) ? ClaimVerdict.Holds
            : ClaimVerdict.Inconclusive;
        return new(Name, verdict, parts);
    }
}

/// <summary>Judged claims that must hold together.</summary>
/// <param name="Name">The whole in words.</param>
/// <param name="Verdict">The verdict on the whole.</param>
/// <param name="Parts">All parts, whatever their verdict.</param>
public sealed record ConjunctionOutcome(string Name, ClaimVerdict Verdict, IReadOnlyList<ClaimOutcome> Parts);
