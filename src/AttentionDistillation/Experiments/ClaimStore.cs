using System.Globalization;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Experiments;

/// <summary>A claim's verdict at a scale as <c>data/results</c> keeps it.</summary>
/// <param name="Study">The study's slug (the file's name).</param>
/// <param name="Claim">The claim in words.</param>
/// <param name="Scale">At which scale.</param>
/// <param name="Device">cpu or cuda.</param>
/// <param name="Verdict">The verdict.</param>
/// <param name="Difference">Mean difference in the claim's direction; null where there is none (a conjunction, no seeds).</param>
/// <param name="StandardError">Its standard error; null where there is none.</param>
/// <param name="N">The number of paired seeds; the least of its parts for a conjunction.</param>
/// <param name="Seeds">The paired seeds, separated by spaces.</param>
/// <param name="Date">When, UTC, ISO 8601.</param>
/// <param name="Commit">The commit; empty when unknown.</param>
public sealed record ClaimRecord(
    string Study,
    string Claim,
    Scale Scale,
    string Device,
    ClaimVerdict Verdict,
    double? Difference,
    double? StandardError,
    long N,
    string Seeds,
    string Date,
    string Commit
)
{
    /// <summary>The record of a judged claim.</summary>
    public static ClaimRecord Of(string study, ClaimOutcome outcome, RunMetadata metadata) =>
        new(
            study,
            outcome.Claim.Name,
            metadata.Scale,
            metadata.DeviceKind,
            outcome.Verdict,
            Finite(outcome.Difference),
            Finite(outcome.StandardError),
            outcome.N,
            string.Join(' ', outcome.Seeds),
            metadata.DateText,
            metadata.Commit
        );

    /// <summary>The records of a conjunction: the whole, then its parts.</summary>
    public static IReadOnlyList<ClaimRecord> Of(string study, ConjunctionOutcome outcome, RunMetadata metadata)
    {
        ClaimRecord[] parts = [.. outcome.Parts.Select(part => Of(study, part, metadata))];
        var least = parts.MinBy(part => part.N)!;
        var whole = least with { Claim = outcome.Name, Verdict = outcome.Verdict, Difference = null, StandardError = null };
        return [whole, .. parts];
    }

    private static double? Finite(double value) => double.IsFinite(value) ? value : null;
}

/// <summary>Verdicts in <c>data/results/NN-slug.claims.csv</c>, one row per claim and scale.</summary>
public static class ClaimStore
{
    private const string Suffix = ".claims.csv";
    private static readonly string[] Header =
    [
        "claim",
        "scale",
        "device",
        "verdict",
        "difference",
        "standard_error",
        "n",
        "seeds",
        "date",
        "commit",
    ];

    /// <summary>The file of a study.</summary>
    public static string PathOf(string resultsFolder, string study) => Path.Combine(resultsFolder, study + Suffix);

    /// <summary>Writes records of one study in place of earlier ones of the same claim and scale; others stay.</summary>
    /// <returns>The file written.</returns>
    /// <exception cref="ArgumentException">A record belongs to another study, or a claim occurs twice at a scale.</exception>
    /// <exception cref="CsvFormatException">The file there is malformed; it is left as it is.</exception>
    public static string Write(string resultsFolder, string study, IReadOnlyList<ClaimRecord> records)
    {
        ArgumentNullException.ThrowIfNull(records);
        if (records.FirstOrDefault(record => record.Study != study) is { } foreign)
            throw new ArgumentException(
                $"The claim '{foreign.Claim}' belongs to '{foreign.Study}', not to '{study}'.",
                nameof(records)
            );
        var replaced = records.Select(record => (record.Claim, record.Scale)).ToHashSet();
        if (replaced.Count != records.Count)
            throw new ArgumentException(
                "A claim occurs twice at the same scale. Give each claim a name of its own.",
                nameof(records)
            );
        string path = PathOf(resultsFolder, study);
        var kept = File.Exists(path) ? Read(path).Where(record => !replaced.Contains((record.Claim, record.Scale))) : [];
        AtomicFile.WriteText(path, CsvTable.Format(Header, kept.Concat(records).OrderBy(record => record.Scale).Select(Fields)));
        return path;
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="CsvFormatException">The file is malformed; the message names line and column.</exception>
    public static IReadOnlyList<ClaimRecord> Read(string path)
    {
        string study = Path.GetFileName(path)[..^Suffix.Length];
        return
        [
            .. CsvTable
                .Read(path, Header)
                .Rows.Select(row => new ClaimRecord(
                    study,
                    row.Text("claim"),
                    ResultStore.ScaleOf(row),
                    row.Text("device"),
                    VerdictOf(row),
                    row.NumberOrNull("difference"),
                    row.NumberOrNull("standard_error"),
                    row.Whole("n"),
                    row["seeds"],
                    row.Text("date"),
                    row["commit"]
                )),
        ];
    }

    /// <summary>The records of all studies in a folder, by file name; none where there is no folder.</summary>
    /// <exception cref="CsvFormatException">A file is malformed; the message names it, line and column.</exception>
    public static IReadOnlyList<ClaimRecord> ReadFolder(string resultsFolder) =>
        Directory.Exists(resultsFolder)
            ? [.. Directory.EnumerateFiles(resultsFolder, "*" + Suffix).Order(StringComparer.Ordinal).SelectMany(Read)]
            : [];

    private static ClaimVerdict VerdictOf(CsvRow row) =>
        Enum.GetNames<ClaimVerdict>().Contains(row["verdict"])
            ? Enum.Parse<ClaimVerdict>(row["verdict"])
            : throw row.Wrong("verdict", $"must be one of {string.Join(", ", Enum.GetNames<ClaimVerdict>())}");

    private static string[] Fields(ClaimRecord record) =>
        [
            record.Claim,
            RunMetadata.NameOf(record.Scale),
            record.Device,
            record.Verdict.ToString(),
            CsvTable.Number(record.Difference),
            CsvTable.Number(record.StandardError),
            record.N.ToString(CultureInfo.InvariantCulture),
            record.Seeds,
            record.Date,
            record.Commit,
        ];
}
