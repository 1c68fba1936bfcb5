using System.Globalization;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public sealed class ImageReplayTests : IDisposable
{
    private static readonly ImageSet Images = new KeyObjects().Images(1, ImageSplit.Train, 20);

    private static readonly ImageAugmentation Strong = new()
    {
        Flip = true,
        Shift = 2,
        LeastCrop = 0.4,
        ColourJitter = 0.2,
        Noise = 0.1,
        Erase = 0.5,
    };

    private readonly TemporaryFolder folder = new();
    private readonly DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void TrainingSeesToTheBitWhatTheTeacherSaw()
    {
        var replay = new ImageReplay(Images, Strong, 5);
        var seen = new Dictionary<SparseLabelKey, Tensor>();
        for (int epoch = 0; epoch < 3; epoch++)
            foreach (var batch in replay.Epoch(epoch, 7).All())
                for (int row = 0; row < batch.Size; row++)
                    seen[new((int)batch["index"][row].item<long>(), epoch)] = batch["pixel_values"][row].clone();
        Assert.Equal(60, seen.Count);
        using var store = Labelled(replay, 3);
        // Another order than the teacher's, and batches of 8 of 20 images, so that some lie across two epochs.
        foreach (var source in new[] { replay.Training(store, 9, 8), replay.Training(null, 9, 8) })
        {
            var again = new HashSet<SparseLabelKey>();
            for (int step = 0; step < 7; step++)
            {
                using var batch = source.BatchAt(step);
                for (int row = 0; row < 8; row++)
                {
                    var key = new SparseLabelKey((int)batch["index"][row].item<long>(), (step * 8 + row) / 20);
                    Assert.True(again.Add(key));
                    Assert.True(seen[key].eq(batch["pixel_values"][row]).all().item<bool>());
                    Assert.Equal(replay.SeedOf(key.Image, key.Epoch), batch[ImageReplay.AugmentationSeed][row].item<long>());
                    Assert.Equal(Images.Labels[key.Image], batch.Labels[row].item<long>());
                }
            }
        }
    }

    [Fact]
    public void LabelsBelongToTheImageAndTheEpoch()
    {
        var replay = new ImageReplay(Images, Strong, 5);
        using var store = Labelled(replay, 2);
        using var batch = replay.Training(store, 3, 40).BatchAt(0);
        for (int row = 0; row < 40; row++)
        {
            long image = batch["index"][row].item<long>();
            Assert.Equal([image % 11, 11], batch[ImageReplay.SoftClasses][row].data<long>().ToArray());
            Assert.Equal((float)(Half)(0.5 + row / 20 * 0.25), batch[ImageReplay.SoftValues][row, 0].item<float>());
        }
    }

    [Fact]
    public void SeedsHave31BitsAndDifferByImageEpochAndSeed()
    {
        var replay = new ImageReplay(Images, Strong, 5);
        var seeds = new HashSet<int>();
        for (int epoch = 0; epoch < 40; epoch++)
        for (int image = 0; image < 20; image++)
        {
            int seed = replay.SeedOf(image, epoch);
            Assert.True(seed >= 0);
            seeds.Add(seed);
            seeds.Add(new ImageReplay(Images, Strong, 6).SeedOf(image, epoch));
        }
        Assert.Equal(1600, seeds.Count);
        Assert.Contains(seeds, seed => seed > 1 << 30);
    }

    [Fact]
    public void RedrawnAugmentationsKeepTheLabelAndChangeTheImage()
    {
        var replay = new ImageReplay(Images, Strong, 5);
        using var store = Labelled(replay, 2);
        using var right = replay.Training(store, 3, 20).BatchAt(0);
        using var redrawn = replay.Training(store, 3, 20, redrawn: 8).BatchAt(0);
        Assert.True(right["index"].eq(redrawn["index"]).all().item<bool>());
        Assert.True(right[ImageReplay.SoftClasses].eq(redrawn[ImageReplay.SoftClasses]).all().item<bool>());
        for (int row = 0; row < 20; row++)
            Assert.False(right["pixel_values"][row].eq(redrawn["pixel_values"][row]).all().item<bool>());
    }

    [Fact]
    public void LabelsOfOtherImagesOrAnotherAugmentationAreRefused()
    {
        using var store = Labelled(new ImageReplay(Images, Strong, 5), 2);
        void Refused(string part, ImageReplay other) =>
            Assert.Contains(part, Assert.Throws<ArgumentException>(() => other.Training(store, 1, 4)).Message);
        Refused("erase 0.25", new(Images, Strong with { Erase = 0.25 }, 5));
        Refused("of checksum", new(new KeyObjects().Images(2, ImageSplit.Train, 20), Strong, 5));
        Refused("20 images, but there are 19", new(Images.First(19), Strong, 5));
        // The seed is in the records, so a replay that would draw others reads them all the same.
        using var batch = new ImageReplay(Images, Strong, 77).Training(store, 1, 4).BatchAt(0);
        Assert.Equal(4, batch.Size);
    }

    [Fact]
    public void TheDescriptionDoesNotDependOnTheCulture()
    {
        var culture = CultureInfo.CurrentCulture;
        string expected = new ImageReplay(Images, Strong, 5).Pipeline;
        Assert.Contains("least crop 0.4, colour jitter 0.2", expected);
        try
        {
            var other = (CultureInfo)CultureInfo.InvariantCulture.Clone();
            other.NumberFormat.NumberDecimalSeparator = ",";
            CultureInfo.CurrentCulture = other;
            Assert.Equal(expected, new ImageReplay(Images, Strong, 5).Pipeline);
        }
        finally
        {
            CultureInfo.CurrentCulture = culture;
        }
    }

    [Fact]
    public void AnAugmentationWhoseCodeChangedIsNoticedByTheImage()
    {
        // The description says the same, the stored image is another: what a changed code, or another machine's arithmetic, would bring.
        var replay = new ImageReplay(Images, Strong, 5);
        using var store = Labelled(replay, 1, other: 13);
        var source = replay.Training(store, 1, 20);
        string message = Assert.Throws<InvalidDataException>(() => source.BatchAt(0)).Message;
        Assert.Contains("Image 13 of epoch 0 does not come out as the teacher saw it", message);
    }

    [Fact]
    public void EpochsThatAreNotStoredAreNamedAndDamageIsNotTrainedOn()
    {
        var replay = new ImageReplay(Images, Strong, 5);
        using (var store = Labelled(replay, 2))
        {
            var source = replay.Training(store, 1, 20);
            source.BatchAt(1).Dispose();
            Assert.Contains("2 epochs", Assert.Throws<ArgumentOutOfRangeException>(() => source.BatchAt(2)).Message);
        }
        string path = Path.Combine(folder.At("labels"), "epoch-00001.labels");
        byte[] bytes = File.ReadAllBytes(path);
        bytes[^30] ^= 4;
        File.WriteAllBytes(path, bytes);
        using var damaged = SparseLabelStore.Open(folder.At("labels"));
        Assert.Contains(
            "image 18 in epoch 1 is damaged",
            Assert.Throws<InvalidDataException>(() => replay.Training(damaged, 1, 20).BatchAt(1)).Message
        );
        Assert.Contains(
            "no labels of epoch 0",
            Assert
                .Throws<KeyNotFoundException>(() =>
                {
                    File.Delete(Path.Combine(folder.At("labels"), "epoch-00000.labels"));
                    using var first = SparseLabelStore.Open(folder.At("labels"));
                    replay.Training(first, 1, 20).BatchAt(0);
                })
                .Message
        );
    }

    [Fact]
    public void ErasingFillsABoxWithNoiseAndCallsItBackground()
    {
        var erase = new ImageAugmentation { Erase = 1 };
        var changed = new List<double>();
        for (int seed = 0; seed < 40; seed++)
        {
            var different = Images.Image(3).ne(Images.Augmented(3, erase, seed)).any(0);
            changed.Add(different.to(ScalarType.Float64).mean().item<double>());
            var rows = different.any(1).nonzero().squeeze(1);
            var columns = different.any(0).nonzero().squeeze(1);
            // All of the rectangle, and nothing else.
            Assert.Equal(rows.numel() * columns.numel(), different.sum().item<long>());
            Assert.Equal(rows.numel() - 1, (rows[-1] - rows[0]).item<long>());
        }
        Assert.InRange(changed.Min(), 0.01, 0.1);
        Assert.InRange(changed.Max(), 0.2, 0.36);
        using var never = Images.Augmented(3, erase with { Erase = 0 }, 1);
        Assert.True(never.eq(Images.Image(3)).all().item<bool>());
        using var batch = Images.Training(9, 8, erase, patch: 1).BatchAt(0);
        for (int row = 0; row < 8; row++)
        {
            using var plain = Images.Evaluation(20, patch: 1).BatchAt(0);
            long index = batch["index"][row].item<long>();
            var gone = Images.Image((int)index).ne(batch["pixel_values"][row]).any(0).view(-1);
            Assert.Equal(0, batch[ImageSet.PatchLabels][row].masked_select(gone).max().item<long>());
            Assert.True(
                batch[ImageSet.PatchLabels]
                    [row]
                    .masked_select(~gone)
                    .eq(plain[ImageSet.PatchLabels][index].masked_select(~gone))
                    .all()
                    .item<bool>()
            );
        }
        Assert.Throws<ArgumentException>(() => (erase with { Erase = 1.1 }).Validate(32));
    }

    private SparseLabelStore Labelled(ImageReplay replay, int epochs, int other = -1)
    {
        var store = new SparseLabelStore(
            folder.At("labels"),
            new()
            {
                Classes = 12,
                Kept = 2,
                Images = 20,
                Epochs = epochs,
                Pipeline = replay.Pipeline,
            }
        );
        for (int epoch = 0; epoch < epochs; epoch++)
        {
            double value = 0.5 + epoch * 0.25;
            store.WriteEpoch(
                epoch,
                replay
                    .Epoch(epoch, 6)
                    .All()
                    .Select(batch => new SparseLabels(
                        tensor(new[] { value, 0.1 }).expand(batch.Size, 2),
                        stack([batch["index"] % 11, full_like(batch["index"], 11)], 1),
                        batch[ImageReplay.AugmentationSeed],
                        batch[ImageReplay.ImageChecksum] + batch["index"].eq((long)other).to(ScalarType.Int64)
                    ))
            );
        }
        return store;
    }
}
