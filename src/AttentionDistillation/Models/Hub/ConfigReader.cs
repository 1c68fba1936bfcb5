using System.Text.Json;
using System.Text.Json.Nodes;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models.Hub;

/// <summary>Typed reading of a <c>config.json</c>: absent options take the family's default, wrong ones are refused by name.</summary>
internal sealed class ConfigReader(JsonObject json, string path)
{
    /// <summary>The whole configuration.</summary>
    public JsonObject Json => json;

    /// <summary>A whole number.</summary>
    public long Integer(string name, long fallback) => OptionalInteger(name, fallback) ?? throw Wrong(name, "a whole number");

    /// <summary>A whole number or null.</summary>
    public long? OptionalInteger(string name, long? fallback)
    {
        if (!json.TryGetPropertyValue(name, out var node))
            return fallback;
        return node is null ? null
            : node is JsonValue value && value.TryGetValue(out long number) ? number
            : throw Wrong(name, "a whole number or null");
    }

    /// <summary>A number.</summary>
    public double Number(string name, double fallback) => OptionalNumber(name, fallback) ?? throw Wrong(name, "a number");

    /// <summary>A number or null.</summary>
    public double? OptionalNumber(string name, double? fallback)
    {
        if (!json.TryGetPropertyValue(name, out var node))
            return fallback;
        return node is null ? null
            : node is JsonValue value && value.TryGetValue(out double number) ? number
            : throw Wrong(name, "a number or null");
    }

    /// <summary>A truth value.</summary>
    public bool Flag(string name, bool fallback)
    {
        if (!json.TryGetPropertyValue(name, out var node) || node is null)
            return fallback;
        return node.GetValueKind() switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Wrong(name, "true or false"),
        };
    }

    /// <summary>A string; null when it is absent or null.</summary>
    public string? Text(string name)
    {
        if (!json.TryGetPropertyValue(name, out var node) || node is null)
            return null;
        return node.GetValueKind() == JsonValueKind.String ? node.GetValue<string>() : throw Wrong(name, "a string");
    }

    /// <summary>Height and width: one whole number for a square, or a list of two.</summary>
    public ImageSize Size(string name, ImageSize fallback) =>
        Integers(name) switch
        {
            null or { Count: 0 } => fallback,
            { Count: 1 } side => side[0],
            { Count: 2 } pair => new ImageSize(pair[0], pair[1]),
            _ => throw Wrong(name, "a whole number or a list of two"),
        };

    /// <summary>A list of whole numbers.</summary>
    public IReadOnlyList<long> Integers(string name, IReadOnlyList<long> fallback) =>
        Integers(name) is { Count: > 0 } list ? list : fallback;

    /// <summary>A configuration inside this one, empty when it is absent or null.</summary>
    public ConfigReader Section(string name) => new(Object(name) ?? [], $"{path}: {name}");

    /// <summary>Where the configuration was read, for messages.</summary>
    public string Path => path;

    /// <summary>An object; null when it is absent or null.</summary>
    public JsonObject? Object(string name)
    {
        if (!json.TryGetPropertyValue(name, out var node) || node is null)
            return null;
        return node as JsonObject ?? throw Wrong(name, "an object");
    }

    /// <summary>A whole number or several; null when it is absent, none when it is null.</summary>
    public IReadOnlyList<long>? Integers(string name)
    {
        if (!json.TryGetPropertyValue(name, out var node))
            return null;
        return node switch
        {
            null => [],
            JsonArray array => [.. array.Select(Whole)],
            _ => [Whole(node)],
        };

        long Whole(JsonNode? item) =>
            item is JsonValue value && value.TryGetValue(out long number)
                ? number
                : throw Wrong(name, "a whole number or a list of whole numbers");
    }

    /// <summary>A list of numbers; null when it is absent or null.</summary>
    public IReadOnlyList<double>? Numbers(string name)
    {
        if (!json.TryGetPropertyValue(name, out var node) || node is null)
            return null;
        if (node is not JsonArray array)
            throw Wrong(name, "a list of numbers");
        return
        [
            .. array.Select(item =>
                item is JsonValue value && value.TryGetValue(out double number) ? number : throw Wrong(name, "a list of numbers")
            ),
        ];
    }

    /// <summary>A list of strings; null when it is absent or null.</summary>
    public IReadOnlyList<string>? Texts(string name)
    {
        if (!json.TryGetPropertyValue(name, out var node) || node is null)
            return null;
        if (node is not JsonArray array || array.Any(item => item?.GetValueKind() != JsonValueKind.String))
            throw Wrong(name, "a list of strings");
        return [.. array.Select(item => item!.GetValue<string>())];
    }

    /// <summary>The class names of a classifier, from <c>id2label</c> (or <c>num_labels</c>).</summary>
    public IReadOnlyList<string> Labels()
    {
        if (json["id2label"] is null)
            return TextEncoderConfig.DefaultLabels(checked((int)Integer("num_labels", 2)));
        if (json["id2label"] is not JsonObject map)
            throw Wrong("id2label", "an object from class numbers to names");
        var labels = new string[map.Count];
        foreach (var (key, node) in map)
        {
            if (
                !int.TryParse(key, out int number)
                || number < 0
                || number >= labels.Length
                || labels[number] is not null
                || node?.GetValueKind() is not JsonValueKind.String
            )
                throw Wrong("id2label", $"an object from the class numbers 0 to {labels.Length - 1} to names");
            labels[number] = node.GetValue<string>();
        }
        return labels;
    }

    /// <summary>Refuses an option whose value changes the computation in a way that is not built.</summary>
    /// <param name="name">The option.</param>
    /// <param name="allowed">The one value (as JSON) that is supported, besides absence and null.</param>
    /// <exception cref="NotSupportedException">The option has another value.</exception>
    public void Only(string name, string allowed)
    {
        if (json.TryGetPropertyValue(name, out var node) && node is not null && node.ToJsonString() != allowed)
            throw new NotSupportedException(
                $"'{path}' sets {name} to {node.ToJsonString()}, of which only {allowed} is supported."
            );
    }

    /// <summary>As <see cref="Only"/>, where the allowed value may be a number written otherwise (1 for 1.0).</summary>
    public void OnlyNumberOr(string name, string allowed)
    {
        bool same =
            json.TryGetPropertyValue(name, out var node)
            && node is JsonValue value
            && value.TryGetValue(out double number)
            && double.TryParse(allowed, System.Globalization.CultureInfo.InvariantCulture, out double expected)
            && number == expected;
        if (!same)
            Only(name, allowed);
    }

    private ArgumentException Wrong(string name, string expected) =>
        new($"'{path}' sets {name} to {json[name]?.ToJsonString() ?? "null"}, expected {expected}.");
}
