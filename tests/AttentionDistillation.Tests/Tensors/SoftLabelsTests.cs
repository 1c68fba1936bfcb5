using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Tensors;

public class SoftLabelsTests
{
    [Fact]
    public void SmoothedTargetsGivePytorchsSmoothedCrossEntropy()
    {
        using var scope = NewDisposeScope();
        var (labels, logits) = (tensor(new long[] { 2, 0, 1 }), new RandomTensors(1).Normal(3, 4));
        var targets = SoftLabels.Smoothed(labels, 4, 0.2, ScalarType.Float64);
        Check.Close(ones(3, dtype: ScalarType.Float64), targets.sum(-1), 1e-12);
        Check.Close(
            nn.functional.cross_entropy(logits, labels, label_smoothing: 0.2),
            (targets * nn.functional.log_softmax(logits, -1)).sum(-1).mean().neg(),
            1e-12
        );
        Assert.True(SoftLabels.Smoothed(labels, 4, 0).eq(nn.functional.one_hot(labels, 4)).all().item<bool>());
        Assert.Throws<ArgumentException>(() => SoftLabels.Smoothed(labels, 4, 1.5));
        Assert.Throws<ArgumentException>(() => SoftLabels.Smoothed(zeros(2, 2, dtype: ScalarType.Int64), 4, 0.1));
    }
}
