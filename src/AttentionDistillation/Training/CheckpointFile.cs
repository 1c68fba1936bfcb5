using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// One file of named tensors and texts that is either whole or refused: eight letters, the header's length (int64, little-endian), a JSON header
/// (texts; name, dtype and shape of each tensor), the tensors' bytes in that order, and the SHA-256 of all before.
/// </summary>
internal static class CheckpointFile
{
    private const int ReadBufferBytes = 1 << 20;
    private const long ChunkBytes = 256 << 20; // TorchSharp shows a tensor's bytes through a span, which ends at 2 GiB
    private static readonly byte[] Letters = "ATDCKPT1"u8.ToArray();

    private sealed record Entry(string Name, string Type, long[] Shape);

    private sealed record Header(Dictionary<string, string> Texts, Entry[] Tensors);

    /// <summary>Writes a file under a temporary name, forces it to the disk, and renames it.</summary>
    public static void Write(
        string path,
        IReadOnlyDictionary<string, string> texts,
        IReadOnlyList<(string Name, Tensor Value)> tensors
    )
    {
        var header = new Header(
            new Dictionary<string, string>(texts),
            [.. tensors.Select(item => new Entry(item.Name, item.Value.dtype.ToString(), item.Value.shape))]
        );
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(header);
        // A training has its checkpoint folder to itself, and its files are large: what a kill left is written over.
        AtomicFile.Write(path, stream => WriteTo(stream, json, tensors), soleWriter: true);
    }

    private static void WriteTo(Stream stream, byte[] json, IReadOnlyList<(string Name, Tensor Value)> tensors)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        void Put(ReadOnlySpan<byte> bytes)
        {
            hash.AppendData(bytes);
            stream.Write(bytes);
        }
        Put(Letters);
        Put(BitConverter.GetBytes((long)json.Length));
        Put(json);
        foreach (var (_, value) in tensors)
        {
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            foreach (var chunk in Chunks(value.detach().cpu().contiguous()))
                Put(chunk.bytes);
        }
        stream.Write(hash.GetHashAndReset());
    }

    /// <summary>Reads a file; the tensors are on the CPU and belong to the caller's dispose scope.</summary>
    /// <exception cref="InvalidDataException">The file is no checkpoint, or is torn.</exception>
    public static (Dictionary<string, string> Texts, Dictionary<string, Tensor> Tensors) Read(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        RequireWhole(stream, path); // so that nothing below can meet a header that makes no sense
        using var reader = new BinaryReader(stream, Encoding.UTF8, leaveOpen: true);
        var header = JsonSerializer.Deserialize<Header>(reader.ReadBytes((int)reader.ReadInt64()))!;
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var entry in header.Tensors)
        {
            var tensor = empty(entry.Shape, Enum.Parse<ScalarType>(entry.Type));
            foreach (var chunk in Chunks(tensor))
                stream.ReadExactly(chunk.bytes);
            tensors[entry.Name] = tensor;
        }
        foreach (var tensor in tensors.Values)
            tensor.MoveToOuterDisposeScope();
        return (header.Texts, tensors);
    }

    // Leaves the stream behind the letters.
    private static void RequireWhole(FileStream stream, string path)
    {
        var letters = new byte[Letters.Length];
        int read = stream.ReadAtLeast(letters, letters.Length, throwOnEndOfStream: false);
        if (!letters.AsSpan(0, read).SequenceEqual(Letters.AsSpan(0, read)))
            throw new InvalidDataException(
                $"'{path}' is no training checkpoint. Name another CheckpointFolder, or remove the file."
            );
        long left = stream.Length - letters.Length - SHA256.HashSizeInBytes;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(letters);
        var buffer = new byte[ReadBufferBytes];
        while (left > 0)
        {
            int got = stream.Read(buffer, 0, (int)Math.Min(buffer.Length, left));
            if (got == 0)
                break;
            hash.AppendData(buffer, 0, got);
            left -= got;
        }
        var stored = new byte[SHA256.HashSizeInBytes];
        bool whole =
            left == 0
            && stream.ReadAtLeast(stored, stored.Length, throwOnEndOfStream: false) == stored.Length
            && stored.AsSpan().SequenceEqual(hash.GetHashAndReset());
        if (!whole)
            throw new InvalidDataException(
                $"The checkpoint '{path}' is damaged (cut short or changed). Remove it; the training then starts anew."
            );
        stream.Position = letters.Length;
    }

    private static IEnumerable<Tensor> Chunks(Tensor contiguous)
    {
        using var flat = contiguous.view(-1);
        long step = ChunkBytes / contiguous.element_size();
        for (long start = 0; start < flat.size(0); start += step)
        {
            using var chunk = flat.narrow(0, start, Math.Min(step, flat.size(0) - start));
            yield return chunk;
        }
    }
}
