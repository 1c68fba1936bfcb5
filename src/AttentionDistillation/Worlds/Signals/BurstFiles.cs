using System.Buffers.Binary;
using System.Text;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Worlds.Signals;

/// <summary>A binary file of labelled bursts, into which recorded or published sets are converted once.</summary>
/// <remarks>
/// Little-endian: 8 bytes "BURSTS01"; int32 n, L and C; C class names, each an int32 of bytes and UTF-8; n L x 2 float32 samples, a burst's in-phase row
/// before its quadrature row; n label bytes; n signed bytes of decibels. Nothing follows.
/// </remarks>
public static class BurstFiles
{
    private static readonly byte[] Magic = "BURSTS01"u8.ToArray();

    /// <summary>Reads a file.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is of another format, cut short, too long, or holds a label without a class; the message says which.</exception>
    public static BurstSet Read(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no file '{path}'.", path);
        byte[] bytes = File.ReadAllBytes(path);
        int at = 0;
        ReadOnlySpan<byte> Take(long count, string what)
        {
            if (count < 0 || at + count > bytes.Length)
                throw new InvalidDataException(
                    $"'{path}' ends inside its {what}: {at + count} bytes are needed, and it has {bytes.Length}. Copy or convert it again."
                );
            var part = bytes.AsSpan(at, (int)count);
            at += (int)count;
            return part;
        }
        int Number(string what) => BinaryPrimitives.ReadInt32LittleEndian(Take(4, what));
        if (!Take(Magic.Length, "header").SequenceEqual(Magic))
            throw new InvalidDataException(
                $"'{path}' does not begin with BURSTS01: it is not a file of bursts. See the documentation of the format."
            );
        int count = Number("header"),
            length = Number("header"),
            classes = Number("header");
        if (count < 1 || length < 1 || classes is < 2 or > 256)
            throw new InvalidDataException(
                $"'{path}' says {count} bursts of {length} samples and {classes} classes. There must be at least 1, 1 and 2 to 256."
            );
        string[] names =
        [
            .. Enumerable.Range(0, classes).Select(_ => Encoding.UTF8.GetString(Take(Number("class names"), "class names"))),
        ];
        float[] samples = new float[checked(count * 2 * length)];
        var raw = Take((long)samples.Length * sizeof(float), "samples");
        for (int sample = 0; sample < samples.Length; sample++)
            samples[sample] = BinaryPrimitives.ReadSingleLittleEndian(raw[(sample * sizeof(float))..]);
        if (Array.FindIndex(samples, sample => !float.IsFinite(sample)) is var odd and >= 0)
            throw new InvalidDataException($"'{path}': burst {odd / (2 * length)} holds a sample that is not a number.");
        int[] labels = [.. Take(count, "labels").ToArray().Select(label => (int)label)];
        if (Array.FindIndex(labels, label => label >= classes) is var wrong and >= 0)
            throw new InvalidDataException(
                $"'{path}': burst {wrong} has the label {labels[wrong]}, and there are {classes} classes."
            );
        float[] snrDb = [.. Take(count, "decibels").ToArray().Select(level => (float)(sbyte)level)];
        if (at != bytes.Length)
            throw new InvalidDataException(
                $"'{path}' has {bytes.Length - at} bytes after its {count} bursts. Its header says another size than it has."
            );
        return new BurstSet(samples, labels, snrDb, names, length);
    }

    /// <summary>Writes a set; the file is whole or not there.</summary>
    /// <param name="path">Where to.</param>
    /// <param name="bursts">The bursts; ratios are rounded to whole decibels of -128 to 127.</param>
    public static void Write(string path, BurstSet bursts)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(bursts);
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream, Encoding.UTF8);
        writer.Write(Magic);
        writer.Write(bursts.Count);
        writer.Write(bursts.Length);
        writer.Write(bursts.ClassNames.Count);
        foreach (string name in bursts.ClassNames)
        {
            byte[] text = Encoding.UTF8.GetBytes(name);
            writer.Write(text.Length);
            writer.Write(text);
        }
        for (int index = 0; index < bursts.Count; index++)
            foreach (float sample in bursts.SamplesOf(index))
                writer.Write(sample);
        foreach (int label in bursts.Labels)
            writer.Write(checked((byte)label));
        foreach (float level in bursts.Ratios)
            writer.Write((sbyte)Math.Clamp(Math.Round(level), sbyte.MinValue, sbyte.MaxValue));
        writer.Flush();
        AtomicFile.Write(path, target => stream.WriteTo(target));
    }
}
