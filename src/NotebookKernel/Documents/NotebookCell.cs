using System.Text.Json.Nodes;

namespace NotebookKernel.Documents;

/// <summary>What a cell is.</summary>
public enum CellKind
{
    /// <summary>Code that runs.</summary>
    Code,

    /// <summary>Text for readers.</summary>
    Markdown,

    /// <summary>Passed through untouched.</summary>
    Raw,
}

/// <summary>A cell of a notebook, over its JSON.</summary>
public sealed class NotebookCell
{
    private readonly JsonObject node;

    private NotebookCell(JsonObject node, int number, CellKind kind, string source) =>
        (this.node, Number, Kind, Source) = (node, number, kind, source);

    /// <summary>Its place among all cells, from 1.</summary>
    public int Number { get; }

    /// <summary>What it is. A code cell that starts with the magic <c>#!markdown</c> counts as Markdown.</summary>
    public CellKind Kind { get; }

    /// <summary>Its text, with <c>\n</c> at line ends.</summary>
    public string Source { get; }

    /// <summary>Its identity; null where the file has none.</summary>
    public string? Id
    {
        get => NotebookDocument.Text(node["id"]);
        internal set => node["id"] = value;
    }

    /// <summary>The code to compile: magics that name F# become comments, so that line numbers stay.</summary>
    public string Code =>
        string.Join('\n', Source.Split('\n').Select(line => CellLanguages.Magic(line) is null ? line : "//" + line));

    /// <summary>The outputs, as nbformat stores them; null for cells that have none.</summary>
    public JsonArray? Outputs
    {
        get => node["outputs"] as JsonArray;
        internal set => node["outputs"] = value;
    }

    /// <summary>The execution count; null before the cell ran.</summary>
    public int? ExecutionCount
    {
        get => NotebookDocument.Integer(node["execution_count"]);
        internal set => node["execution_count"] = value;
    }

    /// <summary>A file attached to the cell, as a data address; null where there is none.</summary>
    internal string? Attachment(string name) =>
        (node["attachments"] as JsonObject)?[name] is JsonObject { Count: > 0 } forms
        && NotebookDocument.Text(forms.First().Value) is { } data
            ? $"data:{forms.First().Key};base64,{data}"
            : null;

    private JsonObject Metadata => (JsonObject)node["metadata"]!;

    // A Markdown cell in code's clothes still is, for the format, a code cell.
    private bool IsCodeInFormat => NotebookDocument.Text(node["cell_type"]) == "code";

    internal static NotebookCell From(JsonNode? node, int number, string file)
    {
        if (node is not JsonObject cell)
            throw new NotebookFormatException($"'{file}' is not a valid notebook: cell {number} is not an object.");
        CellKind kind = NotebookDocument.Text(cell["cell_type"]) switch
        {
            "code" => CellKind.Code,
            "markdown" => CellKind.Markdown,
            "raw" => CellKind.Raw,
            var other => throw new NotebookFormatException(
                $"'{file}' is not a valid notebook: cell {number} is of type '{other}', not code, markdown or raw."
            ),
        };
        string source = cell["source"] switch
        {
            JsonValue value when value.TryGetValue(out string? text) => text,
            JsonArray lines when lines.All(line => NotebookDocument.Text(line) is not null) => string.Concat(
                lines.Select(line => NotebookDocument.Text(line))
            ),
            _ => throw new NotebookFormatException($"'{file}' is not a valid notebook: cell {number} has no source text."),
        };
        source = source.ReplaceLineEndings("\n");
        if (cell["metadata"] is not JsonObject)
            cell["metadata"] = new JsonObject();
        if (kind == CellKind.Code && FirstMagic(source) == CellLanguages.Markdown)
            kind = CellKind.Markdown;
        return new NotebookCell(cell, number, kind, source);
    }

    /// <summary>The language of the cell in words, where it is not F#; else null.</summary>
    internal string? LanguageOtherThanFSharp(string notebookLanguage)
    {
        string first = FirstMagic(Source) ?? CellLanguages.OfCell(Metadata) ?? notebookLanguage;
        string language = CellLanguages.Normalise(first);
        if (language != CellLanguages.FSharp)
            return CellLanguages.Spoken(language);
        string? other = Source
            .Split('\n')
            .Select(CellLanguages.Magic)
            .FirstOrDefault(magic => magic is not null && CellLanguages.Normalise(magic) != CellLanguages.FSharp);
        return other is null ? null : $"{CellLanguages.Spoken(CellLanguages.Normalise(other))} in part (#!{other})";
    }

    internal void PrepareForRun()
    {
        node["source"] = MultilineText.ToLines(Source);
        if (!IsCodeInFormat)
        {
            node.Remove("outputs");
            node.Remove("execution_count");
            return;
        }
        Outputs = new JsonArray();
        ExecutionCount = null;
        if (Kind == CellKind.Code)
        {
            Metadata["dotnet_interactive"] = new JsonObject { ["language"] = CellLanguages.FSharp };
            Metadata["polyglot_notebook"] = new JsonObject { ["kernelName"] = CellLanguages.FSharp };
        }
    }

    private static string? FirstMagic(string source) =>
        source.Split('\n').FirstOrDefault(line => !string.IsNullOrWhiteSpace(line)) is { } line
            ? CellLanguages.Magic(line)
            : null;
}
