using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using AttentionDistillation.Runtime;

namespace NotebookKernel.Documents;

/// <summary>A Jupyter notebook (nbformat 4) in memory: read with checks, brought up to nbformat 4.5 with Polyglot metadata, written whole.</summary>
public sealed partial class NotebookDocument
{
    /// <summary>The key of this program's own metadata in the notebook: scale, device, date, commit, duration.</summary>
    public const string ResearchKey = "research";

    private const int FormatMajor = 4;
    private const int FormatMinor = 5;

    private static readonly JsonSerializerOptions Written = new()
    {
        WriteIndented = true,
        IndentSize = 1, // as Jupyter writes them, so that version control shows only what changed
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private readonly JsonObject root;

    private NotebookDocument(JsonObject root, string name, IReadOnlyList<NotebookCell> cells) =>
        (this.root, Name, Cells) = (root, name, cells);

    /// <summary>The file's name.</summary>
    public string Name { get; }

    /// <summary>All cells in order.</summary>
    public IReadOnlyList<NotebookCell> Cells { get; }

    /// <summary>The first heading of the first Markdown cell that has one; else the file's name.</summary>
    public string Title =>
        Cells
            .Where(cell => cell.Kind == CellKind.Markdown)
            .SelectMany(cell => cell.Source.Split('\n'))
            .Select(line => line.Trim())
            .FirstOrDefault(line => line.StartsWith("# ", StringComparison.Ordinal))
            ?[2..].Trim()
        ?? Name;

    /// <summary>What was recorded about the last run; null before the first.</summary>
    public JsonObject? Research
    {
        get => Metadata[ResearchKey] as JsonObject;
        set => Metadata[ResearchKey] = value;
    }

    private JsonObject Metadata => (JsonObject)root["metadata"]!;

    /// <summary>Reads a notebook.</summary>
    /// <exception cref="NotebookFormatException">The file is missing, a folder, unreadable, not JSON, not a notebook, or of another version.</exception>
    public static NotebookDocument Read(string path)
    {
        string name = Path.GetFileName(path);
        if (Directory.Exists(path))
            throw new NotebookFormatException(
                $"'{path}' is a folder. Name a notebook in it, for example '{Path.Combine(path, "*.ipynb")}'."
            );
        if (!File.Exists(path))
            throw new NotebookFormatException($"There is no file '{path}'.");
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NotebookFormatException($"'{path}' cannot be read: {error.Message}", error);
        }
        return Parse(text, name);
    }

    /// <summary>Parses a notebook's text.</summary>
    /// <param name="text">The file's text.</param>
    /// <param name="name">The file's name, for messages.</param>
    /// <exception cref="NotebookFormatException">It is not JSON, not a notebook, or of another version.</exception>
    public static NotebookDocument Parse(string text, string name)
    {
        JsonNode? node;
        try
        {
            node = JsonNode.Parse(text, documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false });
        }
        catch (JsonException error)
        {
            string place = error.LineNumber is { } line ? $" (line {line + 1})" : "";
            throw new NotebookFormatException($"'{name}' is not JSON{place}, so it is not a notebook.", error);
        }
        if (node is not JsonObject root || root["cells"] is not JsonArray && root["worksheets"] is null)
            throw new NotebookFormatException($"'{name}' is JSON, but not a Jupyter notebook: it has no list of cells.");
        int? major = Integer(root["nbformat"]);
        if (major is null)
            throw new NotebookFormatException($"'{name}' is JSON, but not a Jupyter notebook: it does not say its nbformat.");
        if (major != FormatMajor)
            throw new NotebookFormatException(
                $"'{name}' is a notebook of nbformat {major}; this program runs nbformat {FormatMajor}. "
                    + $"Convert it with: jupyter nbconvert --to notebook --nbformat {FormatMajor} '{name}'."
            );
        if (root["metadata"] is not (JsonObject or null))
            throw new NotebookFormatException($"'{name}' is not a valid notebook: its metadata are not an object.");
        root["metadata"] ??= new JsonObject();
        var nodes = (JsonArray)root["cells"]!;
        var cells = new List<NotebookCell>();
        for (int i = 0; i < nodes.Count; i++)
            cells.Add(NotebookCell.From(nodes[i], i + 1, name));
        return new NotebookDocument(root, name, cells);
    }

    /// <summary>Checks that every cell that would run is F#.</summary>
    /// <exception cref="NotebookFormatException">The notebook, or a cell, is of another language; the message names the cell.</exception>
    public void RequireFSharp()
    {
        string language = CellLanguages.OfNotebook(Metadata);
        foreach (var (index, cell) in Cells.Where(cell => cell.Kind == CellKind.Code).Index())
            if (cell.LanguageOtherThanFSharp(language) is { } other)
                throw new NotebookFormatException(
                    $"'{Name}': code cell {index + 1} is {other}; this program runs F# cells only. Rewrite the cell in F#, or make it Markdown."
                );
    }

    /// <summary>Brings format, cell ids and metadata up to nbformat 4.5 as VS Code's Polyglot notebooks write it, and drops old outputs.</summary>
    public void PrepareForRun()
    {
        root["nbformat"] = FormatMajor;
        root["nbformat_minor"] = FormatMinor;
        Metadata["kernelspec"] = new JsonObject
        {
            ["display_name"] = ".NET (F#)",
            ["language"] = "F#",
            ["name"] = ".net-fsharp",
        };
        if (Metadata["language_info"] is not JsonObject)
            Metadata["language_info"] = new JsonObject { ["name"] = "polyglot-notebook" };
        Metadata["polyglot_notebook"] = new JsonObject
        {
            ["kernelInfo"] = new JsonObject
            {
                ["defaultKernelName"] = "fsharp",
                ["items"] = new JsonArray(new JsonObject { ["aliases"] = new JsonArray(), ["name"] = "fsharp" }),
            },
        };
        var ids = new HashSet<string>();
        foreach (var cell in Cells)
        {
            if (cell.Id is not { } id || !CellId().IsMatch(id) || !ids.Add(id))
                ids.Add(cell.Id = FreshId(cell, ids));
            cell.PrepareForRun();
        }
    }

    /// <summary>The notebook as a file holds it.</summary>
    public string ToJson() => root.ToJsonString(Written) + "\n";

    /// <summary>Writes the notebook under a temporary name and renames it, so that a reader never sees half of it.</summary>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    public void Write(string path) => AtomicFile.WriteText(path, ToJson());

    // The same notebook gets the same ids on every run, so that version control stays quiet.
    private static string FreshId(NotebookCell cell, HashSet<string> taken)
    {
        for (int salt = 0; ; salt++)
        {
            byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{cell.Number}:{salt}:{cell.Source}"));
            string id = Convert.ToHexStringLower(hash)[..8];
            if (!taken.Contains(id))
                return id;
        }
    }

    internal static int? Integer(JsonNode? node) => node is JsonValue value && value.TryGetValue(out int number) ? number : null;

    internal static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    [GeneratedRegex("^[a-zA-Z0-9_-]{1,64}$")]
    private static partial Regex CellId();
}
