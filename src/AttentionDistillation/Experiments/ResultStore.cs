using System.Globalization;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Experiments;

/// <summary>A measured number as <c>data/results</c> keeps it.</summary>
/// <param name="Study">The study's slug.</param>
/// <param name="Scale">smoke, small or large.</param>
/// <param name="Device">cpu or cuda.</param>
/// <param name="Variant">The variant.</param>
/// <param name="Metric">The metric.</param>
/// <param name="Seed">The seed.</param>
/// <param name="Value">The number.</param>
/// <param name="Unit">Its unit; empty for a plain number.</param>
/// <param name="N">How many seeds this variant and metric have in the run.</param>
/// <param name="DeviceDescription">The device in words.</param>
/// <param name="Commit">The commit, perhaps <c>-dirty</c>; empty when unknown.</param>
/// <param name="Date">When, UTC, ISO 8601.</param>
/// <param name="Version">The library's version.</param>
public sealed record ResultRow(
    string Study,
    Scale Scale,
    string Device,
    string Variant,
    string Metric,
    long Seed,
    double Value,
    string Unit,
    long N,
    string DeviceDescription,
    string Commit,
    string Date,
    string Version
);

/// <summary>Measured numbers in <c>data/results/NN-slug.csv</c>, one a line (the format is described in data/README.md).</summary>
public static class ResultStore
{
    private static readonly string[] Header =
    [
        "study",
        "scale",
        "device",
        "variant",
        "metric",
        "seed",
        "value",
        "unit",
        "n",
        "device_description",
        "commit",
        "date",
        "version",
    ];

    /// <summary>The file of a study.</summary>
    public static string PathOf(string resultsFolder, string study) => Path.Combine(resultsFolder, study + ".csv");

    /// <summary>Writes an ablation's numbers in place of earlier ones of the same scale and kind of device; others stay.</summary>
    /// <param name="resultsFolder">The folder <c>data/results</c>.</param>
    /// <param name="result">The numbers.</param>
    /// <param name="metadata">How they were made.</param>
    /// <param name="units">Units by metric; metrics without one are plain numbers.</param>
    /// <returns>The file written.</returns>
    /// <exception cref="CsvFormatException">The file there is malformed; it is left as it is.</exception>
    public static string Write(
        string resultsFolder,
        AblationResult result,
        RunMetadata metadata,
        IReadOnlyDictionary<string, string>? units = null
    )
    {
        ArgumentNullException.ThrowIfNull(result);
        ArgumentNullException.ThrowIfNull(metadata);
        string path = PathOf(resultsFolder, result.Study);
        var seeds = result.Rows.CountBy(row => (row.Variant, row.Metric)).ToDictionary();
        var written = result.Rows.Select(row => new ResultRow(
            result.Study,
            metadata.Scale,
            metadata.DeviceKind,
            row.Variant,
            row.Metric,
            row.Seed,
            row.Value,
            units?.GetValueOrDefault(row.Metric) ?? "",
            seeds[(row.Variant, row.Metric)],
            metadata.Device,
            metadata.Commit,
            metadata.DateText,
            metadata.Version
        ));
        var kept = File.Exists(path)
            ? Read(path).Where(row => row.Scale != metadata.Scale || row.Device != metadata.DeviceKind)
            : [];
        // A stable order keeps the file's history readable.
        var rows = kept.Concat(written).OrderBy(row => row.Scale).ThenBy(row => row.Device, StringComparer.Ordinal);
        AtomicFile.WriteText(path, CsvTable.Format(Header, rows.Select(Fields)));
        return path;
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="CsvFormatException">The file is malformed; the message names line and column.</exception>
    public static IReadOnlyList<ResultRow> Read(string path) =>
        [
            .. CsvTable
                .Read(path, Header)
                .Rows.Select(row => new ResultRow(
                    row.Text("study"),
                    ScaleOf(row),
                    row.Text("device"),
                    row.Text("variant"),
                    row.Text("metric"),
                    row.Whole("seed"),
                    row.Number("value"),
                    row["unit"],
                    row.Whole("n"),
                    row["device_description"],
                    row["commit"],
                    row.Text("date"),
                    row["version"]
                )),
        ];

    internal static Scale ScaleOf(CsvRow row)
    {
        foreach (var scale in Enum.GetValues<Scale>())
            if (row["scale"] == RunMetadata.NameOf(scale))
                return scale;
        throw row.Wrong("scale", "must be smoke, small or large");
    }

    private static string[] Fields(ResultRow row) =>
        [
            row.Study,
            RunMetadata.NameOf(row.Scale),
            row.Device,
            row.Variant,
            row.Metric,
            row.Seed.ToString(CultureInfo.InvariantCulture),
            CsvTable.Number(row.Value),
            row.Unit,
            row.N.ToString(CultureInfo.InvariantCulture),
            row.DeviceDescription,
            row.Commit,
            row.Date,
            row.Version,
        ];
}
