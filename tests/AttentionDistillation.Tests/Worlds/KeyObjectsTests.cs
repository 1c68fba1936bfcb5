using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public class KeyObjectsTests
{
    private static readonly KeyObjects World = new();

    [Fact]
    public void AnImageDoesNotDependOnHowManyAreDrawn()
    {
        var few = World.Images(7, ImageSplit.Train, 5);
        var many = World.Images(7, ImageSplit.Train, 50);
        using var fewest = few.ToTensor();
        using var first = many.First(5).ToTensor();
        Assert.True(fewest.eq(first).all().ToBoolean());
    }

    [Theory]
    [InlineData(8, ImageSplit.Train)]
    [InlineData(7, ImageSplit.Test)]
    [InlineData(7, ImageSplit.Unlabelled)]
    public void SeedsAndSplitsDiffer(long seed, ImageSplit split)
    {
        using var one = World.Images(7, ImageSplit.Train, 4).ToTensor();
        using var other = World.Images(seed, split, 4).ToTensor();
        Assert.True((one - other).abs().max().ToSingle() > 0.5);
        for (int image = 0; image < 4; image++)
            Assert.False(one[image].eq(other[image]).all().ToBoolean());
    }

    [Fact]
    public void LabelsAreBalancedAndNamed()
    {
        var images = World.Images(1, ImageSplit.Train, 120);
        Assert.All(images.CountByClass, count => Assert.Equal(10, count));
        Assert.Equal(12, images.ClassNames.Distinct().Count());
        Assert.Equal(48, new KeyObjects(new() { Classes = 48 }).ClassNames.Distinct().Count());
        Assert.Equal(12, new KeyObjects(new() { Cue = KeyObjectCue.Texture }).ClassNames.Distinct().Count());
    }

    [Fact]
    public void TheKeyLooksAsItsLabelSays()
    {
        var images = World.Images(3, ImageSplit.Test, 240);
        double[][] discs =
        [
            [1, -.6, -.6],
            [-.6, 1, -.6],
            [-.6, -.6, 1],
            [0, 0, 0],
        ];
        double[][] rings =
        [
            [.9, .9, -.8],
            [.9, -.8, .9],
            [-.8, .9, .9],
        ];
        for (int index = 0; index < images.Count; index++)
        {
            int label = images.Labels[index];
            Assert.Equal(label % 4, Nearest(Mean(images, index, ImagePart.KeyDisc), discs));
            Assert.Equal(label / 4, Nearest(Mean(images, index, ImagePart.KeyRing), rings));
            Assert.All(Mean(images, index, ImagePart.KeyDot), value => Assert.InRange(value, 1.2, 2.8));
        }
    }

    [Fact]
    public void TheKeysPlaceIsWhereItsDotIs()
    {
        var images = World.Images(3, ImageSplit.Train, 60);
        for (int index = 0; index < images.Count; index++)
        {
            var key = images.Key(index);
            Assert.InRange(key.Radius, 0.15 * 32, 0.20 * 32);
            Assert.Equal((int)ImagePart.KeyDot, images.Parts(index)[(int)key.Y, (int)key.X]);
        }
    }

    [Fact]
    public void DistractorsSayNothingOfTheLabel()
    {
        // Mean colour of the distractors of a class, over many images: the same for all classes within the error of the mean.
        var images = World.Images(11, ImageSplit.Train, 2400);
        double[][] sums = [.. Enumerable.Range(0, 12).Select(_ => new double[3])];
        int[] counts = new int[12];
        for (int index = 0; index < images.Count; index++)
        {
            double[] mean = Mean(images, index, ImagePart.Distractor);
            if (mean.Any(double.IsNaN))
                continue; // hidden behind the key
            counts[images.Labels[index]]++;
            for (int channel = 0; channel < 3; channel++)
                sums[images.Labels[index]][channel] += mean[channel];
        }
        for (int channel = 0; channel < 3; channel++)
        {
            double[] means = [.. sums.Select((sum, label) => sum[channel] / counts[label])];
            Assert.InRange(means.Max() - means.Min(), 0, 0.35);
        }
    }

    [Fact]
    public void TextureKeysAreMarkedAndColoursSayNothing()
    {
        var images = new KeyObjects(new() { Cue = KeyObjectCue.Texture }).Images(5, ImageSplit.Train, 600);
        double[] sums = new double[12];
        for (int index = 0; index < images.Count; index++)
        {
            Assert.All(Mean(images, index, ImagePart.KeyRing), value => Assert.InRange(value, 1.5, 2.5));
            sums[images.Labels[index]] += Mean(images, index, ImagePart.KeyDisc)[0];
        }
        Assert.All(sums, sum => Assert.InRange(sum / 50, -0.35, 0.35));
    }

    [Fact]
    public void ShiftedImagesAreNoisier()
    {
        var plain = World.Images(2, ImageSplit.Test, 60);
        var shifted = World.Images(2, ImageSplit.Shifted, 60);
        Assert.Equal(0.5, World.Options.Shifted.Background);
        Assert.Equal(2, World.Options.Shifted.Distractors);
        Assert.True(Background(shifted) > 1.4 * Background(plain));

        static double Background(ImageSet images)
        {
            double sum = 0;
            int count = 0;
            for (int index = 0; index < images.Count; index++)
            {
                using var image = images.Image(index);
                float[] values = [.. image.data<float>()];
                int[,] parts = images.Parts(index);
                for (int at = 0; at < 1024; at++)
                    if (parts[at / 32, at % 32] == 0)
                    {
                        sum += values[at] * values[at];
                        count++;
                    }
            }
            return Math.Sqrt(sum / count);
        }
    }

    [Theory]
    [InlineData(30, 12, KeyObjectCue.Colour, 0.25, "Size is 30")]
    [InlineData(32, 13, KeyObjectCue.Colour, 0.25, "no 13 classes")]
    [InlineData(32, 48, KeyObjectCue.Texture, 0.25, "no 48 classes")]
    [InlineData(32, 12, KeyObjectCue.Colour, -1.0, "PixelNoise is -1")]
    public void WrongOptionsAreNamed(int size, int classes, KeyObjectCue cue, double noise, string says)
    {
        var options = new KeyObjectOptions
        {
            Size = size,
            Classes = classes,
            Cue = cue,
            PixelNoise = noise,
        };
        Assert.Contains(says, Assert.Throws<ArgumentException>(() => new KeyObjects(options)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SeedsBelowZeroAndEmptySetsAreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => World.Images(-1, ImageSplit.Train, 4));
        Assert.Throws<ArgumentOutOfRangeException>(() => World.Images(1, ImageSplit.Train, 0));
    }

    private static double[] Mean(ImageSet images, int index, ImagePart part)
    {
        using var image = images.Image(index);
        float[] values = [.. image.data<float>()];
        int[,] parts = images.Parts(index);
        double[] sums = new double[3];
        int count = 0;
        for (int at = 0; at < images.Size * images.Size; at++)
            if (parts[at / images.Size, at % images.Size] == (int)part)
            {
                count++;
                for (int channel = 0; channel < 3; channel++)
                    sums[channel] += values[channel * images.Size * images.Size + at];
            }
        return [.. sums.Select(sum => count == 0 ? double.NaN : sum / count)];
    }

    private static int Nearest(double[] colour, double[][] palette) =>
        Enumerable.Range(0, palette.Length).MinBy(at => palette[at].Zip(colour, (a, b) => (a - b) * (a - b)).Sum());
}
