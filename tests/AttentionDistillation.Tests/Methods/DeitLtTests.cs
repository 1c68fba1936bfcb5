using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class DeitLtTests
{
    private static readonly Tensor Labels = tensor(new[] { 0L, 2L, 1L });

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void GradientsAreThoseOfTheValues(bool weighs, bool weighsClassToken)
    {
        var random = new RandomTensors(1);
        var (ofClass, ofDistillation, teacher) = (random.Normal(3, 4), random.Normal(3, 4), random.Normal(3, 4));
        var targets = ImageMixing.Smoothed(Labels, 4, 0.1, ScalarType.Float64);
        var weights = weighs ? ClassBalance.EffectiveWeights([100, 40, 10, 2]) : null;
        Check.Gradients(
            inputs => DeitLt.Loss(inputs[0], inputs[1], targets, teacher, weights, 0.3, weighsClassToken).Terms.Total,
            [ofClass, ofDistillation]
        );
        Check.Gradients(inputs => DeitLt.SoftLoss(inputs[0], inputs[1], targets, teacher, 0.3).Total, [ofClass, ofDistillation]);
        Check.Gradients(
            inputs => ClassBalance.MarginLoss(inputs[0], Labels, tensor(new[] { 100L, 40L, 10L, 2L }), weights, scale: 5),
            [ofClass]
        );
    }

    [Fact]
    public void TheWeightedMeanDoesNotAmplifyABatchOfRareLabels()
    {
        var logits = new RandomTensors(2).Normal(3, 4);
        var rare = tensor(new[] { 3L, 3L, 3L });
        var weights = ClassBalance.EffectiveWeights([100, 40, 10, 2]);
        Check.Close(ClassBalance.CrossEntropy(logits, rare, null), ClassBalance.CrossEntropy(logits, rare, weights), 1e-12);
        Assert.Equal(4.0, weights.sum().item<double>(), 12);
        Check.Close(
            nn.functional.cross_entropy(logits, Labels, weights),
            ClassBalance.CrossEntropy(logits, Labels, weights),
            1e-12
        );
    }

    [Fact]
    public void LongTailsFallFromLargestToItsShare()
    {
        int[] counts = DeitLt.LongTailCounts(500, 12, 0.02);
        Assert.Equal(500, counts[0]);
        Assert.Equal(10, counts[^1]);
        Assert.Equal(counts.OrderDescending(), counts);
        Assert.Equal(1644, counts.Sum());
        Assert.Equal([60, 60, 6, 6], DeitLt.LongTailCounts(60, 4, 0.1, LongTailKind.Step));
        Assert.Throws<ArgumentException>(() => DeitLt.LongTailCounts(500, 12, 50));
    }

    [Fact]
    public void MixedTargetsSumToOneAndMixingIsRepeatable()
    {
        var images = new RandomTensors(3).Normal(4, 3, 8, 8);
        var labels = tensor(new[] { 0L, 1L, 2L, 1L });
        var random = new Random(1);
        for (int draw = 0; draw < 50; draw++)
        {
            var (mixed, targets) = ImageMixing.Draw(images, labels, 3, random);
            Check.Close(ones(4, dtype: ScalarType.Float64), targets.sum(1), 1e-12);
            Assert.Equal(images.shape, mixed.shape);
        }
        Check.Close(
            ImageMixing.Draw(images, labels, 3, new Random(2)).Images,
            ImageMixing.Draw(images, labels, 3, new Random(2)).Images,
            0
        );
        Check.Close(images, ImageMixing.CutMix(images, labels, 3, new PixelBox(2, 2, 0, 8)).Images, 0);
        Check.Close(images.flip(0), ImageMixing.CutMix(images, labels, 3, new PixelBox(0, 8, 0, 8)).Images, 0);
        Assert.Throws<ArgumentException>(() => ImageMixing.CutMix(images, labels, 3, new PixelBox(0, 9, 0, 8)));
    }

    [Fact]
    public void SharpnessAwareGradientsAreThoseOfThePerturbedWeights()
    {
        var random = new RandomTensors(4);
        using var weight = new Parameter(random.Normal(5));
        var before = weight.detach().clone();
        var target = random.Normal(5);
        Tensor Loss(Tensor at) => (at - target).pow(4).sum();
        var (here, perturbed) = SharpnessAware.Gradients([weight], _ => Loss(weight), 0.1);
        Check.Close(before, weight, 0);
        var slope = 4 * (before - target).pow(3);
        var climbed = before + 0.1 * slope / slope.norm();
        Check.Close(4 * (climbed - target).pow(3), weight.grad!, 1e-9);
        Check.Close(Loss(climbed), perturbed, 1e-9);
        Assert.True(perturbed.item<double>() > here.item<double>());
        Assert.Throws<ArgumentException>(() => SharpnessAware.Gradients([weight], _ => Loss(weight), -1));
    }

    [Fact]
    public void RankGroupsAndDiversityOfKnownCases()
    {
        var random = new RandomTensors(5);
        var flat = random.Normal(20, 2).matmul(random.Normal(2, 6));
        Assert.Equal(2, FeatureRank.Of(flat, 1 - 1e-9).Rank);
        Assert.Equal(2, FeatureRank.Of(flat + 100 * ones(6, dtype: ScalarType.Float64), 1 - 1e-9, centres: true).Rank);
        Assert.Equal(0, FeatureRank.Of(zeros(3, 3)).Rank);
        var logits = tensor(
            new[,]
            {
                { 1.0, 0.0, 0.0 },
                { 1.0, 0.0, 0.0 },
                { 0.0, 0.0, 1.0 },
                { 0.0, 0.0, 1.0 },
            }
        );
        var found = GroupAccuracy.Of(logits, tensor(new[] { 0L, 1L, 2L, 2L }), [1, 2]);
        Assert.Equal([100.0, 0.0, 100.0], found.Groups);
        Assert.Equal(75.0, found.Overall);
        Assert.Throws<ArgumentException>(() => GroupAccuracy.Of(logits, tensor(new[] { 0L, 1L, 2L, 2L }), [2, 2]));
        var tokens = random.Normal(4, 6);
        Assert.Equal(0.0, DeitLt.ExpertDiversity(tokens, tokens * 3), 12);
        Assert.Equal(2.0, DeitLt.ExpertDiversity(tokens, -tokens), 12);
    }

    [Fact]
    public void SharpnessAwareStepsAndMetricsLeaveNothing()
    {
        using var weight = new Parameter(new RandomTensors(6).Normal(4, 4));
        using var labels = tensor(new[] { 0L, 1L, 2L, 3L });
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int step = 0; step < 20; step++)
        {
            using (NewDisposeScope())
            {
                SharpnessAware.Gradients([weight], _ => ClassBalance.CrossEntropy(weight, labels, null));
                weight.grad = null;
            }
            using (no_grad())
            {
                GroupAccuracy.Of(weight, labels, [1, 2]);
                Calibration.OfLogits(weight, labels, null);
                DeitLt.ExpertDiversity(weight, weight);
                FeatureRank.Of(weight).Spectrum.Dispose();
                using var drawn = DeitLt.Loss(weight, weight, weight, weight, null).TeacherLabels;
            }
        }
        // The terms of a loss are the caller's: two a call.
        Assert.Equal(before + 40, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }
}
