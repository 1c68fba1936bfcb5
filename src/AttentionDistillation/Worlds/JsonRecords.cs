using System.Text.Json;

namespace AttentionDistillation.Worlds;

<<<<<<< HEAD
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
            throw new InvalidDataException($"{place} is no JSON: {problem.Message}", problem);
        }
    }

    private static JsonElement Object(JsonElement record, string place) =>
        record.ValueKind == JsonValueKind.Object
            ? record
            : throw new InvalidDataException($"{place} must be an object, but is {record.ValueKind}.");
=======
/// <summary>Records of a JSON file: the items of an array, or one object a line.</summary>
internal static class JsonRecords
{
    /// <summary>Reads all records.</summary>
    /// <exception cref="InvalidDataException">The file is not JSON; the message says where.</exception>
    internal static IEnumerable<JsonElement> Read(string path)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException(
                $"There is no file '{path}'. Export the data set as JSON or JSON lines and name it here.",
                path
            );
        bool isArray =
            File.ReadLines(path).SkipWhile(string.IsNullOrWhiteSpace).FirstOrDefault()?.TrimStart().StartsWith('[') == true;
        if (isArray)
        {
            using var whole = Parse(File.ReadAllText(path), path);
            foreach (var item in whole.RootElement.EnumerateArray())
                yield return item.Clone();
            yield break;
        }
        int line = 0;
        foreach (string text in File.ReadLines(path))
        {
            line++;
            if (string.IsNullOrWhiteSpace(text))
                continue;
            using var record = Parse(text, $"{path}, line {line}");
            yield return record.RootElement.Clone();
        }
    }

    private static JsonDocument Parse(string text, string place)
    {
        try
        {
            return JsonDocument.Parse(text);
        }
        catch (JsonException failure)
        {
            throw new InvalidDataException($"{place} is not JSON: {failure.Message}", failure);
        }
    }
>>>>>>> eff
}
