using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using NotebookKernel.Session;

namespace NotebookKernel.Documents;

/// <summary>
/// Turns events of cells into nbformat outputs: text of one stream is joined, an updated display holds its last state wherever it stands.
/// Safe to read while a cell runs, so that a notebook can be saved at any moment.
/// </summary>
public sealed class OutputRecorder
{
    private readonly Lock gate = new();
    private readonly Dictionary<string, JsonObject> displays = [];
    private readonly StringBuilder stream = new();
    private JsonArray outputs = [];
    private JsonObject? openStream;
    private int count;

    /// <summary>Starts a cell.</summary>
    /// <param name="cell">The code cell whose outputs come next.</param>
    /// <param name="executionCount">Its execution count.</param>
    public void Begin(NotebookCell cell, int executionCount)
    {
        lock (gate)
        {
            WriteStream();
            openStream = null;
            outputs = [];
            count = executionCount;
            cell.Outputs = outputs;
            cell.ExecutionCount = executionCount;
        }
    }

    /// <summary>Records an event of the current cell.</summary>
    public void Record(CellEvent happened)
    {
        lock (gate)
        {
            switch (happened)
            {
                case StreamText text:
                    Append(text);
                    break;
                case Displayed display:
                    displays[display.Id] = Add(
                        new JsonObject
                        {
                            ["data"] = Data(display.Bundle),
                            ["metadata"] = new JsonObject(),
                            ["output_type"] = "display_data",
                        }
                    );
                    break;
                case DisplayUpdated update:
                    if (displays.TryGetValue(update.Id, out var shown))
                        shown["data"] = Data(update.Bundle);
                    break;
                case ResultValue result:
                    Add(
                        new JsonObject
                        {
                            ["data"] = Data(result.Bundle),
                            ["execution_count"] = count,
                            ["metadata"] = new JsonObject(),
                            ["output_type"] = "execute_result",
                        }
                    );
                    break;
                case CellFailed failed:
                    Add(
                        new JsonObject
                        {
                            ["ename"] = failed.Name,
                            ["evalue"] = failed.Message,
                            ["output_type"] = "error",
                            ["traceback"] = new JsonArray([.. failed.Traceback.Select(line => (JsonNode)line)]),
                        }
                    );
                    break;
                default:
                    throw new ArgumentOutOfRangeException(nameof(happened), happened, "An event of unknown kind.");
            }
        }
    }

    /// <summary>Does something with the notebook while no event is recorded.</summary>
    public void Locked(Action action)
    {
        ArgumentNullException.ThrowIfNull(action);
        lock (gate)
        {
            WriteStream();
            action();
        }
    }

    private JsonObject Add(JsonObject output)
    {
        WriteStream();
        openStream = null;
        outputs.Add((JsonNode)output);
        return output;
    }

    private void Append(StreamText text)
    {
        if (openStream is null || NotebookDocument.Text(openStream["name"]) != text.Name)
        {
            openStream = Add(new JsonObject { ["name"] = text.Name, ["output_type"] = "stream" });
            openStream["text"] = new JsonArray();
            stream.Clear();
        }
        MultilineText.AppendAsTerminal(stream, text.Text);
    }

    // A stream's text is written into the notebook when the stream ends or somebody looks; it stays open for more.
    private void WriteStream()
    {
        if (openStream is not null)
            openStream["text"] = MultilineText.ToLines(stream.ToString().TrimEnd('\r'));
    }

    private static JsonObject Data(IReadOnlyDictionary<string, string> bundle)
    {
        var data = new JsonObject();
        foreach (var (mimeType, text) in bundle.OrderBy(form => form.Key, StringComparer.Ordinal))
            data[mimeType] = IsJson(mimeType) ? ParseJson(text) : MultilineText.ToLines(text);
        return data;
    }

    private static bool IsJson(string mimeType) =>
        mimeType == "application/json" || mimeType.EndsWith("+json", StringComparison.Ordinal);

    private static JsonNode? ParseJson(string text)
    {
        try
        {
            return JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            return text;
        }
    }
}
