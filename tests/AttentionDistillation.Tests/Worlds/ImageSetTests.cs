using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public class ImageSetTests
{
    private static readonly ImageSet Images = new KeyObjects().Images(1, ImageSplit.Train, 120);

    [Fact]
    public void AnEpochHoldsEveryImageOnce()
    {
        var source = Images.Training(4, 30);
        var seen = new HashSet<long>();
        for (int step = 0; step < 4; step++)
        {
            using var batch = source.BatchAt(step);
            foreach (long index in batch["index"].data<long>())
                Assert.True(seen.Add(index));
        }
        using var again = source.BatchAt(4);
        using var first = source.BatchAt(0);
        Assert.False(again["index"].eq(first["index"]).all().ToBoolean());
    }

    [Fact]
    public void WithoutAugmentationABatchHoldsTheImagesThemselves()
    {
        using var batch = Images.Training(4, 8).BatchAt(2);
        long[] indices = [.. batch["index"].data<long>()];
        for (int row = 0; row < 8; row++)
        {
            using var image = Images.Image((int)indices[row]);
            Assert.True(image.eq(batch["pixel_values"][row]).all().ToBoolean());
            Assert.Equal(Images.Labels[(int)indices[row]], batch.Labels[row].ToInt64());
        }
    }

    public static TheoryData<string> Augmentations() => ["standard", "two views"];

    private static ImageAugmentation Augmentation(string name) =>
        name == "standard" ? ImageAugmentation.Standard : ImageAugmentation.TwoView;

    [Theory]
    [MemberData(nameof(Augmentations))]
    public void AnAugmentedImageComesAgainFromItsSeed(string name)
    {
        var augmentation = Augmentation(name);
        using var batch = Images.Training(9, 16, augmentation).BatchAt(11);
        long[] indices = [.. batch["index"].data<long>()],
            seeds = [.. batch["augmentation_seed"].data<long>()];
        for (int row = 0; row < 16; row++)
        {
            using var image = Images.Augmented((int)indices[row], augmentation, seeds[row]);
            Assert.True(image.eq(batch["pixel_values"][row]).all().ToBoolean());
        }
        Assert.Equal(16, seeds.Distinct().Count());
    }

    [Fact]
    public void FlipAndShiftKeepEveryValue()
    {
        using var batch = Images.Training(9, 32, ImageAugmentation.Standard).BatchAt(0);
        long[] indices = [.. batch["index"].data<long>()];
        int changed = 0;
        for (int row = 0; row < 32; row++)
        {
            using var image = Images.Image((int)indices[row]);
            using var before = image.flatten(1).sort(1).Values;
            using var after = batch["pixel_values"][row].flatten(1).sort(1).Values;
            Assert.True(before.eq(after).all().ToBoolean());
            changed += image.eq(batch["pixel_values"][row]).all().ToBoolean() ? 0 : 1;
        }
        Assert.InRange(changed, 28, 32);
    }

    [Fact]
    public void ACropOfEverythingWouldChangeNothingAndASmallerOneEnlarges()
    {
        var crop = new ImageAugmentation { LeastCrop = 0.25 };
        var all = new ImageAugmentation { LeastCrop = 0.999999999 };
        using var image = Images.Image(3);
        using var same = Images.Augmented(3, all, 5);
        Assert.True((image - same).abs().max().ToSingle() < 1e-5);
        using var larger = Images.Augmented(3, crop, 5);
        Assert.True((image - larger).abs().max().ToSingle() > 0.1);
        Assert.True(larger.max().ToSingle() <= image.max().ToSingle() + 1e-5);
    }

    [Fact]
    public void TheSecondViewIsAnotherOne()
    {
        using var batch = Images.Training(9, 8, ImageAugmentation.TwoView, views: 2).BatchAt(0);
        Assert.Equal(new long[] { 8, 3, 32, 32 }, batch[ImageSet.SecondView].shape);
        Assert.True((batch["pixel_values"] - batch[ImageSet.SecondView]).abs().mean().ToSingle() > 0.1);
    }

    [Fact]
    public void PatchLabelsFollowTheAugmentation()
    {
        using var batch = Images.Training(9, 8, ImageAugmentation.Standard, patch: 1).BatchAt(0);
        Assert.Equal(new long[] { 8, 1024 }, batch[ImageSet.PatchLabels].shape);
        // The key's dot is bright wherever it went.
        using var dot = batch[ImageSet.PatchLabels].view(8, 1, 32, 32).eq((long)ImagePart.KeyDot);
        using var bright = batch["pixel_values"].masked_select(dot);
        Assert.InRange(bright.mean().ToSingle(), 1.8f, 2.2f);
    }

    [Fact]
    public void PatchLabelsAreMajorities()
    {
        using var batch = Images.Evaluation(120, patch: 8).BatchAt(0);
        Assert.Equal(new long[] { 120, 16 }, batch[ImageSet.PatchLabels].shape);
        for (int index = 0; index < 20; index++)
        {
            int[,] parts = Images.Parts(index);
            for (int patch = 0; patch < 16; patch++)
            {
                int[] votes = new int[5];
                for (int y = 0; y < 8; y++)
                for (int x = 0; x < 8; x++)
                    votes[parts[patch / 4 * 8 + y, patch % 4 * 8 + x]]++;
                Assert.Equal(votes.Max(), votes[batch[ImageSet.PatchLabels][index, patch].ToInt64()]);
            }
        }
    }

    [Fact]
    public void EvaluationShowsEveryImageOnceInOrder()
    {
        var source = Images.Evaluation(50);
        Assert.Equal(3, source.Count);
        long next = 0;
        foreach (var batch in source.All())
            using (batch)
                foreach (long index in batch["index"].data<long>())
                    Assert.Equal(next++, index);
        Assert.Equal(120, next);
    }

    [Fact]
    public void ALongTailKeepsTheFirstOfEachClass()
    {
        int[] counts = [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1];
        var tail = Images.LongTail(counts);
        Assert.Equal(counts, tail.CountByClass);
        using var kept = tail.Image(0);
        using var original = Images.Image(0);
        Assert.True(kept.eq(original).all().ToBoolean());
        Assert.Equal(counts, Images.LongTail(counts, shuffleSeed: 3).CountByClass);
        string message = Assert.Throws<ArgumentException>(() => Images.LongTail([11, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1])).Message;
        Assert.Contains("has 10 images, and 11 are asked for", message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Images.LongTail([1, 2]));
    }

    [Fact]
    public void LabelNoiseReplacesAShareAndRemembersTheTruth()
    {
        var images = new KeyObjects(new() { Size = 16 }).Images(1, ImageSplit.Train, 2400);
        var noisy = images.WithLabelNoise(0.5, seed: 3);
        int changed = noisy.Labels.Zip(images.Labels).Count(pair => pair.First != pair.Second);
        Assert.InRange(changed / 2400.0, 0.5 * 11 / 12 - 0.05, 0.5 * 11 / 12 + 0.05);
        Assert.Equal(images.Labels, noisy.TrueLabels);
        Assert.Equal(noisy.Labels, images.WithLabelNoise(0.5, seed: 3).Labels);
        Assert.Equal(images.Labels, images.WithLabelNoise(0, seed: 3).Labels);
        Assert.Throws<ArgumentOutOfRangeException>(() => images.WithLabelNoise(1.5, 1));
    }

    [Fact]
    public void WrongNumbersAreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Images.Training(1, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Images.Training(1, 4, views: 3));
        Assert.Contains(
            "does not divide",
            Assert.Throws<ArgumentException>(() => Images.Training(1, 4, patch: 5)).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() => Images.Training(1, 4, new ImageAugmentation { LeastCrop = 0 }));
        Assert.Throws<ArgumentException>(() => Images.Training(1, 4, new ImageAugmentation { Shift = 32 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => Images.Image(120));
        Assert.Throws<ArgumentOutOfRangeException>(() => Images.Select([0, 120]));
        Assert.Throws<ArgumentOutOfRangeException>(() => Images.First(121));
    }
}
