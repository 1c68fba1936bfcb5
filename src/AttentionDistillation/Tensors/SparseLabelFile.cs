using System.Buffers.Binary;
using System.Text;
using AttentionDistillation.Runtime;
using Microsoft.Win32.SafeHandles;

namespace AttentionDistillation.Tensors;

/// <summary>
/// The file of one epoch, all numbers little-endian: eight letters; int32 version, classes, K, images, epochs, this epoch, length of a text; the text
/// (UTF-8: pipeline, a zero byte, teacher); CRC-32C of all before. Then a record per image, in order: the packed label (<see cref="SparseLabelRecord"/>),
/// the augmented image's checksum (uint32), and the CRC-32C of epoch, image number and all before (uint32), so that a record in another's place is found, too.
/// </summary>
internal sealed class SparseLabelFile : IDisposable
{
    public const int Version = 1;

    private const int Numbers = 7;
    private const int MostTextBytes = 1 << 20;
    private static readonly byte[] Letters = "ATDLABEL"u8.ToArray();

    private readonly SafeFileHandle handle;
    private readonly long start;

    private SparseLabelFile(SafeFileHandle handle, string path, SparseLabelDescription description, int epoch, long start) =>
        (this.handle, Path, Description, Epoch, this.start) = (handle, path, description, epoch, start);

    public string Path { get; }

    public SparseLabelDescription Description { get; }

    public int Epoch { get; }

    /// <summary>Opens a file and checks its header and its length.</summary>
    /// <exception cref="InvalidDataException">It is no such file, or damaged; the message names it and says where.</exception>
    public static SparseLabelFile Open(string path)
    {
        var handle = File.OpenHandle(path);
        try
        {
            return Read(handle, path);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    public static byte[] Header(SparseLabelDescription description, int epoch)
    {
        byte[] text = Encoding.UTF8.GetBytes($"{description.Pipeline}\0{description.Teacher}");
        if (text.Length > MostTextBytes)
            throw new ArgumentException(
                $"Pipeline and teacher are described in {text.Length} bytes. At most {MostTextBytes} can be stored."
            );
        using var memory = new MemoryStream();
        using var writer = new BinaryWriter(memory);
        writer.Write(Letters);
        foreach (
            int number in (ReadOnlySpan<int>)
                [Version, description.Classes, description.Kept, description.Images, description.Epochs, epoch, text.Length]
        )
            writer.Write(number);
        writer.Write(text);
        writer.Write(Crc32C.Of(memory.ToArray()));
        return memory.ToArray();
    }

    /// <summary>Adds the image's checksum and the record's own to a packed label.</summary>
    /// <param name="record">The label, and room for two checksums behind it.</param>
    /// <param name="key">Whose it is.</param>
    /// <param name="imageChecksum">The augmented image's.</param>
    public static void Seal(Span<byte> record, SparseLabelKey key, uint imageChecksum)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(record[^8..], imageChecksum);
        BinaryPrimitives.WriteUInt32LittleEndian(record[^4..], ChecksumOf(record, key));
    }

    /// <summary>Reads an image's record, with its checksums.</summary>
    /// <returns>Whether the record is whole.</returns>
    public bool Read(int image, Span<byte> record)
    {
        long at = start + (long)image * record.Length;
        int read = 0;
        while (read < record.Length)
        {
            int more = RandomAccess.Read(handle, record[read..], at + read);
            if (more == 0)
                return false;
            read += more;
        }
        return BinaryPrimitives.ReadUInt32LittleEndian(record[^4..]) == ChecksumOf(record, new(image, Epoch));
    }

    public void Dispose() => handle.Dispose();

    private static uint ChecksumOf(ReadOnlySpan<byte> record, SparseLabelKey key)
    {
        Span<byte> place = stackalloc byte[2 * sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(place, key.Epoch);
        BinaryPrimitives.WriteInt32LittleEndian(place[sizeof(int)..], key.Image);
        return Crc32C.Of(record[..^4], Crc32C.Of(place));
    }

    private static SparseLabelFile Read(SafeFileHandle handle, string path)
    {
        byte[] fixedPart = new byte[Letters.Length + Numbers * sizeof(int)];
        int read = RandomAccess.Read(handle, fixedPart, 0);
        if (read < fixedPart.Length || !fixedPart.AsSpan(0, Letters.Length).SequenceEqual(Letters))
            throw new InvalidDataException(
                $"'{path}' holds no sparse labels, or not even their header. Remove it, and run the teacher over its epoch again."
            );
        int Number(int place) => BinaryPrimitives.ReadInt32LittleEndian(fixedPart.AsSpan(Letters.Length + place * sizeof(int)));
        if (Number(0) != Version)
            throw new InvalidDataException(
                $"'{path}' has format version {Number(0)}, and this library reads {Version}. Read it with the library that wrote it, or run the teacher again."
            );
        int textLength = Number(6);
        InvalidDataException DamagedHeader() =>
            new(
                $"The header of '{path}' is damaged: its checksum does not match. Remove the file, and run the teacher over its epoch again."
            );
        if (textLength is < 1 or > MostTextBytes)
            throw DamagedHeader();
        byte[] rest = new byte[textLength + sizeof(uint)];
        if (RandomAccess.Read(handle, rest, fixedPart.Length) < rest.Length)
            throw DamagedHeader();
        if (
            Crc32C.Of(rest.AsSpan(0, textLength), Crc32C.Of(fixedPart))
            != BinaryPrimitives.ReadUInt32LittleEndian(rest.AsSpan(textLength))
        )
            throw DamagedHeader();
        string[] text = Encoding.UTF8.GetString(rest, 0, textLength).Split('\0', 2);
        var description = new SparseLabelDescription
        {
            Classes = Number(1),
            Kept = Number(2),
            Images = Number(3),
            Epochs = Number(4),
            Pipeline = text[0],
            Teacher = text.Length > 1 ? text[1] : "",
        };
        long start = fixedPart.Length + rest.Length,
            length = RandomAccess.GetLength(handle),
            wanted = start + (long)description.Images * description.BytesPerRecord;
        if (length < wanted)
            throw new InvalidDataException(
                $"'{path}' is cut short: it ends within the record of image {(length - start) / description.BytesPerRecord} of {description.Images} ({length} of {wanted} bytes). Remove it, and run the teacher over epoch {Number(5)} again."
            );
        if (length > wanted)
            throw new InvalidDataException(
                $"'{path}' goes on for {length - wanted} bytes behind its last record. Remove it, and run the teacher over epoch {Number(5)} again."
            );
        return new(handle, path, description, Number(5), start);
    }
}
