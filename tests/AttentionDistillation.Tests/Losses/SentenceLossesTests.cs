using AttentionDistillation.Losses;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

/// <summary>Pooling, cosine losses and span losses.</summary>
public class SentenceLossesTests
{
    [Theory]
    [InlineData(PoolingMode.Cls)]
    [InlineData(PoolingMode.Mean)]
    [InlineData(PoolingMode.Max)]
    [InlineData(PoolingMode.Last)]
    public void PoolingLeavesPaddingOut(PoolingMode mode)
    {
        var random = new RandomTensors(1);
        var hidden = random.Normal(3, 5, 4);
        var mask = RandomTensors.Mask(5, 5, 2, 1);
        var pooled = SentencePooling.Pool(hidden, mask, mode);
        Check.Close(SentencePooling.Pool(hidden[1..2, ..2], null, mode), pooled[1..2], 1e-12);
        var noise = hidden + (mask.logical_not().unsqueeze(-1).to(ScalarType.Float64) * 100.0);
        Check.Close(pooled, SentencePooling.Pool(noise, mask, mode), 1e-12);
        Check.Gradients(inputs => SentencePooling.Pool(inputs[0], mask, mode).square().sum(), [hidden]);
    }

    [Fact]
    public void PoolingByHand()
    {
        var hidden = tensor(new[] { 1.0, 4, 3, -8 }).reshape(1, 4, 1);
        var front = tensor(new[] { true, true, true, false }).unsqueeze(0);
        var back = tensor(new[] { false, true, true, true }).unsqueeze(0);
        double Pool(Tensor? mask, PoolingMode mode) => SentencePooling.Pool(hidden, mask, mode).item<double>();
        Assert.Equal(1, Pool(front, PoolingMode.Cls));
        Assert.Equal(8.0 / 3, Pool(front, PoolingMode.Mean), 1e-12);
        Assert.Equal(4, Pool(front, PoolingMode.Max));
        Assert.Equal((3.0, -8.0), (Pool(front, PoolingMode.Last), Pool(back, PoolingMode.Last)));
        var nothing = zeros(1, 4, dtype: ScalarType.Bool);
        Assert.All(
            (PoolingMode[])[PoolingMode.Mean, PoolingMode.Max, PoolingMode.Last],
            mode => Assert.Equal(0, Pool(nothing, mode))
        );
    }

    [Fact]
    public void PoolingRefusesNonsense()
    {
        var hidden = zeros(2, 3, 4);
        Assert.Throws<ArgumentException>(() => SentencePooling.Pool(hidden[0], null, PoolingMode.Mean));
        Assert.Throws<ArgumentException>(() => SentencePooling.Pool(hidden, ones(2, 4).to(ScalarType.Bool), PoolingMode.Mean));
        Assert.Contains(
            "bool",
            Assert.Throws<ArgumentException>(() => SentencePooling.Pool(hidden, ones(2, 3), PoolingMode.Mean)).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() => SentencePooling.Pool(hidden, null, (PoolingMode)9));
    }

    [Fact]
    public void CosineLossesHaveTheirGradients()
    {
        var random = new RandomTensors(2);
        var (first, second, labels) = (random.Normal(4, 3), random.Normal(4, 3), random.Normal(4));
        Check.Gradients(inputs => CosineLosses.SquaredError(inputs[0], inputs[1], labels), [first, second]);
        Check.Gradients(inputs => CosineLosses.InBatchContrastive(inputs[0], inputs[1], 0.5), [first, second]);
        Check.Close(CosineLosses.Similarity(first, second), CosineLosses.Similarity(first * 3, second * 7), 1e-12);
        Check.Close(ones(4, dtype: ScalarType.Float64), CosineLosses.Similarity(first, first), 1e-12);
        Assert.Throws<ArgumentException>(() => CosineLosses.Similarity(first, second[..3]));
        Assert.Throws<ArgumentException>(() => CosineLosses.InBatchContrastive(first, second, 0));
    }

    [Fact]
    public void ContrastiveByHand()
    {
        // Orthogonal partners of their own: the cosine matrix is the identity.
        double expected = Math.Log((Math.E + 2) / Math.E);
        Assert.Equal(
            expected,
            CosineLosses
                .InBatchContrastive(eye(3, dtype: ScalarType.Float64), eye(3, dtype: ScalarType.Float64), 1.0)
                .item<double>(),
            1e-12
        );
    }

    [Theory]
    [InlineData(DivergenceDirection.Forward)]
    [InlineData(DivergenceDirection.Reverse)]
    [InlineData(DivergenceDirection.Symmetric)]
    public void SpanDivergencesLeavePaddingOut(DivergenceDirection direction)
    {
        var random = new RandomTensors(3);
        var (teacher, student) = (random.Normal(2, 6), random.Normal(2, 6));
        var mask = RandomTensors.Mask(6, 6, 4);
        var rows = SpanPrediction.DivergenceRows(teacher, student, mask, 2.0, direction);
        Check.Close(SpanPrediction.DivergenceRows(teacher[1.., ..4], student[1.., ..4], null, 2.0, direction), rows[1..], 1e-12);
        Assert.True((rows > 0).all().item<bool>());
        Assert.Equal(0, SpanPrediction.DivergenceRows(student, student, mask, 2.0, direction).abs().max().item<double>(), 1e-12);
        Check.Gradients(inputs => SpanPrediction.DivergenceRows(teacher, inputs[0], mask, 2.0, direction).sum(), [student]);
    }

    [Fact]
    public void ForwardAndReverseAreEachOthersMirror()
    {
        var random = new RandomTensors(4);
        var (a, b) = (random.Normal(3, 5), random.Normal(3, 5));
        var forward = SpanPrediction.DivergenceRows(a, b, null);
        Check.Close(forward, SpanPrediction.DivergenceRows(b, a, null, 1.0, DivergenceDirection.Reverse), 1e-12);
        Check.Close(forward.mean(), Divergences.KlDivergence(a, b, null), 1e-12);
    }

    [Fact]
    public void SpanCrossEntropyLeavesOutWhatLiesOutside()
    {
        var random = new RandomTensors(5);
        var (start, end) = (random.Normal(3, 5), random.Normal(3, 5));
        long[] starts = [1, 5, -2],
            ends = [4, 9, 0];
        var loss = SpanPrediction.CrossEntropy(start, end, tensor(starts), tensor(ends));
        var inside = tensor(new[] { 0L, 2 });
        var expected =
            (
                nn.functional.cross_entropy(start[inside], tensor(new[] { 1L, 0 }))
                + nn.functional.cross_entropy(end[inside], tensor(new[] { 4L, 0 }))
            ) / 2;
        Check.Close(expected, loss, 1e-12);
        Check.Gradients(inputs => SpanPrediction.CrossEntropy(inputs[0], inputs[1], tensor(starts), tensor(ends)), [start, end]);
        var nowhere = tensor(new[] { 5L, 6, 7 });
        Assert.Equal(0, SpanPrediction.CrossEntropy(start, end, nowhere, nowhere).item<double>());
    }
}
