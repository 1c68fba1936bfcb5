using System.Buffers.Binary;
using System.IO.Compression;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public sealed class ImageFilesTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("images").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Cifar10IsReadPlaneByPlane(bool packed)
    {
        WriteCifar10(packed);
        var (train, test, mean, deviation) = ImageFiles.Read(folder);
        Assert.Equal(15, train.Count);
        Assert.Equal(4, test.Count);
        Assert.Equal(10, train.Classes);
        Assert.Equal("frog", test.ClassNames[6]);
        Assert.False(train.KnowsParts);
        using var all = train.ToTensor();
        using var means = all.mean([0, 2, 3]);
        using var deviations = all.@var([0, 2, 3], unbiased: false);
        for (int channel = 0; channel < 3; channel++)
        {
            Assert.Equal(0, means[channel].ToSingle(), 4);
            Assert.Equal(1, deviations[channel].ToSingle(), 3);
        }
        // Record 1 of the first file: label 1, a byte of the green plane at row 2, column 5.
        using var image = train.Image(1);
        double expected = (Value(1, 1, 2, 5) / 255.0 - mean[1]) / deviation[1];
        Assert.Equal(expected, image[1, 2, 5].ToSingle(), 4);
        Assert.Equal(1, train.Labels[1]);
    }

    [Fact]
    public void Cifar100TakesTheFineLabel()
    {
        File.WriteAllBytes(Path.Combine(folder, "train.bin"), [.. Record(7, 93), .. Record(8, 0)]);
        File.WriteAllBytes(Path.Combine(folder, "test.bin"), Record(1, 99));
        var data = ImageFiles.Read(folder);
        Assert.Equal([93, 0], data.Train.Labels);
        Assert.Equal([99], data.Test.Labels);
        Assert.Equal(100, data.Test.Classes);

        static byte[] Record(byte coarse, byte fine) =>
            [coarse, fine, .. Enumerable.Range(0, 3072).Select(at => (byte)(at * fine))];
    }

    [Theory]
    [InlineData("-idx", "")]
    [InlineData("-idx", ".gz")]
    [InlineData(".idx", "")]
    public void MnistLiesInTheMiddleOfAllChannels(string separator, string ending)
    {
        WriteIdx(separator, ending);
        var data = ImageFiles.Read(folder);
        Assert.Equal([0, 1, 2], data.Train.Labels);
        using var image = data.Train.Image(2);
        Assert.Equal(new long[] { 3, 32, 32 }, image.shape);
        float border = image[0, 0, 0].ToSingle();
        Assert.Equal(border, image[0, 1, 31].ToSingle());
        double expected = ((2 * 50 + 3) % 256 / 255.0 - data.Mean[0]) / data.Deviation[0];
        Assert.Equal(expected, image[2, 2 + 0, 2 + 3].ToSingle(), 4);
    }

    [Fact]
    public void DamagedFilesAreNamed()
    {
        Assert.Contains(
            "neither data_batch_1.bin",
            Assert.Throws<FileNotFoundException>(() => ImageFiles.Read(folder)).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<DirectoryNotFoundException>(() => ImageFiles.Read(Path.Combine(folder, "absent")));

        WriteCifar10(packed: false);
        string second = Path.Combine(folder, "data_batch_2.bin");
        File.WriteAllBytes(second, File.ReadAllBytes(second)[..^1]);
        Assert.Contains(
            "no positive multiple of 3073",
            Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message,
            StringComparison.Ordinal
        );
        File.WriteAllBytes(second, [12, .. new byte[3072]]);
        Assert.Contains(
            "label 12 in record 0",
            Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message,
            StringComparison.Ordinal
        );
        File.Delete(second);
        Assert.Contains(
            "no data_batch_2.bin",
            Assert.Throws<FileNotFoundException>(() => ImageFiles.Read(folder)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void IdxFilesThatDoNotBelongTogetherAreRefused()
    {
        WriteIdx("-idx", "");
        string labels = Path.Combine(folder, "train-labels-idx1-ubyte");
        byte[] good = File.ReadAllBytes(labels);
        File.WriteAllBytes(labels, Idx(2049, [2], [0, 1]));
        Assert.Contains(
            "3 images",
            Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message,
            StringComparison.Ordinal
        );
        File.WriteAllBytes(labels, Idx(2051, [3], [0, 1, 2]));
        Assert.Contains(
            "expected 2049",
            Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message,
            StringComparison.Ordinal
        );
        File.WriteAllBytes(labels, good[..^1]);
        Assert.Contains(
            "download it again",
            Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message,
            StringComparison.Ordinal
        );
        File.WriteAllBytes(labels, good[..5]);
        Assert.Contains(
            "too few for a header",
            Assert.Throws<InvalidDataException>(() => ImageFiles.Read(folder)).Message,
            StringComparison.Ordinal
        );
    }

    private static byte Value(int record, int channel, int row, int column) =>
        (byte)((record * 31 + channel * 77 + row * 5 + column * 3) % 256);

    private void WriteCifar10(bool packed)
    {
        for (int file = 1; file <= 6; file++)
        {
            var bytes = new List<byte>();
            for (int record = 0; record < (file == 6 ? 4 : 3); record++)
            {
                bytes.Add((byte)record);
                for (int at = 0; at < 3072; at++)
                    bytes.Add(Value(record, at / 1024, at / 32 % 32, at % 32));
            }
            Write(file == 6 ? "test_batch.bin" : $"data_batch_{file}.bin", [.. bytes], packed);
        }
    }

    private void WriteIdx(string separator, string ending)
    {
        foreach (var (name, count) in new[] { ("train", 3), ("t10k", 2) })
        {
            byte[] pixels = [.. Enumerable.Range(0, count * 784).Select(at => (byte)((at / 784 * 50 + at % 28) % 256))];
            byte[] labels = [.. Enumerable.Range(0, count).Select(at => (byte)at)];
            Write($"{name}-images{separator}3-ubyte", Idx(2051, [count, 28, 28], pixels), ending.Length > 0);
            Write($"{name}-labels{separator}1-ubyte", Idx(2049, [count], labels), ending.Length > 0);
        }
    }

    private static byte[] Idx(int magic, int[] lengths, byte[] values)
    {
        byte[] header = new byte[4 + 4 * lengths.Length];
        BinaryPrimitives.WriteInt32BigEndian(header, magic);
        for (int axis = 0; axis < lengths.Length; axis++)
            BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4 + 4 * axis), lengths[axis]);
        return [.. header, .. values];
    }

    private void Write(string name, byte[] bytes, bool packed)
    {
        if (!packed)
        {
            File.WriteAllBytes(Path.Combine(folder, name), bytes);
            return;
        }
        using var stream = new GZipStream(File.Create(Path.Combine(folder, name + ".gz")), CompressionLevel.Fastest);
        stream.Write(bytes);
    }
}
