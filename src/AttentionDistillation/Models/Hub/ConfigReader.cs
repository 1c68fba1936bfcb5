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
    public ImageSize Size(string name, ImageSize fallback)
    {
        if (!json.TryGetPropertyValue(name, out var node) || node is null)
            return fallback;
        if (node is JsonValue value && value.TryGetValue(out long side))
            return side;
        long[] pair = WholeNumbers(node) ?? throw Wrong(name, "a whole number or a list of two");
        return pair.Length == 2 ? new ImageSize(pair[0], pair[1]) : throw Wrong(name, "a whole number or a list of two");
    }

    /// <summary>A list of whole numbers.</summary>
    public IReadOnlyList<long> Integers(string name, IReadOnlyList<long> fallback) =>
        !json.TryGetPropertyValue(name, out var node) || node is null
            ? fallback
            : WholeNumbers(node) ?? throw Wrong(name, "a list of whole numbers");

    /// <summary>A configuration inside this one, empty when it is absent or null.</summary>
    public ConfigReader Section(string name)
    {
        if (!json.TryGetPropertyValue(name, out var node) || node is null)
            return new ConfigReader([], $"{path}: {name}");
        return node is JsonObject section ? new ConfigReader(section, $"{path}: {name}") : throw Wrong(name, "an object");
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

    private static long[]? WholeNumbers(JsonNode node)
    {
        if (node is not JsonArray list)
            return null;
        var numbers = new long[list.Count];
        for (int i = 0; i < numbers.Length; i++)
            if (list[i] is not JsonValue value || !value.TryGetValue(out numbers[i]))
                return null;
        return numbers;
    }

    private ArgumentException Wrong(string name, string expected) =>
        new($"'{path}' sets {name} to {json[name]?.ToJsonString() ?? "null"}, expected {expected}.");
}
