using System.Buffers;
using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;
using AttentionDistillation.Runtime;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>Writes safetensors files.</summary>
public static class SafeTensorsWriter
{
    /// <summary>The header is padded with spaces so that the tensors begin at a multiple of this, as the specification asks.</summary>
    private const int Alignment = 8;

    private static readonly JsonWriterOptions Json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>
    /// Writes tensors to a file. They lie by descending element size, then by name, so that each is aligned and the same tensors always give
    /// the same file. The file appears under its name only when it is complete.
    /// </summary>
    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="tensors">Names and tensors, of any device and layout.</param>
    /// <param name="metadata">Free-form metadata, or null.</param>
    /// <exception cref="ArgumentException">Two tensors have one name, a name is reserved, or the format has no such element type.</exception>
    public static void Write(
        string path,
        IEnumerable<(string Name, Tensor Tensor)> tensors,
        IReadOnlyDictionary<string, string>? metadata = null
    )
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(tensors);
        var ordered = Order(tensors);
        byte[] header = Header(ordered, metadata);
        AtomicFile.Write(
            path,
            stream =>
            {
                Span<byte> length = stackalloc byte[SafeTensorsHeader.LengthBytes];
                BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
                stream.Write(length);
                stream.Write(header);
                foreach (var (_, tensor, _) in ordered)
                    TensorBytes.WriteTo(tensor, stream);
            }
        );
    }

    private static List<(string Name, Tensor Tensor, SafeTensorsType Type)> Order(
        IEnumerable<(string Name, Tensor Tensor)> tensors
    )
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var list = new List<(string Name, Tensor Tensor, SafeTensorsType Type)>();
        foreach (var (name, tensor) in tensors)
        {
            ArgumentNullException.ThrowIfNull(tensor, name);
            if (name is null or SafeTensorsHeader.MetadataName)
                throw new ArgumentException($"A tensor cannot be named '{name ?? "null"}'.", nameof(tensors));
            if (!names.Add(name))
                throw new ArgumentException($"Two tensors are named '{name}'.", nameof(tensors));
            list.Add((name, tensor, SafeTensorsType.Of(tensor.dtype)));
        }
        return [.. list.OrderByDescending(item => item.Type.Bits).ThenBy(item => item.Name, StringComparer.Ordinal)];
    }

    private static byte[] Header(
        List<(string Name, Tensor Tensor, SafeTensorsType Type)> tensors,
        IReadOnlyDictionary<string, string>? metadata
    )
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, Json))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject(SafeTensorsHeader.MetadataName);
                foreach (var (key, value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach (var (name, tensor, type) in tensors)
            {
                long length = checked(tensor.numel() * type.Bits / 8);
                json.WriteStartObject(name);
                json.WriteString("dtype", type.Name);
                json.WriteStartArray("shape");
                foreach (long size in tensor.shape)
                    json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += length);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        int padding = (Alignment - buffer.WrittenCount % Alignment) % Alignment;
        buffer.GetSpan(Alignment)[..padding].Fill((byte)' ');
        buffer.Advance(padding);
        return buffer.WrittenSpan.ToArray();
    }
}
