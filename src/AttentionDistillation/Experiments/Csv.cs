using System.Globalization;
using System.Text;

namespace AttentionDistillation.Experiments;

/// <summary>A CSV file is not what it must be; the message names file, line and column.</summary>
public sealed class CsvFormatException(string message, Exception? inner = null) : FormatException(message, inner);

/// <summary>A record of a CSV file, with the line it starts on for error messages.</summary>
public sealed class CsvRow
{
    private readonly CsvTable table;

    internal CsvRow(CsvTable table, int line, IReadOnlyList<string> fields) => (this.table, Line, Fields) = (table, line, fields);

    /// <summary>The line the record starts on, from 1.</summary>
    public int Line { get; }

    /// <summary>The fields in the header's order.</summary>
    public IReadOnlyList<string> Fields { get; }

    /// <summary>The field of a column.</summary>
    public string this[string column] => Fields[table.IndexOf(column)];

    /// <summary>The field of a column, which must not be empty.</summary>
    /// <exception cref="CsvFormatException">It is empty.</exception>
    public string Text(string column) => this[column] is { Length: > 0 } text ? text : throw Wrong(column, "must not be empty");

    /// <summary>The field as a number with a decimal point; <c>NaN</c>, <c>Infinity</c> and <c>-Infinity</c> are numbers too.</summary>
    /// <exception cref="CsvFormatException">It is no number.</exception>
    public double Number(string column) =>
        double.TryParse(this[column], NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
            ? number
            : throw Wrong(column, "must be a number with a decimal point");

    /// <summary>The field as a number, or null where it is empty.</summary>
    /// <exception cref="CsvFormatException">It is neither.</exception>
    public double? NumberOrNull(string column) => this[column].Length == 0 ? null : Number(column);

    /// <summary>The field as a whole number.</summary>
    /// <exception cref="CsvFormatException">It is none.</exception>
    public long Whole(string column) =>
        long.TryParse(this[column], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number)
            ? number
            : throw Wrong(column, "must be a whole number");

    /// <summary>The error that a field is not what it must be.</summary>
    public CsvFormatException Wrong(string column, string what) =>
        new(
            $"{table.Source}, line {Line}, column '{column}': {what}, but is '{this[column]}'. Mend the line or restore the file."
        );
}

/// <summary>A CSV file with a header (RFC 4180: quoted fields may hold commas, line ends and doubled quotes), UTF-8.</summary>
public sealed class CsvTable
{
    private CsvTable(string source) => Source = source;

    /// <summary>Where the text came from, for error messages.</summary>
    public string Source { get; }

    /// <summary>The column names.</summary>
    public IReadOnlyList<string> Columns { get; private set; } = [];

    /// <summary>The records after the header.</summary>
    public IReadOnlyList<CsvRow> Rows { get; private set; } = [];

    internal int IndexOf(string column)
    {
        for (int index = 0; index < Columns.Count; index++)
            if (Columns[index] == column)
                return index;
        throw new CsvFormatException(
            $"{Source}, line 1: there is no column '{column}'. There are: {string.Join(", ", Columns)}."
        );
    }

    /// <summary>Reads a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="required">Columns that must be there.</param>
    /// <exception cref="CsvFormatException">The text is not CSV, not UTF-8, or a column is missing.</exception>
    public static CsvTable Read(string path, params string[] required)
    {
        try
        {
            return Parse(File.ReadAllText(path, new UTF8Encoding(false, throwOnInvalidBytes: true)), path, required);
        }
        catch (DecoderFallbackException error)
        {
            throw new CsvFormatException($"{path} is not UTF-8 text. Save it as UTF-8.", error);
        }
    }

    /// <summary>Reads text; <paramref name="source"/> names it in error messages.</summary>
    /// <exception cref="CsvFormatException">The text is not CSV, or a column is missing.</exception>
    public static CsvTable Parse(string text, string source, params string[] required)
    {
        var records = new CsvScanner(text, source).Records();
        if (records.Count == 0)
            throw new CsvFormatException($"{source}, line 1: the file is empty; its first line must be the header.");
        var table = new CsvTable(source) { Columns = records[0].Fields };
        if (table.Columns.Distinct().Count() != table.Columns.Count)
            throw new CsvFormatException($"{source}, line 1: a column name occurs twice.");
        foreach (string column in required)
            _ = table.IndexOf(column);
        foreach (var (line, fields) in records.Skip(1))
            if (fields.Count != table.Columns.Count)
                throw new CsvFormatException(
                    $"{source}, line {line}, column {Math.Min(fields.Count, table.Columns.Count) + 1}: the record has {fields.Count} fields, the header {table.Columns.Count}."
                );
        table.Rows = [.. records.Skip(1).Select(record => new CsvRow(table, record.Line, record.Fields))];
        return table;
    }

    /// <summary>The text of a header and records, ending in a line end; fields are quoted where they must be.</summary>
    public static string Format(IEnumerable<string> columns, IEnumerable<IEnumerable<string>> rows)
    {
        var text = new StringBuilder();
        foreach (var row in rows.Prepend(columns))
            text.AppendJoin(',', row.Select(Quote)).Append('\n');
        return text.ToString();
    }

    /// <summary>A number so that reading gives the same bits.</summary>
    internal static string Number(double? number) => number?.ToString("R", CultureInfo.InvariantCulture) ?? "";

    private static string Quote(string field) =>
        field.AsSpan().IndexOfAny("\",\r\n") >= 0 ? $"\"{field.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : field;
}

/// <summary>Cuts CSV text into records.</summary>
internal sealed class CsvScanner(string text, string source)
{
    private const char ByteOrderMark = '\uFEFF';
    private readonly StringBuilder field = new();
    private int at = text.StartsWith(ByteOrderMark) ? 1 : 0;
    private int line = 1;

    internal List<(int Line, IReadOnlyList<string> Fields)> Records()
    {
        var records = new List<(int, IReadOnlyList<string>)>();
        while (at < text.Length)
        {
            int start = line;
            var fields = new List<string>();
            do fields.Add(Field(fields.Count + 1));
            while (Took(','));
            EndLine(fields.Count);
            if (fields is not [""]) // a blank line is no record
                records.Add((start, fields));
        }
        return records;
    }

    private string Field(int column)
    {
        field.Clear();
        if (!Took('"'))
        {
            for (; at < text.Length && text[at] is not (',' or '\r' or '\n'); at++)
                field.Append(
                    text[at] == '"' ? throw Wrong(line, column, "a quote inside a field that does not begin with one") : text[at]
                );
            return field.ToString();
        }
        int start = line;
        while (at < text.Length)
        {
            char character = text[at++];
            if (character == '"' && !Took('"'))
                return field.ToString();
            line += character == '\n' ? 1 : 0;
            field.Append(character);
        }
        throw Wrong(start, column, "a quote is opened and never closed");
    }

    private void EndLine(int column)
    {
        if (at == text.Length)
            return;
        Took('\r');
        if (!Took('\n') && at < text.Length)
            throw Wrong(line, column, "text after a closing quote, or a bare carriage return");
        line++;
    }

    private bool Took(char character)
    {
        if (at >= text.Length || text[at] != character)
            return false;
        at++;
        return true;
    }

    private CsvFormatException Wrong(int where, int column, string what) =>
        new($"{source}, line {where}, column {column}: {what}.");
}
