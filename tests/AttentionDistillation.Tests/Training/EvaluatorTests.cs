using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

[Collection(TrainingCollection.Name)]
public sealed class EvaluatorTests
{
    private const long Ignored = Batch.IgnoredLabel;

    /// <summary>A model that answers with the batch's own <c>scores</c>, so that what it should score is known.</summary>
    private sealed class Oracle : nn.Module, ITracedModel
    {
        public Oracle()
            : base(nameof(Oracle)) => RegisterComponents();

        public TraceCapabilities Capabilities { get; } = new(nameof(Oracle), 1);

        public List<bool> ModesSeen { get; } = [];

        public void Run(Batch batch, ForwardTrace trace)
        {
            ModesSeen.Add(training);
            Assert.False(is_grad_enabled());
            if (trace.WantsOutput)
                trace.RecordOutput(batch["scores"]);
        }
    }

    private sealed class NoModule : ITracedModel
    {
        public TraceCapabilities Capabilities { get; } = new(nameof(NoModule), 1);

        public void Run(Batch batch, ForwardTrace trace) => throw new NotSupportedException();
    }

    private static Batch Scored(double[] scores, long[] shape, params long[] labels) =>
        new(
            ("scores", tensor(scores, dtype: ScalarType.Float32).reshape(shape)),
            ("labels", tensor(labels).reshape(shape[..^1]))
        );

    [Fact]
    public void ClassesAreScoredByHand()
    {
        using var model = new Oracle();
        // Softmax of (0, ln 3) is (1/4, 3/4): right at 3/4, wrong at 1/4, and undecided rows of (0, 0) cost ln 2 (the first class is taken).
        double ln3 = Math.Log(3);
        var score = Evaluator.Predictions(
            model,
            [Scored([0, ln3, 0, ln3], [2, 2], 1, 0), Scored([0, 0], [1, 2], 0), Scored([9, -9], [1, 2], Ignored)]
        );
        double expected = (Math.Log(4.0 / 3) + Math.Log(4) + Math.Log(2)) / 3;
        Assert.Equal(3, score.Count);
        Assert.Equal(2.0 / 3, score.Accuracy, 12);
        Assert.Equal(expected, score.CrossEntropy, 6); // scores are float32
        Assert.Equal(Math.Exp(expected), score.Perplexity, 5);
    }

    [Fact]
    public void TokensAreScoredWhereTheyAreLabelledHoweverBatchesArePadded()
    {
        using var model = new Oracle();
        double[] first = [1, 2, 3, 4, 0, -1],
            second = [2, 2.5, -3, 0, 1, 2];
        long[] labels = [2, Ignored];
        var one = Evaluator.Predictions(model, [Scored([.. first, .. second], [2, 2, 3], [.. labels, Ignored, 0])]);
        var padded = Evaluator.Predictions(
            model,
            [
                Scored([.. first, 70, 80, 90], [1, 3, 3], [.. labels, Ignored]),
                Scored([.. second, 70, 80, 90], [1, 3, 3], Ignored, 0, Ignored),
            ]
        );
        Assert.Equal(2, one.Count);
        Assert.Equal(0.5, one.Accuracy);
        Assert.Equal((one.Accuracy, one.Count), (padded.Accuracy, padded.Count));
        Assert.Equal(one.CrossEntropy, padded.CrossEntropy, 6);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void TheModelsModeIsPutBackAlsoAfterAnError(bool training)
    {
        using var model = new Oracle();
        model.train(training);
        Evaluator.Predictions(model, [Scored([0, 1], [1, 2], 1)]);
        Assert.Equal(training, model.training);
        Assert.Throws<TimeoutException>(() =>
            Evaluator.Terms(
                model,
                model,
                TraceRequest.Nothing,
                TraceRequest.Nothing,
                (_, _, _) => throw new TimeoutException(),
                [Scored([0, 1], [1, 2], 1)]
            )
        );
        Assert.Equal(training, model.training);
        Assert.All(model.ModesSeen, mode => Assert.False(mode));
        Assert.True(is_grad_enabled());
    }

    [Fact]
    public void TermsAreMeansOverExamplesNotBatches()
    {
        using var teacher = new Oracle();
        using var student = new Oracle();
        teacher.train();
        // Batches of 1 and 3 examples: (1 x 10 + 3 x 2) / 4 = 4.
        Batch Of(long size, double value) =>
            new(("scores", zeros(size, 2)), ("value", full([size], value, dtype: ScalarType.Float64)));
        var terms = Evaluator.Terms(
            teacher,
            student,
            TraceRequest.Nothing,
            TraceRequest.Nothing,
            (_, _, batch) => new LossTerms().Add("mean", batch["value"].mean(), 7.0).Add("one", ones(1)),
            [Of(1, 10), Of(3, 2)]
        );
        Assert.Equal(["mean", "one"], terms.Keys.Order());
        Assert.Equal(4.0, terms["mean"], 12); // unweighted
        Assert.Equal(1.0, terms["one"], 12);
        Assert.True(teacher.training && student.training);
    }

    [Fact]
    public void DropoutIsOffSoTwoMeasurementsAgreeToTheBit()
    {
        using var model = new TinyTransformer(1, dropout: 0.5);
        model.train();
        PredictionScore Measure() =>
            Evaluator.Predictions(model, Enumerable.Range(0, 3).Select(step => new CountingBatches(3).BatchAt(step)));
        Assert.Equal(Measure(), Measure());
    }

    [Fact]
    public void NothingIsLeftAndBatchesAreDisposedAlsoAfterAnError()
    {
        using var model = new TinyTransformer(1);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        Evaluator.Predictions(model, [new CountingBatches(3).BatchAt(0), new CountingBatches(3).BatchAt(1)]);
        LossTerms Loss(ForwardTrace teacher, ForwardTrace student, Batch batch) => TinyLosses.Imitation(teacher, student, batch);
        var request = TraceRequest.LastAttention + TraceRequest.Hidden(0);
        Evaluator.Terms(model, model, request, request, Loss, [new CountingBatches(3).BatchAt(0)]);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);

        var wrong = new CountingBatches(3).BatchAt(0);
        wrong.Labels.Dispose();
        wrong["labels"] = zeros(4, 5, dtype: ScalarType.Int64);
        Assert.Throws<ArgumentException>(() => Evaluator.Predictions(model, [wrong]));
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void LabelsThatDoNotFitTheScoresAreRefused()
    {
        using var model = new Oracle();
        // As many labels as fewer places of [B, L, V] scores: taken for the first places they would give a wrong number.
        var batch = new Batch(("scores", zeros(2, 3, 4)), ("labels", zeros(2, dtype: ScalarType.Int64)));
        string message = Assert.Throws<ArgumentException>(() => Evaluator.Predictions(model, [batch])).Message;
        Assert.Contains("labels must be [2, 3]", message, StringComparison.Ordinal);
    }

    [Fact]
    public void NothingToMeasureIsSaid()
    {
        using var model = new Oracle();
        Assert.Contains(
            "labelled",
            Assert.Throws<ArgumentException>(() => Evaluator.Predictions(model, [Scored([0, 1], [1, 2], Ignored)])).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "no batches",
            Assert
                .Throws<ArgumentException>(() =>
                    Evaluator.Terms(model, model, TraceRequest.Nothing, TraceRequest.Nothing, (_, _, _) => new LossTerms(), [])
                )
                .Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            nameof(NoModule),
            Assert.Throws<ArgumentException>(() => Evaluator.Predictions(new NoModule(), [])).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() =>
            Evaluator.Terms(model, model, TraceRequest.Hidden(9), TraceRequest.Nothing, (_, _, _) => new LossTerms(), [])
        );
    }
}
