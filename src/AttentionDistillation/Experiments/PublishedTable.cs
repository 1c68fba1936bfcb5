namespace AttentionDistillation.Experiments;

/// <summary>A number from a paper.</summary>
/// <param name="Table">Which of the paper's tables.</param>
/// <param name="Row">The row, usually a model or a variant.</param>
/// <param name="Column">The column, usually a metric or a task.</param>
/// <param name="Value">The number as printed.</param>
/// <param name="Unit">Its unit.</param>
/// <param name="Source">Where it is published.</param>
/// <param name="Seen">False when the number was not seen in a source (marked †).</param>
/// <param name="Note">What a reader must know; may be empty.</param>
public sealed record PublishedValue(
    string Table,
    string Row,
    string Column,
    double Value,
    string Unit,
    string Source,
    bool Seen,
    string Note
)
{
    /// <summary>The mark of a number that was not seen in a source.</summary>
    public const string Dagger = "†";

    /// <summary>The number for a table cell, with † where it was not seen in a source.</summary>
    public override string ToString() => CsvTable.Number(Value) + (Seen ? "" : Dagger);
}

/// <summary>The numbers of a paper, from <c>data/papers/NN-slug.csv</c> (its format is described in data/README.md).</summary>
public sealed class PublishedTable
{
    private const string SeenMark = "yes";
    private static readonly string[] Header = ["table", "row", "column", "value", "unit", "source", "seen", "note"];
    private readonly Dictionary<(string, string, string), PublishedValue> byPlace;

    private PublishedTable(IReadOnlyList<PublishedValue> values)
    {
        Values = values;
        byPlace = values.ToDictionary(value => (value.Table, value.Row, value.Column));
    }

    /// <summary>All numbers in the file's order.</summary>
    public IReadOnlyList<PublishedValue> Values { get; }

    /// <summary>The names of the tables.</summary>
    public IReadOnlyList<string> Tables => [.. Values.Select(value => value.Table).Distinct()];

    /// <summary>The rows of a table.</summary>
    public IReadOnlyList<string> RowsOf(string table) => [.. In(table).Select(value => value.Row).Distinct()];

    /// <summary>The columns of a table.</summary>
    public IReadOnlyList<string> ColumnsOf(string table) => [.. In(table).Select(value => value.Column).Distinct()];

    /// <summary>A number by its place.</summary>
    /// <exception cref="KeyNotFoundException">There is none; the message lists the rows and columns there are.</exception>
    public PublishedValue this[string table, string row, string column] =>
        Find(table, row, column)
        ?? throw new KeyNotFoundException(
            $"No number at row '{row}', column '{column}' of table '{table}'. Tables: {string.Join(", ", Tables)}. "
                + $"Rows: {string.Join(", ", RowsOf(table))}. Columns: {string.Join(", ", ColumnsOf(table))}."
        );

    /// <summary>A number by its place, or null where the paper has none.</summary>
    public PublishedValue? Find(string table, string row, string column) => byPlace.GetValueOrDefault((table, row, column));

    /// <summary>Reads a file.</summary>
    /// <exception cref="CsvFormatException">The file is malformed; the message names line and column.</exception>
    public static PublishedTable Read(string path)
    {
        var values = new List<PublishedValue>();
        var places = new HashSet<(string, string, string)>();
        foreach (var row in CsvTable.Read(path, Header).Rows)
        {
            string seen = row.Text("seen");
            if (seen is not (SeenMark or PublishedValue.Dagger))
                throw row.Wrong("seen", $"must be {SeenMark} or {PublishedValue.Dagger}");
            if (!double.IsFinite(row.Number("value")))
                throw row.Wrong("value", "must be finite");
            if (!places.Add((row.Text("table"), row.Text("row"), row.Text("column"))))
                throw row.Wrong("column", "must name a place once: this table, row and column occurred before");
            values.Add(
                new(
                    row["table"],
                    row["row"],
                    row["column"],
                    row.Number("value"),
                    row.Text("unit"),
                    row.Text("source"),
                    seen == SeenMark,
                    row["note"]
                )
            );
        }
        return new(values);
    }

    private IEnumerable<PublishedValue> In(string table) => Values.Where(value => value.Table == table);
}
