using System.Text.Json.Nodes;
using NotebookKernel.Session;

namespace NotebookKernel.Jupyter;

/// <summary>Answers the requests of a client's editor: completion, inspection, completeness.</summary>
internal sealed class LanguageReplies(NotebookSession session)
{
    // What an open block is indented by.
    private const string Indent = "    ";

    /// <summary>Runs and completes a trifle, so that the compiler is loaded before the user's first cell and first completion.</summary>
    internal void WarmUp() =>
        _ = session.AskAsync(compiler =>
        {
            _ = compiler.EvalInteractionNonThrowing("()", null);
            return LanguageService.Complete(compiler, "List.", "List.".Length);
        });

    /// <summary>The content of a <c>complete_reply</c>.</summary>
    internal async Task<JsonObject> CompleteAsync(JsonObject content)
    {
        var (code, position) = Place(content);
        var found = await session.AskAsync(compiler => LanguageService.Complete(compiler, code, position)).ConfigureAwait(false);
        int start = CodePoints.FromUnits(code, found.Start),
            end = CodePoints.FromUnits(code, found.End);
        var types = found.Items.Select(item =>
            (JsonNode)
                new JsonObject
                {
                    ["start"] = start,
                    ["end"] = end,
                    ["text"] = item.Code,
                    ["type"] = item.Kind,
                }
        );
        return new JsonObject
        {
            ["status"] = "ok",
            ["matches"] = new JsonArray([.. found.Items.Select(item => (JsonNode)item.Code)]),
            ["cursor_start"] = start,
            ["cursor_end"] = end,
            ["metadata"] = new JsonObject { ["_jupyter_types_experimental"] = new JsonArray([.. types]) },
        };
    }

    /// <summary>The content of an <c>inspect_reply</c>.</summary>
    internal async Task<JsonObject> InspectAsync(JsonObject content)
    {
        var (code, position) = Place(content);
        bool remarks = content["detail_level"] is JsonValue level && level.TryGetValue(out int number) && number > 0;
        var found = await session
            .AskAsync(compiler => LanguageService.Inspect(compiler, code, position, remarks))
            .ConfigureAwait(false);
        var data = new JsonObject();
        if (found.Count > 0)
        {
            data["text/plain"] = string.Join(
                "\n\n",
                found.Select(each => each.Documentation.Length > 0 ? $"{each.Signature}\n\n{each.Documentation}" : each.Signature)
            );
            data["text/markdown"] = string.Join(
                "\n\n---\n\n",
                found.Select(each =>
                    $"```fsharp\n{each.Signature}\n```\n\n{each.Documentation.Replace("\n", "\n\n", StringComparison.Ordinal)}".TrimEnd()
                )
            );
        }
        return new JsonObject
        {
            ["status"] = "ok",
            ["found"] = found.Count > 0,
            ["data"] = data,
            ["metadata"] = new JsonObject(),
        };
    }

    /// <summary>The content of an <c>is_complete_reply</c>.</summary>
    internal async Task<JsonObject> IsCompleteAsync(JsonObject content)
    {
        string code = Code(content);
        var verdict = await session.AskAsync(compiler => LanguageService.Check(compiler, code)).ConfigureAwait(false);
        return verdict switch
        {
            Completeness.Complete => new JsonObject { ["status"] = "complete" },
            Completeness.Incomplete => new JsonObject { ["status"] = "incomplete", ["indent"] = IndentAfter(code) },
            _ => new JsonObject { ["status"] = "invalid" },
        };
    }

    private static string IndentAfter(string code)
    {
        string last = code.TrimEnd()[(code.TrimEnd().LastIndexOf('\n') + 1)..];
        string same = last[..(last.Length - last.TrimStart().Length)];
        bool opens =
            last.EndsWith('=')
            || last.EndsWith("->", StringComparison.Ordinal)
            || last.EndsWith("do", StringComparison.Ordinal)
            || last.EndsWith("then", StringComparison.Ordinal)
            || last.EndsWith("else", StringComparison.Ordinal);
        return opens ? same + Indent : same;
    }

    private static (string Code, int Position) Place(JsonObject content)
    {
        string code = Code(content);
        return content["cursor_pos"] is JsonValue value && value.TryGetValue(out int position)
            ? (code, CodePoints.ToUnits(code, position))
            : (code, code.Length);
    }

    private static string Code(JsonObject content) =>
        content["code"] is JsonValue value && value.TryGetValue(out string? code)
            ? code
            : throw new FormatException("The request needs 'code', a text.");
}
