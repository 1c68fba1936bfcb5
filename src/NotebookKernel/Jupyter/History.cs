using System.IO.Enumeration;
using System.Text.Json.Nodes;

namespace NotebookKernel.Jupyter;

/// <summary>The cells that were run and stored in this kernel's life, oldest first.</summary>
internal sealed class History
{
    // A kernel has one life; clients know the current session also as 0.
    private const int Session = 1;
    private readonly List<Entry> entries = [];

    private sealed record Entry(int Line, string Code)
    {
        internal string? Output { get; set; }
    }

    /// <summary>Remembers a cell.</summary>
    /// <param name="line">Its execution count.</param>
    /// <param name="code">What was run.</param>
    internal void Add(int line, string code) => entries.Add(new Entry(line, code));

    /// <summary>Remembers the last cell's result.</summary>
    internal void SetOutput(string text)
    {
        if (entries.Count > 0)
            entries[^1].Output = text;
    }

    /// <summary>Answers a history request: the last n, a range, or a search by glob pattern.</summary>
    internal JsonObject Answer(JsonObject content)
    {
        bool output = Bool(content["output"]);
        IEnumerable<Entry> found = (string?)content["hist_access_type"] switch
        {
            "range" => Range(content),
            "search" => Search(content),
            _ => Last(entries, Number(content["n"])),
        };
        return new JsonObject
        {
            ["status"] = "ok",
            ["history"] = new JsonArray([.. found.Select(entry => (JsonNode)Row(entry, output))]),
        };
    }

    private static JsonArray Row(Entry entry, bool output) =>
        output ? [Session, entry.Line, new JsonArray(entry.Code, entry.Output)] : [Session, entry.Line, entry.Code];

    // Session 0 is the current one, negative ones lie before it: this kernel keeps none of those.
    private IEnumerable<Entry> Range(JsonObject content)
    {
        int session = Number(content["session"]) ?? 0;
        if (session is not (0 or Session))
            return [];
        int start = Number(content["start"]) ?? 0;
        int stop = Number(content["stop"]) ?? int.MaxValue;
        return entries.Where(entry => entry.Line >= start && entry.Line < stop);
    }

    private IEnumerable<Entry> Search(JsonObject content)
    {
        string pattern = (string?)content["pattern"] ?? "*";
        var matching = entries.Where(entry => FileSystemName.MatchesSimpleExpression(pattern, entry.Code, ignoreCase: false));
        if (Bool(content["unique"]))
            matching = matching.GroupBy(entry => entry.Code).Select(group => group.Last());
        return Last([.. matching.OrderBy(entry => entry.Line)], Number(content["n"]));
    }

    private static IEnumerable<Entry> Last(List<Entry> from, int? count) =>
        count is { } most ? from.Skip(Math.Max(0, from.Count - Math.Max(0, most))) : from;

    private static bool Bool(JsonNode? value) => value is JsonValue given && given.TryGetValue(out bool flag) && flag;

    private static int? Number(JsonNode? value) => value is JsonValue given && given.TryGetValue(out int number) ? number : null;
}
