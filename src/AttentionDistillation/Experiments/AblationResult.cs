using System.Globalization;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Experiments;

/// <summary>A cell of an ablation that ran: one variant with one seed.</summary>
/// <param name="Variant">The variant's name.</param>
/// <param name="Seed">The seed.</param>
/// <param name="Metrics">Its metrics by name.</param>
/// <param name="Seconds">Wall time of the run that computed it.</param>
/// <param name="PeakHostBytes">Largest working set of the process seen while it ran.</param>
/// <param name="DeviceBytes">Device memory in use when it ended (see <see cref="AblationOptions.DeviceMemory"/>); null when not asked for.</param>
/// <param name="FromCache">True when it was computed by an earlier run.</param>
[TypeFormatterSource(typeof(HtmlFormatterSource))]
public sealed record AblationCell(
    string Variant,
    long Seed,
    IReadOnlyDictionary<string, double> Metrics,
    double Seconds,
    long PeakHostBytes,
    long? DeviceBytes,
    bool FromCache
) : IHtmlValue
{
    /// <summary>The metrics as a table.</summary>
    public string ToHtml() =>
        HtmlTable.Of(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{Variant}, seed {Seed}: {Seconds:0.0} s{(FromCache ? ", from the cache" : "")}"
            ),
            ["Metric", "Value"],
            Metrics.Select(metric => (string[])[metric.Key, HtmlTable.Short(metric.Value)])
        );
}

/// <summary>A cell that failed.</summary>
/// <param name="Variant">The variant's name.</param>
/// <param name="Seed">The seed.</param>
/// <param name="ExceptionType">The full name of the exception's type.</param>
/// <param name="Message">The exception's message.</param>
/// <param name="Details">The exception with its stack.</param>
public sealed record AblationFailure(string Variant, long Seed, string ExceptionType, string Message, string Details);

/// <summary>A number of an ablation.</summary>
public sealed record AblationRow(string Variant, long Seed, string Metric, double Value);

/// <summary>A metric of a variant over seeds.</summary>
/// <param name="Mean">The mean; NaN without seeds.</param>
/// <param name="StandardDeviation">The sample standard deviation (n - 1); NaN for n &lt; 2.</param>
/// <param name="N">How many seeds.</param>
public sealed record MetricSummary(double Mean, double StandardDeviation, int N)
{
    /// <summary>Summarises values.</summary>
    public static MetricSummary Of(IReadOnlyCollection<double> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        int n = values.Count;
        double mean = n == 0 ? double.NaN : values.Average();
        double deviation =
            n < 2 ? double.NaN
            : values.Distinct().Count() == 1 ? 0 // rounding of the mean must not look like variance
            : Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (n - 1));
        return new(mean, deviation, n);
    }
}

/// <summary>What an ablation found: the cells that ran, those that failed, and remarks on the cache.</summary>
[TypeFormatterSource(typeof(HtmlFormatterSource))]
public sealed class AblationResult : IHtmlValue
{
    internal AblationResult(
        string study,
        IReadOnlyList<string> variants,
        IReadOnlyList<long> seeds,
        IReadOnlyList<AblationCell> cells,
        IReadOnlyList<AblationFailure> failures,
        IReadOnlyList<string> notes
    )
    {
        (Study, Variants, Seeds) = (study, variants, seeds);
        (Cells, Failures, Notes) = (cells, failures, notes);
    }

    /// <summary>The study's slug.</summary>
    public string Study { get; }

    /// <summary>The variants asked for, in order.</summary>
    public IReadOnlyList<string> Variants { get; }

    /// <summary>The seeds asked for, in order.</summary>
    public IReadOnlyList<long> Seeds { get; }

    /// <summary>The cells that ran, variant by variant.</summary>
    public IReadOnlyList<AblationCell> Cells { get; }

    /// <summary>The cells that failed.</summary>
    public IReadOnlyList<AblationFailure> Failures { get; }

    /// <summary>Remarks, for example on a damaged cache file that was computed again.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>The names of the metrics, in the order they first occur.</summary>
    public IReadOnlyList<string> Metrics => [.. Cells.SelectMany(cell => cell.Metrics.Keys).Distinct()];

    /// <summary>All numbers, one a row.</summary>
    public IReadOnlyList<AblationRow> Rows =>
        [
            .. Cells.SelectMany(cell =>
                cell.Metrics.Select(metric => new AblationRow(cell.Variant, cell.Seed, metric.Key, metric.Value))
            ),
        ];

    /// <summary>A metric of a variant by seed; seeds whose cell failed or lacks the metric are absent.</summary>
    /// <exception cref="KeyNotFoundException">No such variant was asked for, or no cell at all has the metric.</exception>
    public IReadOnlyDictionary<long, double> Values(string variant, string metric)
    {
        if (!Variants.Contains(variant))
            throw new KeyNotFoundException($"No variant '{variant}'. There are: {string.Join(", ", Variants)}.");
        if (Cells.Count > 0 && !Metrics.Contains(metric))
            throw new KeyNotFoundException($"No metric '{metric}'. There are: {string.Join(", ", Metrics)}.");
        return Cells
            .Where(cell => cell.Variant == variant && cell.Metrics.ContainsKey(metric))
            .ToDictionary(cell => cell.Seed, cell => cell.Metrics[metric]);
    }

    /// <summary>Mean, standard deviation and number of seeds of a metric of a variant.</summary>
    /// <exception cref="KeyNotFoundException">No such variant or metric.</exception>
    public MetricSummary Summary(string variant, string metric) => MetricSummary.Of([.. Values(variant, metric).Values]);

    /// <summary>Differences <paramref name="variant"/> - <paramref name="baseline"/> by seed, for the seeds that both have.</summary>
    /// <exception cref="KeyNotFoundException">No such variant or metric.</exception>
    public IReadOnlyDictionary<long, double> Paired(string variant, string baseline, string metric)
    {
        var (first, second) = (Values(variant, metric), Values(baseline, metric));
        return first
            .Where(pair => second.ContainsKey(pair.Key))
            .ToDictionary(pair => pair.Key, pair => pair.Value - second[pair.Key]);
    }

    /// <summary>Mean ± standard deviation over seeds, a row per variant and a column per metric; failed cells below.</summary>
    public string ToHtml()
    {
        var metrics = Metrics;
        var table = HtmlTable.Of(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{Study}: mean ± sd, {Cells.Count} of {Variants.Count * Seeds.Count} cells"
            ),
            ["Variant", .. metrics],
            Variants.Select(variant => (string[])[variant, .. metrics.Select(metric => Text(Summary(variant, metric)))])
        );
        var remarks = Failures
            .Select(failure => $"{failure.Variant}, seed {failure.Seed} failed: {failure.ExceptionType}: {failure.Message}")
            .Concat(Notes);
        return table
            + string.Concat(
                remarks.Select(remark => $"<div style=\"font-size:12px\">{System.Net.WebUtility.HtmlEncode(remark)}</div>")
            );
    }

    private static string Text(MetricSummary summary) =>
        summary.N == 0 ? "—"
        : double.IsNaN(summary.StandardDeviation) ? HtmlTable.Short(summary.Mean)
        : $"{HtmlTable.Short(summary.Mean)} ± {HtmlTable.Short(summary.StandardDeviation)}";
}

/// <summary>An ablation was stopped; the cells done so far are in <see cref="Partial"/> and in the cache.</summary>
public sealed class AblationInterruptedException(AblationResult partial, OperationCanceledException cause)
    : OperationCanceledException(
        $"Stopped after {partial.Cells.Count} of {partial.Variants.Count * partial.Seeds.Count} cells; run it again to go on.",
        cause
    )
{
    /// <summary>What was done before the stop.</summary>
    public AblationResult Partial { get; } = partial;
}

/// <summary>Ends a process that only helped another one with an ablation (<see cref="Ablation.WorkerVariable"/>): the other one reports the result.</summary>
/// <param name="result">All cells.</param>
public sealed class AblationWorkerException(AblationResult result)
    : OperationCanceledException(
        $"This process only helps ({Ablation.WorkerVariable} is set), and all {result.Variants.Count * result.Seeds.Count} cells of {result.Study} are there."
    )
{
    /// <summary>What there is.</summary>
    public AblationResult Result { get; } = result;
}
