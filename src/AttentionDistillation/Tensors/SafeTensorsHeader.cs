using System.Text;
using System.Text.Json;

namespace AttentionDistillation.Tensors;

/// <summary>Reads and checks the header of a safetensors file: 8 bytes of length, little-endian, then JSON, then the tensors without gaps.</summary>
internal static class SafeTensorsHeader
{
    /// <summary>Bytes of the length field before the JSON.</summary>
    public const int LengthBytes = 8;

    /// <summary>The longest header the reference implementation accepts (MAX_HEADER_SIZE in safetensors/src/tensor.rs).</summary>
    public const long MaximumLength = 100_000_000;

    /// <summary>The name under which free-form metadata lie.</summary>
    public const string MetadataName = "__metadata__";

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Parses a header and checks that the tensors fill the file exactly.</summary>
    /// <param name="json">The header's bytes.</param>
    /// <param name="fileLength">Bytes of the whole file.</param>
    /// <param name="path">The file, for messages.</param>
    /// <exception cref="SafeTensorsException">The header is invalid.</exception>
    public static (Dictionary<string, SafeTensorsEntry> Entries, Dictionary<string, string> Metadata) Parse(
        ReadOnlySpan<byte> json,
        long fileLength,
        string path
    )
    {
        long dataStart = LengthBytes + json.Length;
        if (json.IsEmpty || json[0] != (byte)'{')
            throw Bad(path, "its header does not begin with '{', so it is not JSON");
        using var document = ParseJson(json, path);
        var entries = new Dictionary<string, SafeTensorsEntry>(StringComparer.Ordinal);
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        bool hasMetadata = false;
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (property.Name == MetadataName)
            {
                if (hasMetadata)
                    throw Bad(path, $"its header names '{MetadataName}' twice");
                hasMetadata = true;
                ReadMetadata(property.Value, metadata, path);
            }
            else if (!entries.TryAdd(property.Name, ReadEntry(property, dataStart, path)))
                throw Bad(path, $"its header names the tensor '{property.Name}' twice");
        }
        CheckLayout(entries.Values, dataStart, fileLength, path);
        return (entries, metadata);
    }

    private static JsonDocument ParseJson(ReadOnlySpan<byte> json, string path)
    {
        try
        {
            _ = StrictUtf8.GetCharCount(json);
            return JsonDocument.Parse(json.ToArray(), new JsonDocumentOptions { AllowDuplicateProperties = true });
        }
        catch (Exception error) when (error is JsonException or DecoderFallbackException)
        {
            throw Bad(path, $"its header is not JSON: {error.Message}", error);
        }
    }

    private static void ReadMetadata(JsonElement element, Dictionary<string, string> metadata, string path)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw Bad(path, $"'{MetadataName}' must be an object of strings, but is {element.ValueKind}");
        foreach (var property in element.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.String)
                throw Bad(path, $"the metadata '{property.Name}' must be a string, but is {property.Value.ValueKind}");
            if (!metadata.TryAdd(property.Name, property.Value.GetString()!))
                throw Bad(path, $"the metadata '{property.Name}' occurs twice");
        }
    }

    private static SafeTensorsEntry ReadEntry(JsonProperty property, long dataStart, string path)
    {
        string name = property.Name;
        if (property.Value.ValueKind != JsonValueKind.Object)
            throw Bad(path, $"the tensor '{name}' is described by {property.Value.ValueKind}, not by an object");
        JsonElement? dtype = null;
        JsonElement? shape = null;
        JsonElement? offsets = null;
        foreach (var field in property.Value.EnumerateObject())
        {
            ref var slot = ref dtype;
            if (field.NameEquals("shape"))
                slot = ref shape;
            else if (field.NameEquals("data_offsets"))
                slot = ref offsets;
            else if (!field.NameEquals("dtype"))
                throw Bad(path, $"the tensor '{name}' has the unknown field '{field.Name}' (known: dtype, shape, data_offsets)");
            if (slot is not null)
                throw Bad(path, $"the tensor '{name}' has the field '{field.Name}' twice");
            slot = field.Value;
        }
        if (dtype is not { ValueKind: JsonValueKind.String } typeName)
            throw Bad(path, $"the tensor '{name}' has no dtype");
        if (!SafeTensorsType.All.TryGetValue(typeName.GetString()!, out var type))
            throw Bad(
                path,
                $"the tensor '{name}' has the unknown dtype '{typeName.GetString()}' (known: {string.Join(", ", SafeTensorsType.All.Keys)})"
            );
        long[] sizes = Numbers(shape, name, "shape", path);
        long[] ends = Numbers(offsets, name, "data_offsets", path);
        if (ends.Length != 2 || ends[1] < ends[0])
            throw Bad(path, $"the tensor '{name}' has data_offsets [{string.Join(", ", ends)}], expected [begin, end]");
        long bytes = ByteCount(sizes, type, name, path);
        if (ends[1] - ends[0] != bytes)
            throw Bad(
                path,
                $"the tensor '{name}' is {type.Name} [{string.Join(", ", sizes)}], which is {bytes} bytes, but its data_offsets span {ends[1] - ends[0]}"
            );
        if (ends[1] > long.MaxValue - dataStart)
            throw Bad(path, $"the tensor '{name}' ends at byte {ends[1]}, beyond what a file can hold");
        return new SafeTensorsEntry(name, type, sizes, dataStart + ends[0], bytes);
    }

    private static long[] Numbers(JsonElement? element, string name, string field, string path)
    {
        if (element is not { ValueKind: JsonValueKind.Array } array)
            throw Bad(path, $"the tensor '{name}' has no {field}");
        var numbers = new List<long>(array.GetArrayLength());
        foreach (var item in array.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt64(out long number) || number < 0)
                throw Bad(path, $"the tensor '{name}' has {item.GetRawText()} in its {field}, expected whole numbers from 0 to 2^63 - 1");
            numbers.Add(number);
        }
        return [.. numbers];
    }

    private static long ByteCount(long[] shape, SafeTensorsType type, string name, string path)
    {
        try
        {
            long bits = type.Bits;
            foreach (long size in shape)
                bits = checked(bits * size);
            return bits % 8 == 0
                ? bits / 8
                : throw Bad(path, $"the tensor '{name}' is {type.Name} [{string.Join(", ", shape)}], which is no whole number of bytes");
        }
        catch (OverflowException error)
        {
            throw Bad(path, $"the tensor '{name}' has the shape [{string.Join(", ", shape)}], whose size overflows 64 bits", error);
        }
    }

    private static void CheckLayout(IEnumerable<SafeTensorsEntry> entries, long dataStart, long fileLength, string path)
    {
        long position = dataStart;
        string previous = "the header";
        foreach (var entry in entries.OrderBy(entry => entry.Offset).ThenBy(entry => entry.Length))
        {
            if (entry.Offset < position)
                throw Bad(path, $"the tensor '{entry.Name}' overlaps {previous} by {position - entry.Offset} bytes");
            if (entry.Offset > position)
                throw Bad(path, $"there is a hole of {entry.Offset - position} bytes between {previous} and the tensor '{entry.Name}'");
            position = entry.Offset + entry.Length;
            previous = $"'{entry.Name}'";
        }
        if (position > fileLength)
            throw Bad(path, $"it is truncated: its header describes {position} bytes, but the file has {fileLength}. Copy or download it again");
        if (position < fileLength)
            throw Bad(path, $"{fileLength - position} bytes follow the last tensor, which no entry of the header describes");
    }

    /// <summary>An error that names the file.</summary>
    public static SafeTensorsException Bad(string path, string what, Exception? inner = null) =>
        new($"'{path}' is not a valid safetensors file: {what}.", inner);
}
