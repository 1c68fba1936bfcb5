using System.Text.Json.Nodes;
using NotebookKernel.Session;

namespace NotebookKernel.Jupyter;

/// <summary>An <c>execute_request</c> as its sender wants it run.</summary>
/// <param name="Code">F# code.</param>
/// <param name="Silent">No outputs, no history, no count.</param>
/// <param name="StoreHistory">Whether it counts and is remembered.</param>
/// <param name="UserExpressions">Expressions to evaluate afterwards, by name.</param>
/// <param name="AllowStdin">Whether the user may be asked for input.</param>
/// <param name="StopOnError">Whether an error aborts the requests that wait.</param>
internal sealed record ExecuteRequest(
    string Code,
    bool Silent,
    bool StoreHistory,
    JsonObject UserExpressions,
    bool AllowStdin,
    bool StopOnError
)
{
    /// <summary>Reads the content of a request; what is absent has the protocol's default.</summary>
    /// <exception cref="FormatException">There is no code, or a value is of the wrong kind.</exception>
    internal static ExecuteRequest Read(JsonObject content)
    {
        if (content["code"] is not JsonValue value || !value.TryGetValue(out string? code))
            throw new FormatException("An execute_request needs 'code', a text.");
        bool silent = Flag("silent", false);
        return new ExecuteRequest(
            code,
            silent,
            !silent && Flag("store_history", true),
            content["user_expressions"] as JsonObject ?? [],
            Flag("allow_stdin", true),
            Flag("stop_on_error", true)
        );

        bool Flag(string name, bool absent) =>
            content[name] switch
            {
                null => absent,
                JsonValue given when given.TryGetValue(out bool flag) => flag,
                _ => throw new FormatException($"'{name}' must be true or false."),
            };
    }
}

/// <summary>Turns what a running cell does into messages.</summary>
internal sealed class CellExecution(Publisher publisher, byte[] parent, int count, bool silent) : IDisposable
{
    private readonly StreamGatherer gatherer = new(text =>
        publisher.Publish("stream", new JsonObject { ["name"] = text.Name, ["text"] = text.Text }, parent)
    );

    /// <summary>The error the cell ended in; null for none.</summary>
    internal CellFailed? Failure { get; private set; }

    /// <summary>The cell's result as plain text; null for none.</summary>
    internal string? ResultText { get; private set; }

    /// <summary>Sends the text that still waits.</summary>
    internal void Flush() => gatherer.Flush();

    /// <summary>Takes an event of the cell.</summary>
    internal void Happened(CellEvent happened)
    {
        if (happened is CellFailed failed)
            Failure = failed;
        if (happened is ResultValue result)
            ResultText = result.Bundle.GetValueOrDefault("text/plain");
        if (silent)
            return;
        if (happened is StreamText text)
            gatherer.Add(text);
        else
            gatherer.After(() => Publish(happened));
    }

    /// <summary>The fields of an error, which an output and a reply share.</summary>
    internal static JsonObject Error(CellFailed failed) =>
        new()
        {
            ["ename"] = failed.Name,
            ["evalue"] = failed.Message,
            ["traceback"] = new JsonArray([.. failed.Traceback.Select(line => (JsonNode)line)]),
        };

    private void Publish(CellEvent happened)
    {
        switch (happened)
        {
            case Displayed display:
                publisher.Publish("display_data", Shown(display.Id, display.Bundle), parent);
                break;
            case DisplayUpdated update:
                publisher.Publish("update_display_data", Shown(update.Id, update.Bundle), parent);
                break;
            case ResultValue result:
                var content = new JsonObject
                {
                    ["execution_count"] = count,
                    ["data"] = MimeData.Of(result.Bundle),
                    ["metadata"] = new JsonObject(),
                };
                publisher.Publish("execute_result", content, parent);
                break;
            case CellFailed failed:
                publisher.Publish("error", Error(failed), parent);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(happened), happened, "An event of unknown kind.");
        }
    }

    private static JsonObject Shown(string id, IReadOnlyDictionary<string, string> bundle) =>
        new()
        {
            ["data"] = MimeData.Of(bundle),
            ["metadata"] = new JsonObject(),
            ["transient"] = new JsonObject { ["display_id"] = id },
        };

    /// <inheritdoc/>
    public void Dispose() => gatherer.Dispose();
}
