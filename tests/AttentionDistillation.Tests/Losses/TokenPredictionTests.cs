using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

public sealed class TokenPredictionTests
{
    private const long Ignored = Batch.IgnoredLabel;

    [Fact]
    public void CrossEntropyIsTheMeanNegativeLogLikelihoodOfTheLabelledPlaces()
    {
        using var scope = NewDisposeScope();
        // Softmax of (0, ln 3) is (1/4, 3/4); of (0, 0) it is (1/2, 1/2). The second place does not count.
        var scores = tensor(new double[] { 0, Math.Log(3), 50, -50, 0, 0 }).reshape(1, 3, 2);
        var labels = tensor(new long[] { 1, Ignored, 0 }).reshape(1, 3);
        double expected = -(Math.Log(0.75) + Math.Log(0.5)) / 2;
        Assert.Equal(expected, TokenPrediction.CrossEntropy(scores, labels).item<double>(), 14);
        Assert.Equal(-Math.Log(0.25), TokenPrediction.CrossEntropy(scores[0, ..1], tensor(new long[] { 0 })).item<double>(), 14);
    }

    [Theory]
    [InlineData(ScalarType.Float32, ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16, ScalarType.Float32)]
    [InlineData(ScalarType.Float16, ScalarType.Float32)]
    [InlineData(ScalarType.Float64, ScalarType.Float64)]
    public void ItIsSummedInFloat32AtLeast(ScalarType given, ScalarType summed)
    {
        using var scope = NewDisposeScope();
        // 1,000 equal places: a sum in half precision would be far off.
        var loss = TokenPrediction.CrossEntropy(zeros(1_000, 8, dtype: given), zeros(1_000, dtype: ScalarType.Int64));
        Assert.Equal(summed, loss.dtype);
        Assert.Equal(Math.Log(8), loss.to(ScalarType.Float64).item<double>(), tolerance: 1e-5); // float32 keeps 7 digits, half precision 3
    }

    [Fact]
    public void PlacesWithoutALabelDoNotMatter()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(1);
        var (scores, padding) = (random.Normal(2, 3, 5), random.Normal(2, 4, 5) * 100);
        var labels = tensor(new long[] { 0, Ignored, 4, 2, 2, Ignored }).reshape(2, 3);
        var padded = cat([scores, padding], 1);
        var paddedLabels = cat([labels, full_like(padding[.., .., 0], Ignored, dtype: ScalarType.Int64)], 1);
        // Rows that count are summed in another grouping, so the last bit may differ.
        Check.Close(TokenPrediction.CrossEntropy(scores, labels), TokenPrediction.CrossEntropy(padded, paddedLabels), 1e-14);
    }

    [Fact]
    public void GradientsAreThoseOfFiniteDifferencesAndZeroWhereNothingIsAsked()
    {
        using var scope = NewDisposeScope();
        var labels = tensor(new long[] { 3, Ignored, 0, 1 }).reshape(2, 2);
        var scores = new RandomTensors(2).Normal(2, 2, 4);
        Check.Gradients(inputs => TokenPrediction.CrossEntropy(inputs[0], labels), [scores]);
        var learned = scores.detach().clone().requires_grad_();
        TokenPrediction.CrossEntropy(learned, labels).backward();
        Assert.Equal(0.0, learned.grad![0, 1].abs().sum().item<double>());
    }

    [Fact]
    public void LabelledPlacesComeInOrderWithTheirHiddenStates()
    {
        using var scope = NewDisposeScope();
        var hidden = arange(12, dtype: ScalarType.Float64).reshape(2, 3, 2);
        var labels = tensor(new long[] { Ignored, 7, Ignored, 5, Ignored, 0 }).reshape(2, 3);
        var (states, asked) = TokenPrediction.Labelled(hidden, labels);
        Assert.Equal([3L, 2L], states.shape);
        Assert.Equal([2.0, 3, 6, 7, 10, 11], states.data<double>().ToArray());
        Assert.Equal([7L, 5, 0], asked.data<long>().ToArray());
    }

    [Fact]
    public void NoLabelledPlaceGivesEmptyTensorsOfTheRightWidth()
    {
        using var scope = NewDisposeScope();
        var (states, asked) = TokenPrediction.Labelled(ones(2, 3, 4), full([2, 3], Ignored, dtype: ScalarType.Int64));
        Assert.Equal([0L, 4L], states.shape);
        Assert.Equal([0L], asked.shape);
    }

    [Fact]
    public void ScoringLabelledPlacesAloneGivesTheSameLossAndGradients()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(3);
        var (hidden, weight) = (random.Normal(2, 4, 3), random.Normal(3, 6));
        var labels = tensor(new long[] { Ignored, 5, Ignored, 0, 1, Ignored, Ignored, 1 }).reshape(2, 4);
        var all = Loss(TokenPrediction.CrossEntropy, out var allGradient);
        var few = Loss(
            (scores, _) => TokenPrediction.CrossEntropy(scores, TokenPrediction.Labelled(hidden, labels).Labels),
            out var fewGradient,
            labelledAlone: true
        );
        Check.Close(all, few, 1e-13, "loss");
        Check.Close(allGradient, fewGradient, 1e-13, "gradient");

        Tensor Loss(Func<Tensor, Tensor, Tensor> loss, out Tensor gradient, bool labelledAlone = false)
        {
            var learned = hidden.detach().clone().requires_grad_();
            var states = labelledAlone ? TokenPrediction.Labelled(learned, labels).Hidden : learned;
            var value = loss(matmul(states, weight), labels);
            value.backward();
            gradient = learned.grad!;
            return value;
        }
    }

    [Fact]
    public void ShapesThatDoNotFitAreNamed()
    {
        using var scope = NewDisposeScope();
        var labels = zeros(2, 4, dtype: ScalarType.Int64);
        foreach (
            var error in (Exception[])
                [
                    Assert.Throws<ArgumentException>(() => TokenPrediction.CrossEntropy(ones(2, 3, 5), labels)),
                    Assert.Throws<ArgumentException>(() => TokenPrediction.Labelled(ones(2, 3, 5), labels)),
                ]
        )
        {
            Assert.Contains("labels must be [2, 3]", error.Message, StringComparison.Ordinal);
            Assert.Contains("[2, 4]", error.Message, StringComparison.Ordinal);
        }
        var flat = Assert.Throws<ArgumentException>(() => TokenPrediction.Labelled(ones(2, 3), labels));
        Assert.Contains("[B, L, C]", flat.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>(() => TokenPrediction.CrossEntropy(null!, labels));
        Assert.Throws<ArgumentNullException>(() => TokenPrediction.CrossEntropy(ones(2, 4, 5), null!));
    }

    [Fact]
    public void NothingIsLeftButWhatIsReturned()
    {
        using var scope = NewDisposeScope();
        var (hidden, labels) = (ones(2, 3, 4), zeros(2, 3, dtype: ScalarType.Int64));
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        var loss = TokenPrediction.CrossEntropy(hidden, labels);
        Assert.Equal(before + 1, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        var (states, asked) = TokenPrediction.Labelled(hidden, labels);
        Assert.Equal(before + 3, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        foreach (var tensor in (Tensor[])[loss, states, asked])
            tensor.Dispose();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }
}
