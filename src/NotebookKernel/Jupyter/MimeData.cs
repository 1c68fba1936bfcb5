using System.Text.Json;
using System.Text.Json.Nodes;

namespace NotebookKernel.Jupyter;

/// <summary>MIME bundles as messages hold them: text as a string, JSON types as JSON.</summary>
internal static class MimeData
{
    /// <summary>The <c>data</c> of a message.</summary>
    internal static JsonObject Of(IReadOnlyDictionary<string, string> bundle)
    {
        var data = new JsonObject();
        foreach (var (mimeType, text) in bundle.OrderBy(form => form.Key, StringComparer.Ordinal))
            data[mimeType] = IsJson(mimeType) ? ParseOr(text) : text;
        return data;
    }

    private static bool IsJson(string mimeType) =>
        mimeType == "application/json" || mimeType.EndsWith("+json", StringComparison.Ordinal);

    private static JsonNode? ParseOr(string text)
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
