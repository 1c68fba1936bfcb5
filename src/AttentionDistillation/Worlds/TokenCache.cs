using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Worlds;

/// <summary>
/// The tokenised corpus in a file: gzip of magic, format version, vocabulary fingerprint, SHA-256 of the payload, payload. All numbers little-endian.
/// </summary>
internal static class TokenCache
{
    /// <summary>Raised whenever the format, or what the builder makes of the same packs, changes.</summary>
    public const int FormatVersion = 1;

    private const string Magic = "DOTNETDOCS";

    /// <summary>Writes a cache, whole or not at all.</summary>
    public static void Write(string path, TokenCorpus corpus, string vocabulary)
    {
        byte[] payload = Payload(corpus);
        AtomicFile.Write(
            path,
            stream =>
            {
                using var gzip = new GZipStream(stream, CompressionLevel.Optimal, leaveOpen: true);
                using var writer = new BinaryWriter(gzip, Encoding.UTF8);
                writer.Write(Magic);
                writer.Write(FormatVersion);
                writer.Write(vocabulary);
                writer.Write(SHA256.HashData(payload));
                writer.Write(payload.Length);
                writer.Write(payload);
            }
        );
    }

    /// <summary>Reads a cache.</summary>
    /// <exception cref="InvalidDataException">The file is torn, no cache, or of another format or vocabulary; the message says which.</exception>
    public static TokenCorpus Read(string path, string vocabulary)
    {
        const string remedy = "Write it again with DotNetDocs.WriteCache on a machine with the .NET 10 SDK.";
        try
        {
            using var gzip = new GZipStream(File.OpenRead(path), CompressionMode.Decompress);
            using var reader = new BinaryReader(gzip, Encoding.UTF8);
            if (reader.ReadString() != Magic)
                throw new InvalidDataException("it is not a token cache");
            if (reader.ReadInt32() is var version && version != FormatVersion)
                throw new InvalidDataException($"it has format version {version}, and this library reads {FormatVersion}");
            if (reader.ReadString() != vocabulary)
                throw new InvalidDataException("it was made with another vocabulary");
            byte[] checksum = reader.ReadBytes(SHA256.HashSizeInBytes);
            int length = reader.ReadInt32();
            byte[] payload = length < 0 ? [] : reader.ReadBytes(length);
            if (payload.Length != length || !SHA256.HashData(payload).AsSpan().SequenceEqual(checksum))
                throw new InvalidDataException("its content does not match its checksum");
            return Parse(payload);
        }
        catch (Exception error)
            when (error is InvalidDataException or EndOfStreamException or FormatException or DecoderFallbackException)
        {
            throw new InvalidDataException(
                $"The token cache '{path}' cannot be used: {error.Message.TrimEnd('.')}. {remedy}",
                error
            );
        }
    }

    private static byte[] Payload(TokenCorpus corpus)
    {
        using var memory = new MemoryStream();
        using (var writer = new BinaryWriter(memory, Encoding.UTF8))
        {
            writer.Write(corpus.Version);
            writer.Write(corpus.Splits.Length);
            writer.Write(corpus.Splits);
            writer.Write(corpus.Kinds);
            writer.Write(corpus.Areas);
            corpus.Summaries.Write(writer);
            corpus.Signatures.Write(writer);
            corpus.Passages.Write(writer);
        }
        return memory.ToArray();
    }

    private static TokenCorpus Parse(byte[] payload)
    {
        using var reader = new BinaryReader(new MemoryStream(payload), Encoding.UTF8);
        string version = reader.ReadString();
        int count = reader.ReadInt32();
        return new(
            version,
            reader.ReadBytes(count),
            reader.ReadBytes(count),
            reader.ReadBytes(count),
            TokenTexts.Read(reader),
            TokenTexts.Read(reader),
            TokenTexts.Read(reader)
        );
    }
}
