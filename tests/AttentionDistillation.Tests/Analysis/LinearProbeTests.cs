using AttentionDistillation.Analysis;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Analysis;

public class LinearProbeTests
{
    [Fact]
    public void LinearClassesAreFoundWhateverTheFeaturesScale()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(1);
        var features = random.Normal(20, 30, 3);
        var labels = features.select(-1, 1).gt(0).to(ScalarType.Int64);
        using var probe = LinearProbe.Fit(features, labels, 2);
        var test = random.Normal(40, 3);
        var truth = test.select(-1, 1).gt(0).to(ScalarType.Int64);
        Assert.True(ClassificationMetrics.Accuracy(probe.Predict(test), truth, null) > 0.9);
        var stretched = tensor(new[] { 1000.0, 0.01, 1 });
        using var again = LinearProbe.Fit(features * stretched + 5, labels, 2);
        Check.Close(probe.Predict(test), again.Predict(test * stretched + 5), 0);
        Assert.Throws<ArgumentException>(() => LinearProbe.Fit(features, labels, 2, 0));
        // A constant channel does no harm.
        using var constant = LinearProbe.Fit(cat([features, ones_like(features)], -1), labels, 2);
        Assert.Equal([20, 30], constant.Predict(cat([features, ones_like(features)], -1)).shape);
    }

    [Fact]
    public void ARareClassBetweenTwoFrequentOnesIsFound()
    {
        // On a line: class 0 left, a rare class 1 in the middle, class 2 right. Least squares never chooses class 1 there.
        using var scope = NewDisposeScope();
        var random = new RandomTensors(2);
        var places = cat([random.Normal(300, 1) * 0.3 - 3, random.Normal(30, 1) * 0.3, random.Normal(300, 1) * 0.3 + 3]);
        var labels = cat([zeros(300), ones(30), full([300], 2.0)]).to(ScalarType.Int64);
        using var probe = LinearProbe.Fit(places, labels, 3, 1e-4, 500);
        Assert.True(ClassificationMetrics.MeanIntersectionOverUnion(probe.Predict(places), labels, null) > 0.8);
    }

    [Fact]
    public void IntersectionOverUnionByHand()
    {
        var (predicted, labels) = (tensor(new long[] { 0, 0, 1, 1, 2 }), tensor(new long[] { 0, 1, 1, 1, 1 }));
        // Class 0: 1 of 2; class 1: 2 of 4; class 2: 0 of 1.
        Assert.Equal((0.5 + 0.5 + 0) / 3, ClassificationMetrics.MeanIntersectionOverUnion(predicted, labels, null), 1e-12);
        Assert.Equal(1, ClassificationMetrics.MeanIntersectionOverUnion(labels, labels, null), 1e-12);
    }
}
