using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Training;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class DeitLtTests
{
    private static Tensor Draw(long seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn(shape, generator: generator, dtype: ScalarType.Float64);
    }

    [Fact]
    public void EqualWeightsChangeNothing()
    {
        using var scope = NewDisposeScope();
        Tensor cls = Draw(1, 6, 5),
            dist = Draw(2, 6, 5),
            target = Draw(3, 6, 5).softmax(1),
            teacher = Draw(4, 6, 5);
        double plain = DeitLt.Loss(cls, dist, target, teacher).Total.ToDouble();
        Assert.Equal(
            plain,
            DeitLt.Loss(cls, dist, target, teacher, full(5, 3.0, dtype: ScalarType.Float64)).Total.ToDouble(),
            10
        );
    }

    [Fact]
    public void TheWeightIsThatOfTheTeachersClass()
    {
        using var scope = NewDisposeScope();
        // The teacher says 0, 1; the labels say 2, 2. Only the second sample counts when class 0 weighs nothing.
        var teacher = tensor(
            new double[,]
            {
                { 5, 0, 0 },
                { 0, 5, 0 },
            }
        );
        var dist = Draw(2, 2, 3);
        var labels = tensor(new long[] { 2, 2 });
        var weights = tensor(new double[] { 0, 1, 7 });
        double found = DeitLt.Loss(Draw(1, 2, 3), dist, labels, teacher, weights)["distillation"].ToDouble();
        Assert.Equal(-dist.log_softmax(1)[1, 1].ToDouble(), found, 10);
    }

    [Fact]
    public void HardTargetsAndTheirDistributionsAreTheSame()
    {
        using var scope = NewDisposeScope();
        var labels = tensor(new long[] { 0, 1, 2, 3, 4, 0 });
        var soft = nn.functional.one_hot(labels, 5).to(ScalarType.Float64);
        Tensor cls = Draw(1, 6, 5),
            dist = Draw(2, 6, 5),
            teacher = Draw(3, 6, 5);
        Assert.Equal(
            DeitLt.Loss(cls, dist, labels, teacher).Total.ToDouble(),
            DeitLt.Loss(cls, dist, soft, teacher).Total.ToDouble(),
            10
        );
    }

    [Fact]
    public void WrongInputsAreNamed()
    {
        Assert.Throws<ArgumentException>(() => DeitLt.Loss(Draw(1, 6, 5), Draw(2, 6, 4), Draw(3, 6, 5), Draw(4, 6, 5)));
        Assert.Contains(
            "Alpha is 2",
            Assert
                .Throws<ArgumentException>(() =>
                    DeitLt.Loss(Draw(1, 6, 5), Draw(2, 6, 5), Draw(3, 6, 5), Draw(4, 6, 5), alpha: 2)
                )
                .Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() => ClassBalance.EffectiveNumberWeights([3, 0]));
        Assert.Contains(
            "rarest class would be empty",
            Assert.Throws<ArgumentException>(() => LongTail.Exponential(20, 5, 0.01)).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() => ClassGroups.Of(Draw(1, 6, 5), tensor(new long[] { 0, 1, 2, 3, 4, 0 }), [4, 2]));
    }

    [Fact]
    public void SharpnessAwareGradientsLeaveTheWeightsAndSeeTheSlopeNearby()
    {
        using var scope = NewDisposeScope();
        // w² at w = 1: gradient 2, norm 2, so the gradient is taken at 1 + ρ.
        var weight = new Parameter(tensor(1.0));
        var (here, perturbed) = SharpnessAware.Gradients([weight], () => weight.square(), radius: 0.1);
        Assert.Equal(1, here, 10);
        Assert.Equal(1.21, perturbed, 10);
        Assert.Equal(2.2, weight.grad!.ToDouble(), 10);
        Assert.Equal(1.0, weight.ToDouble());
        Assert.Throws<ArgumentException>(() => SharpnessAware.Gradients([weight], () => weight.square(), radius: -1));
        Assert.Throws<InvalidOperationException>(() =>
        {
            int calls = 0;
            SharpnessAware.Gradients(
                [weight],
                () => calls++ == 0 ? weight.square() : throw new InvalidOperationException("stop")
            );
        });
        Assert.Equal(1.0, weight.ToDouble());
    }

    [Fact]
    public void DrawnMixingKeepsTargetsDistributionsAndRepeats()
    {
        using var scope = NewDisposeScope();
        Tensor images = Draw(1, 6, 3, 8, 8),
            labels = tensor(new long[] { 0, 1, 2, 3, 4, 0 });
        int pasted = 0;
        for (long seed = 0; seed < 40; seed++)
        {
            var (mixed, targets) = ImageMixing.Draw(images, labels, 5, 0.1, seed);
            Assert.True((targets.sum(1L) - 1).abs().max().ToDouble() < 1e-10);
            Assert.True(targets.min().ToDouble() >= 0.1 / 5 - 1e-12);
            Assert.True(mixed.eq(ImageMixing.Draw(images, labels, 5, 0.1, seed).Images).all().ToBoolean());
            // A pasted box leaves every pixel one of the two; a blend none.
            pasted += (mixed.eq(images) | mixed.eq(images.flip(0))).all().ToBoolean() ? 1 : 0;
        }
        Assert.InRange(pasted, 10, 30);
        Assert.Throws<ArgumentException>(() => ImageMixing.CutMix(images, labels, 5, new PixelBox(0, 9, 0, 2), 0));
        Assert.Throws<ArgumentException>(() => ImageMixing.Mixup(images, labels, 5, 1.5, 0));
    }

    [Fact]
    public void RanksAndDiversityOfKnownFeatures()
    {
        using var scope = NewDisposeScope();
        var features = Draw(1, 40, 2).matmul(Draw(2, 2, 6)); // two directions
        var (rank, spectrum) = FeatureStatistics.EnergyRank(features, 1);
        Assert.Equal(2, rank);
        Assert.Equal(1, spectrum.Sum(), 10);
        Assert.Equal(0, FeatureStatistics.Diversity(features, features * 3), 10);
        Assert.Equal(2, FeatureStatistics.Diversity(features, -features), 10);
    }
}
