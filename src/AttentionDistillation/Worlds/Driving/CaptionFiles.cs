using System.Text.Json;

namespace AttentionDistillation.Worlds.Driving;

/// <summary>Captions of recorded scenes: JSON lines with <c>sample</c> (a nuScenes sample token) and <c>text</c>, as a vision-language model writes them.</summary>
public static class CaptionFiles
{
    /// <summary>Reads a file.</summary>
    /// <param name="path">Its path.</param>
    /// <returns>The text of each sample.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">A line is no object with both texts, or a sample comes twice; the message names the line.</exception>
    public static IReadOnlyDictionary<string, string> Read(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no file '{path}'.", path);
        var captions = new Dictionary<string, string>(StringComparer.Ordinal);
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
                continue;
            string? sample,
                text;
            try
            {
                using var document = JsonDocument.Parse(line);
                (sample, text) = (Text(document.RootElement, "sample"), Text(document.RootElement, "text"));
            }
            catch (JsonException error)
            {
                throw new InvalidDataException($"'{path}', line {number} is not JSON: {error.Message}", error);
            }
            if (sample is null || text is null)
                throw new InvalidDataException(
                    $"'{path}', line {number} needs the texts 'sample' and 'text', for example {{\"sample\": \"ca9a282c9e77460f8360f564131a8af5\", \"text\": \"the red cyclist stops\"}}."
                );
            if (!captions.TryAdd(sample, text))
                throw new InvalidDataException(
                    $"'{path}', line {number}: sample '{sample}' has a caption already. Keep one a sample."
                );
        }
        return captions;
    }

    private static string? Text(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object
        && element.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : null;
}
