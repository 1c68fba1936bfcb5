using System.Text.Json;
using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>An object of a tokenizer's JSON file and where it stands, so that whatever is wrong there is said by name.</summary>
/// <param name="Json">The object.</param>
/// <param name="Where">The file and the path inside it.</param>
internal sealed record JsonPlace(JsonObject Json, string Where)
{
    /// <summary>Reads a file whose root is an object.</summary>
    /// <exception cref="TokenizerFormatException">It is none.</exception>
    public static JsonPlace Read(string path)
    {
        try
        {
            return JsonNode.Parse(File.ReadAllBytes(path)) is JsonObject root
                ? new JsonPlace(root, $"'{path}'")
                : throw new TokenizerFormatException($"'{path}' is not a JSON object.");
        }
        catch (JsonException error)
        {
            throw new TokenizerFormatException($"'{path}' is not JSON: {error.Message}", error);
        }
    }

    /// <summary>The <c>type</c> of a component.</summary>
    public string Type => Text("type") ?? throw Wrong("type", "the name of a component");

    /// <summary>True when a member exists and is not null.</summary>
    public bool Has(string name) => Json[name] is not null;

    /// <summary>A member that is an object; null when it is absent or null.</summary>
    public JsonPlace? Object(string name) =>
        Json[name] switch
        {
            null => null,
            JsonObject item => new JsonPlace(item, $"{Where}, {name}"),
            _ => throw Wrong(name, "an object"),
        };

    /// <summary>A member that is a list of objects; empty when it is absent or null.</summary>
    public IEnumerable<JsonPlace> Objects(string name) =>
        (Array(name) ?? []).Select(
            (item, index) =>
                item as JsonObject is { } inner
                    ? new JsonPlace(inner, $"{Where}, {name}[{index}]")
                    : throw Wrong(name, "a list of objects")
        );

    /// <summary>A member that is a list; null when it is absent or null.</summary>
    public JsonArray? Array(string name) => Json[name] is null ? null : Json[name] as JsonArray ?? throw Wrong(name, "a list");

    /// <summary>A string; null when it is absent or null.</summary>
    public string? Text(string name) =>
        Json[name] is not { } node ? null
        : node.GetValueKind() == JsonValueKind.String ? node.GetValue<string>()
        : throw Wrong(name, "a string");

    /// <summary>A string that must be there.</summary>
    public string RequiredText(string name) => Text(name) ?? throw Wrong(name, "a string");

    /// <summary>A truth value.</summary>
    public bool Flag(string name, bool fallback) =>
        Json[name] is not { } node
            ? fallback
            : node.GetValueKind() switch
            {
                JsonValueKind.True => true,
                JsonValueKind.False => false,
                _ => throw Wrong(name, "true or false"),
            };

    /// <summary>A whole number; null when it is absent or null.</summary>
    public int? Integer(string name) =>
        Json[name] is not { } node ? null
        : node is JsonValue value && value.TryGetValue(out int number) ? number
        : throw Wrong(name, "a whole number");

    /// <summary>The error for a member.</summary>
    public TokenizerFormatException Wrong(string name, string expected)
    {
        string given = Json[name]?.ToJsonString() ?? "nothing";
        return new($"{Where} sets {name} to {(given.Length > 80 ? given[..80] + "…" : given)}, expected {expected}.");
    }

    /// <summary>The error for a component that is not built.</summary>
    public NotSupportedException Unsupported(string kind, params string[] supported) =>
        new($"{Where} is the {kind} '{Type}', which is not supported. Supported are: {string.Join(", ", supported)}.");
}

/// <summary>A tokenizer's file is broken or says something that makes no sense; the message says what and where.</summary>
public sealed class TokenizerFormatException : IOException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">What is wrong, and where.</param>
    /// <param name="inner">The cause.</param>
    public TokenizerFormatException(string message, Exception? inner = null)
        : base(message, inner) { }
}
