using System.Text.Json;

namespace AttentionDistillation.Worlds;

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
}
