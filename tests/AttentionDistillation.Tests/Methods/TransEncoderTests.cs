using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class TransEncoderTests
{
    [Theory]
    [InlineData(CrossEncoderLoss.BinaryCrossEntropy, false)]
    [InlineData(CrossEncoderLoss.BinaryCrossEntropy, true)]
    [InlineData(CrossEncoderLoss.SquaredError, false)]
    public void CrossEncoderLossHasItsGradient(CrossEncoderLoss loss, bool clamp)
    {
        var random = new RandomTensors(1);
        var labels = random.Normal(6); // some below 0, some above 1
        Check.Gradients(inputs => TransEncoder.CrossEncoder(inputs[0], labels, loss, clamp), [random.Normal(6)]);
        Check.Gradients(inputs => TransEncoder.CrossEncoder(inputs[0], labels, loss, clamp), [random.Normal(6, 1)]);
    }

    [Fact]
    public void NegativeLabelsPushWithoutEndUnlessClamped()
    {
        var label = tensor(new[] { -0.5 });
        double Slope(double logit, bool clamp)
        {
            var z = tensor(new[] { logit }).requires_grad_();
            TransEncoder.CrossEncoder(z, label, clampLabels: clamp).backward();
            return z.grad!.item<double>();
        }
        Assert.Equal(0.5, Slope(-40, false), 1e-12);
        Assert.Equal(0.0, Slope(-40, true), 1e-12);
        Assert.True(
            double.IsFinite(TransEncoder.CrossEncoder(tensor(new[] { 1e4, -1e4 }), tensor(new[] { 0.0, 1.0 })).item<double>())
        );
    }

    [Fact]
    public void CrossEncoderAgreesWithTheLibrarysCrossEntropyInsideTheUnitInterval()
    {
        var random = new RandomTensors(2);
        var (logits, labels) = (random.Normal(8), random.Normal(8).sigmoid());
        Check.Close(
            nn.functional.binary_cross_entropy_with_logits(logits, labels),
            TransEncoder.CrossEncoder(logits, labels),
            1e-12
        );
        // The label is the logit's own sigmoid: the loss is at its least.
        var z = logits.clone().requires_grad_();
        TransEncoder.CrossEncoder(z, TransEncoder.CrossEncoderLabels(logits)).backward();
        Assert.Equal(0, z.grad!.abs().max().item<double>(), 1e-12);
    }

    [Fact]
    public void BiEncoderLabelsDoNotSeePadding()
    {
        var random = new RandomTensors(3);
        var (a, b) = (random.Normal(2, 5, 4), random.Normal(2, 6, 4));
        var (maskA, maskB) = (RandomTensors.Mask(5, 3, 5), RandomTensors.Mask(6, 6, 2));
        foreach (var mode in Enum.GetValues<PoolingMode>())
        {
            var labels = TransEncoder.BiEncoderLabels(a, maskA, b, maskB, mode);
            var first = TransEncoder.BiEncoderLabels(a[..1, ..3], null, b[..1], null, mode);
            Check.Close(first, labels[..1], 1e-12);
            Check.Close(labels, TransEncoder.BiEncoderLabels(b, maskB, a, maskA, mode), 1e-12);
        }
    }

    [Fact]
    public void MutualLabelsAreTheMean()
    {
        var labels = tensor(
            new[,]
            {
                { 0.2, 0.9 },
                { 0.4, -0.1 },
            }
        );
        Check.Close(tensor(new[] { 0.3, 0.4 }), TransEncoder.MutualLabels(labels), 1e-12);
        Assert.Throws<ArgumentException>(() => TransEncoder.MutualLabels(labels[0]));
        Assert.Throws<ArgumentException>(() => TransEncoder.CrossEncoder(zeros(3, 2), zeros(3)));
        Assert.Throws<ArgumentException>(() => TransEncoder.CrossEncoder(zeros(3), zeros(2)));
        Assert.Throws<ArgumentException>(() => TransEncoder.SymmetricPairs(labels));
    }
}
