using System.Text.Json;

namespace AttentionDistillation.Worlds;

/// <summary>Reads files of JSON objects: one array of them, or one object a line.</summary>
internal static class JsonRecords
{
    /// <summary>The file's objects, each parsed with the words that name its place in messages.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no such JSON.</exception>
    public static IEnumerable<T> Read<T>(string path, Func<JsonElement, string, T> parse)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no '{path}'.", path);
        return IsArray(path) ? FromArray(path, parse) : FromLines(path, parse);
    }

    /// <summary>The file's objects.</summary>
    /// <inheritdoc cref="Read{T}"/>
    public static IEnumerable<JsonElement> Read(string path) => Read(path, (record, _) => record.Clone());

    /// <summary>A value that must be a string.</summary>
    public static string Text(JsonElement value, string name, string place) =>
        value.ValueKind == JsonValueKind.String
            ? value.GetString()!
            : throw new InvalidDataException($"'{name}' of {place} must be a string, but is {value.ValueKind}.");

    private static bool IsArray(string path)
    {
        using var reader = new StreamReader(path);
        int character;
        while ((character = reader.Read()) >= 0)
            if (!char.IsWhiteSpace((char)character))
                return character == '[';
        return false;
    }

    private static IEnumerable<T> FromArray<T>(string path, Func<JsonElement, string, T> parse)
    {
        using var stream = File.OpenRead(path);
        using var document = Parsed(() => JsonDocument.Parse(stream), path);
        int number = 0;
        foreach (var record in document.RootElement.EnumerateArray())
            yield return parse(Object(record, $"record {++number} of {path}"), $"record {number} of {path}");
    }

    private static IEnumerable<T> FromLines<T>(string path, Func<JsonElement, string, T> parse)
    {
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
                continue;
            string place = $"line {number} of {path}";
            using var document = Parsed(() => JsonDocument.Parse(line), place);
            yield return parse(Object(document.RootElement, place), place);
        }
    }

    private static JsonDocument Parsed(Func<JsonDocument> parse, string place)
    {
        try
        {
            return parse();
        }
        catch (JsonException problem)
        {
            throw new InvalidDataException($"{place} is not JSON: {problem.Message}", problem);
        }
    }

    private static JsonElement Object(JsonElement record, string place) =>
        record.ValueKind == JsonValueKind.Object
            ? record
            : throw new InvalidDataException($"{place} must be an object, but is {record.ValueKind}.");
}
