using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public class PairMixingTests
{
    private static readonly Tensor Labels = tensor(new[] { 0L, 1, 2, 1, 0, 2 }).DetachFromDisposeScope();
    private static readonly Tensor ImageSeeds = tensor(new[] { 5L, 9, int.MaxValue, 0, 77, 78 }).DetachFromDisposeScope();

    [Fact]
    public void AnOddBatchIsRefused()
    {
        var images = new RandomTensors(1).Normal(5, 3, 8, 8);
        string message = Assert
            .Throws<ArgumentException>(() => PairMixing.Draw(images, Labels.narrow(0, 0, 5), 3, ImageSeeds.narrow(0, 0, 5)))
            .Message;
        Assert.Contains("must be even, but it is 5", message);
        Assert.Throws<ArgumentException>(() => PairMixing.Seeds(ImageSeeds.narrow(0, 0, 3)));
        Assert.Throws<ArgumentException>(() => PairMixing.Mix(images, Labels.narrow(0, 0, 5), 3, [new(0.5), new(0.5)]));
    }

    [Fact]
    public void APairComesAgainFromItsTwoSeedsWhateverElseIsInTheBatch()
    {
        using var scope = NewDisposeScope();
        var images = new RandomTensors(2).Normal(6, 3, 8, 8);
        var (mixed, targets, _) = PairMixing.Draw(images, Labels, 3, ImageSeeds);
        var (alone, ofAlone, _) = PairMixing.Draw(images.narrow(0, 2, 2), Labels.narrow(0, 2, 2), 3, ImageSeeds.narrow(0, 2, 2));
        Check.Close(mixed.narrow(0, 2, 2), alone, 0);
        Check.Close(targets.narrow(0, 2, 2), ofAlone, 0);
    }

    [Fact]
    public void ExchangingThePartnersExchangesTheResults()
    {
        using var scope = NewDisposeScope();
        var images = new RandomTensors(3).Normal(6, 3, 8, 8);
        var exchanged = tensor(new[] { 1L, 0, 3, 2, 5, 4 });
        var (mixed, targets, shares) = PairMixing.Draw(images, Labels, 3, ImageSeeds);
        var (mixedToo, targetsToo, sharesToo) = PairMixing.Draw(images[exchanged], Labels[exchanged], 3, ImageSeeds[exchanged]);
        Check.Close(mixed[exchanged], mixedToo, 0);
        Check.Close(targets[exchanged], targetsToo, 0);
        Check.Close(shares, sharesToo, 0);
    }

    [Fact]
    public void NothingIsLostInAPair()
    {
        using var scope = NewDisposeScope();
        var images = new RandomTensors(4).Normal(6, 3, 8, 8);
        var (mixed, targets, _) = PairMixing.Draw(images, Labels, 3, ImageSeeds, smoothing: 0);
        Check.Close(images.view(3, 2, -1).sum(1), mixed.view(3, 2, -1).sum(1), 1e-14);
        Check.Close(ones(6, dtype: ScalarType.Float64), targets.sum(1), 1e-14);
        Check.Close(images, PairMixing.Mix(images, Labels, 3, [new(1), new(1), new(1)]).Images, 0);
        var (swapped, _, none) = PairMixing.Mix(images, Labels, 3, [.. Enumerable.Repeat(new PairMix(1, new(0, 8, 0, 8)), 3)]);
        Check.Close(images.view(3, 2, -1).flip(1).reshape(6, 3, 8, 8), swapped, 0);
        Assert.Equal(0, none.abs().max().item<double>());
        Assert.Throws<ArgumentException>(() => PairMixing.Mix(images, Labels, 3, [new(1), new(1), new(1.1)]));
        Assert.Throws<ArgumentException>(() => PairMixing.Mix(images, Labels, 3, [new(1), new(1), new(1, new(0, 9, 0, 8))]));
        Assert.Throws<ArgumentException>(() => PairMixing.Mix(images, Labels, 3, [new(1)]));
    }

    [Fact]
    public void DrawsAreHalfCutMixWithUniformSharesAndHalfMixup()
    {
        PairMix[] draws = [.. Enumerable.Range(0, 4000).Select(seed => PairMixing.Draw(seed * 7919, 64, 64))];
        double[] cut = [.. draws.Where(draw => draw.Box is not null).Select(draw => draw.Lambda)],
            blended = [.. draws.Where(draw => draw.Box is null).Select(draw => draw.Lambda)];
        Assert.InRange(cut.Length, 1850, 2150);
        // Boxes are cut at the edges, so that more than half of the image stays on average.
        Assert.InRange(cut.Average(), 0.55, 0.75);
        Assert.InRange(blended.Average(), 0.47, 0.53);
        // The variance of Beta(a, a) is 1 / (4 (2 a + 1)): 0.096 for 0.8.
        Assert.InRange(blended.Average(lambda => (lambda - 0.5) * (lambda - 0.5)), 0.088, 0.104);
        Assert.Throws<ArgumentOutOfRangeException>(() => PairMixing.Draw(1L << 31, 8, 8));
    }

    [Theory]
    [InlineData(0.0, 0, 8)]
    [InlineData(1.0, 0, 0)]
    [InlineData(0.75, 2, 6)]
    public void BoxesHaveTheirSidesAndStayInside(double lambda, int first, int last)
    {
        var box = PixelBox.Around(lambda, 4, 4, 8, 8);
        Assert.Equal(last - first, box.Bottom - box.Top);
        Assert.Equal(1 - (last - first) * (last - first) / 64.0, box.ShareOutside(8, 8), 12);
        var corner = PixelBox.Around(lambda, 0, 7, 8, 8);
        Assert.InRange(corner.Top, 0, corner.Bottom);
        Assert.InRange(corner.Right, corner.Left, 8);
        Assert.Throws<ArgumentException>(() => PixelBox.Around(1.5, 4, 4, 8, 8));
        Assert.Throws<ArgumentException>(() => PixelBox.Around(0.5, 8, 4, 8, 8));
    }
}
