using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// One file of named tensors and texts that is either whole or refused: eight letters, the header's length (int64, little-endian), a JSON header
/// (texts; name, dtype and shape of each tensor), the tensors' bytes in that order, and the SHA-256 of all before.
/// </summary>
internal static class CheckpointFile
{
    private const int LongestHeader = 64 << 20; // far above any model's list of names; a torn file must not ask for all memory
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
        string partial = path + PartialSuffix;
        var header = new Header(
            new Dictionary<string, string>(texts),
            [.. tensors.Select(item => new Entry(item.Name, item.Value.dtype.ToString(), item.Value.shape))]
        );
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(header);
        using (var stream = new FileStream(partial, FileMode.Create, FileAccess.Write, FileShare.None))
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
            stream.Flush(flushToDisk: true);
        }
        File.Move(partial, path, overwrite: true);
    }

    /// <summary>What follows a file's name while it is being written.</summary>
    public const string PartialSuffix = ".partial";

    /// <summary>Reads a file; the tensors are on the CPU and belong to the caller's dispose scope.</summary>
    /// <exception cref="InvalidDataException">The file is no checkpoint, or is torn.</exception>
    public static (Dictionary<string, string> Texts, Dictionary<string, Tensor> Tensors) Read(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        void Take(Span<byte> bytes)
        {
            if (stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) < bytes.Length)
                throw Torn(path);
            hash.AppendData(bytes);
        }
        var letters = new byte[Letters.Length];
        Take(letters);
        if (!letters.AsSpan().SequenceEqual(Letters))
            throw new InvalidDataException(
                $"'{path}' is no training checkpoint. Name another CheckpointFolder, or remove the file."
            );
        var length = new byte[sizeof(long)];
        Take(length);
        long headerLength = BitConverter.ToInt64(length);
        if (headerLength is < 2 or > LongestHeader || headerLength > stream.Length)
            throw Torn(path);
        var json = new byte[headerLength];
        Take(json);
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        Header header;
        try
        {
            header = JsonSerializer.Deserialize<Header>(json) ?? throw Torn(path);
            long bytesAhead = header.Tensors.Sum(entry => Bytes(entry));
            if (stream.Length - stream.Position != bytesAhead + SHA256.HashSizeInBytes)
                throw Torn(path);
        }
        catch (Exception error) when (error is JsonException or ArgumentException or OverflowException)
        {
            throw Torn(path, error);
        }
        foreach (var entry in header.Tensors)
        {
            var tensor = empty(entry.Shape, Enum.Parse<ScalarType>(entry.Type));
            foreach (var chunk in Chunks(tensor))
                Take(chunk.bytes);
            tensors[entry.Name] = tensor;
        }
        byte[] expected = hash.GetHashAndReset();
        var stored = new byte[SHA256.HashSizeInBytes];
        stream.ReadExactly(stored);
        if (!stored.AsSpan().SequenceEqual(expected))
            throw Torn(path);
        foreach (var tensor in tensors.Values)
            tensor.MoveToOuterDisposeScope();
        return (header.Texts, tensors);
    }

    private static long Bytes(Entry entry) =>
        entry.Shape.Aggregate(
            Enum.Parse<ScalarType>(entry.Type).ElementSize(),
            (long product, long size) => checked(product * size)
        );

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

    private static InvalidDataException Torn(string path, Exception? inner = null) =>
        new(
            $"The checkpoint '{path}' is damaged (cut short or changed). Remove it; the training then starts from an older one or anew.",
            inner
        );
}
