using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Experiments;

/// <summary>What a cell's numbers depend on. Two cells with equal keys are the same cell.</summary>
internal sealed record CellKey(
    string Study,
    string Scale,
    string Device,
    string Variant,
    long Seed,
    string Fingerprint,
    string CodeVersion
);

/// <summary>Cells on disk, one JSON file each, written whole or not at all.</summary>
internal sealed class CellCache(string folder)
{
    private const int LongestReadableName = 40;
    private const int HashCharacters = 16;

    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals, // a metric may be NaN
        RespectRequiredConstructorParameters = true,
        RespectNullableAnnotations = true,
    };

    private sealed record CellFile(
        CellKey Key,
        Dictionary<string, double> Metrics,
        double Seconds,
        long PeakHostBytes,
        long? DeviceBytes
    );

    internal string PathOf(CellKey key)
    {
        string hash = Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(key)))[..HashCharacters];
        return Path.Combine(
            folder,
            Readable(key.Study),
            $"{Readable(key.Variant)}-seed{key.Seed}-{key.Scale}-{key.Device}-{hash}.json"
        );
    }

    /// <summary>Reads a cell; false when there is none or its file is damaged, which is noted.</summary>
    internal bool TryRead(CellKey key, List<string> notes, [NotNullWhen(true)] out AblationCell? cell)
    {
        cell = null;
        string path = PathOf(key);
        try
        {
            if (!File.Exists(path))
                return false;
            var file = JsonSerializer.Deserialize<CellFile>(File.ReadAllText(path), Json);
            if (file is null || file.Key != key || file.Metrics.Count == 0)
                throw new JsonException("it holds another cell or none");
            cell = new(key.Variant, key.Seed, file.Metrics, file.Seconds, file.PeakHostBytes, file.DeviceBytes, FromCache: true);
            return true;
        }
        catch (Exception error)
            when (error is JsonException or NotSupportedException or IOException or UnauthorizedAccessException)
        {
            notes.Add(
                $"{key.Variant}, seed {key.Seed}: the cached cell '{path}' cannot be used ({error.Message}); computed again."
            );
            return false;
        }
    }

    /// <summary>Keeps a cell. A disk that refuses is noted: the number itself is not lost.</summary>
    internal void Write(CellKey key, AblationCell cell, List<string> notes)
    {
        var file = new CellFile(key, new(cell.Metrics), cell.Seconds, cell.PeakHostBytes, cell.DeviceBytes);
        try
        {
            AtomicFile.WriteText(PathOf(key), JsonSerializer.Serialize(file, Json));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            notes.Add($"{key.Variant}, seed {key.Seed}: could not be kept in the cache '{folder}' ({error.Message}).");
        }
    }

    private static string Readable(string name)
    {
        var text = new StringBuilder();
        foreach (char character in name.Take(LongestReadableName))
            text.Append(char.IsAsciiLetterOrDigit(character) ? character : '-');
        return text.ToString();
    }
}
