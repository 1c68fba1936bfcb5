using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Tensors;

public sealed class SparseLabelStoreTests : IDisposable
{
    private const int Images = 9;
    private readonly TemporaryFolder folder = new();
    private readonly DisposeScope scope = NewDisposeScope();

    private static SparseLabelDescription Description { get; } =
        new()
        {
            Classes = 20,
            Kept = 3,
            Images = Images,
            Epochs = 4,
            Pipeline = "nine images, flipped",
            Teacher = "Größe",
        };

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void RecordsComeBackInAnyOrderByImageAndEpoch()
    {
        using (var writing = New())
        {
            writing.WriteEpoch(2, Labels(2, part: 4));
            writing.WriteEpoch(0, Labels(0, part: 9));
            Assert.Equal([0, 2], writing.Epochs);
            Assert.Equal([1, 3], writing.MissingEpochs);
        }
        using var store = SparseLabelStore.Open(folder.At("labels"));
        Assert.Equal(Description, store.Description);
        SparseLabelKey[] keys = [new(8, 0), new(3, 2), new(0, 0), new(3, 0), new(3, 2)];
        using var read = store.Read(keys);
        for (int row = 0; row < keys.Length; row++)
        {
            var (image, epoch) = keys[row];
            using var whole = Labels(epoch, part: Images).Single();
            Check.Close(whole.Values[image].to(ScalarType.Float16), read.Values[row], 0);
            Assert.True(whole.Indices[image].eq(read.Indices[row]).all().item<bool>());
            Assert.Equal(whole.Seeds[image].item<long>(), read.Seeds[row].item<long>());
            Assert.Equal(whole.ImageChecksums[image].item<long>(), read.ImageChecksums[row].item<long>());
        }
        Assert.Empty(store.DamagedImages(0));
    }

    /// <summary>The published sizes: 481 GB for 90 epochs of ImageNet-22k with K = 100, 16 GB for 300 of ImageNet-1k with K = 10 (both in GiB).</summary>
    [Fact]
    public void SizesAreThePublishedOnes()
    {
        Assert.Equal(404, SparseLabelRecord.Bytes(100));
        Assert.Equal(481, Math.Round(14_197_122.0 * 90 * SparseLabelRecord.Bytes(100) / (1L << 30)));
        Assert.Equal(16, Math.Round(1_281_167.0 * 300 * SparseLabelRecord.Bytes(10) / (1L << 30)));
        Assert.Equal(16, Description.BytesPerImage);
        Assert.Equal(24, Description.BytesPerRecord);
        using var store = New();
        store.WriteEpoch(0, Labels(0));
        store.WriteEpoch(1, Labels(1));
        Assert.InRange(store.BytesOnDisk, 2 * Images * 24 + 80, 2 * Images * 24 + 200);
    }

    [Fact]
    public void EveryFlippedBitIsFoundAndTheRecordNamed()
    {
        using (var store = New())
            store.WriteEpoch(1, Labels(1));
        string path = File("00001");
        byte[] sound = System.IO.File.ReadAllBytes(path);
        int header = sound.Length - Images * Description.BytesPerRecord;
        for (int at = 0; at < sound.Length; at++)
        {
            byte[] damaged = [.. sound];
            damaged[at] ^= (byte)(1 << (at % 8));
            System.IO.File.WriteAllBytes(path, damaged);
            if (at < header)
            {
                Assert.Contains(path, Assert.Throws<InvalidDataException>(() => New().Dispose()).Message);
                continue;
            }
            int image = (at - header) / Description.BytesPerRecord;
            using var store = New();
            Assert.Equal([image], store.DamagedImages(1));
            var error = Assert.Throws<InvalidDataException>(() => store.Read([new(image, 1)]));
            Assert.Contains($"image {image} in epoch 1", error.Message);
            store.Read([new((image + 1) % Images, 1)]).Dispose();
        }
    }

    [Fact]
    public void ARecordInAnothersPlaceIsFound()
    {
        using (var store = New())
        {
            store.WriteEpoch(0, Labels(0));
            store.WriteEpoch(1, Labels(1));
        }
        byte[] first = System.IO.File.ReadAllBytes(File("00000")),
            second = System.IO.File.ReadAllBytes(File("00001"));
        int stride = Description.BytesPerRecord,
            header = first.Length - Images * stride;
        // Image 4's record of epoch 1, whole in itself, in epoch 0; image 2's in image 3's place.
        second.AsSpan(header + 4 * stride, stride).CopyTo(first.AsSpan(header + 4 * stride));
        first.AsSpan(header + 2 * stride, stride).CopyTo(first.AsSpan(header + 3 * stride));
        System.IO.File.WriteAllBytes(File("00000"), first);
        using var read = New();
        Assert.Equal([3, 4], read.DamagedImages(0));
    }

    [Fact]
    public void TruncationIsFoundWhereverItIsAndTheRecordNamed()
    {
        using (var store = New())
            store.WriteEpoch(0, Labels(0));
        byte[] sound = System.IO.File.ReadAllBytes(File("00000"));
        int header = sound.Length - Images * Description.BytesPerRecord;
        for (int length = 0; length < sound.Length; length++)
        {
            System.IO.File.WriteAllBytes(File("00000"), sound[..length]);
            string message = Assert.Throws<InvalidDataException>(() => New().Dispose()).Message;
            if (length >= header)
                Assert.Contains($"image {(length - header) / Description.BytesPerRecord} of 9", message);
        }
        System.IO.File.WriteAllBytes(File("00000"), [.. sound, 0]);
        Assert.Contains("behind its last record", Assert.Throws<InvalidDataException>(() => New().Dispose()).Message);
    }

    [Fact]
    public void OtherLabelsOtherVersionsAndOtherFilesAreRefused()
    {
        using (var store = New())
            store.WriteEpoch(0, Labels(0));
        string Refused(SparseLabelDescription other) =>
            Assert.Throws<InvalidDataException>(() => new SparseLabelStore(folder.At("labels"), other).Dispose()).Message;
        Assert.Contains("Kept is 3, not 4", Refused(Description with { Kept = 4 }));
        Assert.Contains("Images is 9, not 8", Refused(Description with { Images = 8 }));
        Assert.Contains("'nine images, flipped', not 'nine images'", Refused(Description with { Pipeline = "nine images" }));
        Assert.Contains("Teacher is 'Größe', not 'other'", Refused(Description with { Teacher = "other" }));
        System.IO.File.Copy(File("00000"), File("00001"));
        Assert.Contains("holds epoch 0", Refused(Description));
        System.IO.File.Delete(File("00001"));
        byte[] bytes = System.IO.File.ReadAllBytes(File("00000"));
        bytes[8] = 9;
        System.IO.File.WriteAllBytes(File("00000"), bytes);
        Assert.Contains("format version 9", Refused(Description));
        System.IO.File.WriteAllText(File("00000"), "something else, long enough to be a header");
        Assert.Contains("no sparse labels", Refused(Description));
        Assert.Throws<DirectoryNotFoundException>(() => SparseLabelStore.Open(folder.At("nowhere")));
        Directory.CreateDirectory(folder.At("empty"));
        Assert.Throws<FileNotFoundException>(() => SparseLabelStore.Open(folder.At("empty")));
    }

    [Fact]
    public void MissingEpochsAreNamed()
    {
        using var store = New();
        Assert.Contains("it has: none", Assert.Throws<KeyNotFoundException>(() => store.Read([new(0, 0)])).Message);
        store.WriteEpoch(1, Labels(1));
        var error = Assert.Throws<KeyNotFoundException>(() => store.Read([new(0, 1), new(0, 3)]));
        Assert.Contains("no labels of epoch 3 (it has: 1)", error.Message);
        Assert.Contains("4 epochs", Assert.Throws<ArgumentOutOfRangeException>(() => store.Read([new(0, 4)])).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => store.Read([new(Images, 1)]));
        Assert.Throws<ArgumentOutOfRangeException>(() => store.WriteEpoch(4, Labels(1)));
    }

    [Fact]
    public void AnInterruptedEpochLeavesNothingAndTheOldOneStays()
    {
        using var store = New();
        IEnumerable<SparseLabels> Interrupted()
        {
            yield return Labels(0, part: 4).First();
            throw new OperationCanceledException();
        }
        Assert.Throws<OperationCanceledException>(() => store.WriteEpoch(0, Interrupted()));
        Assert.Empty(Directory.GetFiles(store.Folder));
        Assert.Equal([0, 1, 2, 3], store.MissingEpochs);
        store.WriteEpoch(0, Labels(0));
        Assert.Throws<OperationCanceledException>(() => store.WriteEpoch(0, Interrupted()));
        Assert.Throws<ArgumentException>(() => store.WriteEpoch(0, Labels(0).Take(1)));
        Assert.Empty(store.DamagedImages(0));
        store.Read([new(8, 0)]).Dispose();
        Assert.Single(Directory.GetFiles(store.Folder));
        // What a killed process leaves is no epoch, and is written over.
        System.IO.File.WriteAllText(File("00001") + ".partial", "half");
        using (var again = New())
            Assert.Equal([1, 2, 3], again.MissingEpochs);
        store.WriteEpoch(1, Labels(1));
        Assert.Equal(2, Directory.GetFiles(store.Folder).Length);
    }

    [Fact]
    public void AnEpochIsReplacedWhileItIsOpen()
    {
        using var store = New();
        store.WriteEpoch(0, Labels(0));
        using var before = store.Read([new(5, 0)]);
        store.WriteEpoch(0, Labels(0, seed: 7));
        using var after = store.Read([new(5, 0)]);
        Assert.NotEqual(before.Seeds.item<long>(), after.Seeds.item<long>());
    }

    [Fact]
    public void LabelsThatDoNotFitAreRefused()
    {
        using var store = New();
        void Refused(string part, Func<SparseLabels, SparseLabels> change) =>
            Assert.Contains(
                part,
                Assert.ThrowsAny<ArgumentException>(() => store.WriteEpoch(0, Labels(0).Select(change))).Message
            );
        Refused("[-1, 3]", labels => labels with { Values = labels.Values.narrow(1, 0, 2) });
        Refused("indices must be", labels => labels with { Indices = labels.Indices.narrow(1, 0, 2) });
        Refused("classes are 0 to 19", labels => labels with { Indices = labels.Indices + 20 });
        Refused("class -20", labels => labels with { Indices = labels.Indices - 20 });
        Refused("probabilities of a label rise", labels => labels with { Values = labels.Values.flip(1) });
        Refused("names a class twice", labels => labels with { Indices = labels.Indices * 0 + 7 });
        Refused("31 bits", labels => labels with { Seeds = labels.Seeds + (1L << 31) });
        Refused("softmax's values", labels => labels with { Values = labels.Values * 40 });
        Refused("softmax's values", labels => labels with { Values = labels.Values * double.NaN });
        Assert.Contains(
            "more than the store's 9",
            Assert.Throws<ArgumentException>(() => store.WriteEpoch(0, Labels(0).Concat(Labels(0)))).Message
        );
        Assert.False(Directory.Exists(store.Folder) && Directory.GetFiles(store.Folder).Length > 0);
    }

    [Fact]
    public void ClassNumbersHave15Bits()
    {
        var most = Description with { Classes = 32_768 };
        most.Validate();
        Assert.Contains(
            "int16",
            Assert.Throws<ArgumentException>(() => (Description with { Classes = 32_769 }).Validate()).Message
        );
        Assert.Throws<ArgumentException>(() => (Description with { Kept = 21 }).Validate());
        Assert.Throws<ArgumentException>(() => (Description with { Epochs = 0 }).Validate());
        var values = tensor(
            new[,]
            {
                { 0.5f },
            }
        );
        var seeds = tensor(new[] { 5L });
        using var packed = SparseLabelRecord.Pack(
            values,
            tensor(
                new[,]
                {
                    { 32_767L },
                }
            ),
            seeds
        );
        Assert.Equal(32_767, SparseLabelRecord.Unpack(packed).Indices.item<long>());
        Assert.Contains(
            "int16",
            Assert
                .Throws<ArgumentException>(() =>
                    SparseLabelRecord.Pack(
                        values,
                        tensor(
                            new[,]
                            {
                                { 32_768L },
                            }
                        ),
                        seeds
                    )
                )
                .Message
        );
    }

    [Theory]
    [InlineData(1)]
    [InlineData(10)]
    public void PackedRecordsComeBack(int kept)
    {
        var random = new RandomTensors(4);
        var values = random.Normal(6, kept).sigmoid();
        var indices = randint(0, 32_767, [6, kept], dtype: ScalarType.Int64, generator: new Generator(1, CPU));
        var seeds = tensor(new[] { 0L, 1, int.MaxValue, 77, 1L << 30, 12_345 });
        var packed = SparseLabelRecord.Pack(values, indices, seeds);
        Assert.Equal([6, 4 + 4 * kept], packed.shape);
        var (unpacked, classes, numbers) = SparseLabelRecord.Unpack(packed);
        Check.Close(values.to(ScalarType.Float32).to(ScalarType.Float16), unpacked, 0);
        Assert.True(classes.eq(indices).all().item<bool>());
        Assert.True(numbers.eq(seeds).all().item<bool>());
        Assert.Throws<ArgumentException>(() => SparseLabelRecord.Unpack(packed.narrow(1, 0, 4 * kept + 3)));
        Assert.Throws<ArgumentException>(() => SparseLabelRecord.Unpack(packed.narrow(1, 0, 4)));
    }

    [Fact]
    public void ANarrowedCopyKeepsTheLargest()
    {
        using var store = New();
        store.WriteEpoch(0, Labels(0));
        store.WriteEpoch(3, Labels(3));
        using var narrow = store.Narrow(folder.At("narrow"), 1);
        Assert.Equal([0, 3], narrow.Epochs);
        Assert.Equal(8, narrow.Description.BytesPerImage);
        SparseLabelKey[] keys = [new(7, 3), new(1, 0)];
        using var wide = store.Read(keys);
        using var one = narrow.Read(keys);
        Check.Close(wide.Values.narrow(1, 0, 1), one.Values, 0);
        Assert.True(wide.Seeds.eq(one.Seeds).all().item<bool>());
        Assert.Throws<ArgumentOutOfRangeException>(() => store.Narrow(folder.At("wider"), 4));
        Assert.Throws<ArgumentException>(() => store.Narrow(folder.At("labels"), 1));
    }

    [Fact]
    public void ThreadsReadAtOnce()
    {
        using var store = New();
        for (int epoch = 0; epoch < 4; epoch++)
            store.WriteEpoch(epoch, Labels(epoch));
        Parallel.For(
            0,
            200,
            number =>
            {
                using var read = store.Read([new(number % Images, number % 4)]);
                Assert.Equal(Seed(number % 4, number % Images, 1), read.Seeds.item<long>());
            }
        );
    }

    private SparseLabelStore New() => new(folder.At("labels"), Description);

    private string File(string epoch) => folder.At("labels", $"epoch-{epoch}.labels");

    private static long Seed(int epoch, int image, int seed) => seed * 1_000_003L + epoch * 1000 + image;

    private static IEnumerable<SparseLabels> Labels(int epoch, int part = 5, int seed = 1)
    {
        for (int first = 0; first < Images; first += part)
        {
            int[] images = [.. Enumerable.Range(first, Math.Min(part, Images - first))];
            yield return new(
                tensor(images.SelectMany(image => new[] { 0.5 + 0.01 * image, 0.25, 0.01 * epoch }).ToArray(), images.Length, 3),
                tensor(images.SelectMany(image => new long[] { image, 10 + epoch, 19 }).ToArray(), images.Length, 3),
                tensor(images.Select(image => Seed(epoch, image, seed)).ToArray()),
                tensor(images.Select(image => uint.MaxValue - (long)image).ToArray())
            );
        }
    }
}
