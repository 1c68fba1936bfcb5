using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

[Collection(TrainingCollection.Name)]
public sealed class TrainerTests
{
    [Fact]
    public void TheLossFallsAndTheCurveShowsIt()
    {
        using var model = new TinyTransformer(1);
        double before = TrainingScene.Loss(model);
        using var trainer = new Trainer(
            model,
            TraceRequest.Nothing,
            TinyLosses.NextNumber,
            TrainingScene.Options() with
            {
                Steps = 150,
                AverageDecay = null,
            }
        );
        var result = trainer.Run(new CountingBatches(3));
        Assert.Equal((150, 150), (result.Steps, result.StepsRun));
        Assert.Equal(["cross-entropy", TrainingCurve.Total], result.Curve.Terms);
        Assert.Equal([0L, 3, 6], result.Curve.Of(TrainingCurve.Total).Take(3).Select(point => point.Step));
        Assert.Equal(149, result.Curve.Points[^1].Step);
        Assert.True(result.Curve.Last() < 0.7 * result.Curve.Points[0].Value);
        Assert.True(TrainingScene.Loss(model) < 0.7 * before);
        Assert.False(model.training);
        Assert.Null(trainer.Average);
        Assert.Null(result.PeakMemoryBytes);
    }

    [Fact]
    public void TheSeedDecidesEveryBit()
    {
        var first = TrainingScene.Train(TrainingScene.Options());
        TrainingScene.Train(TrainingScene.Options()).MustEqual(first);
        var other = TrainingScene.Train(TrainingScene.Options() with { Seed = 8 });
        Assert.Contains(first.Weights.Keys, name => !first.Weights[name].AsSpan().SequenceEqual(other.Weights[name]));
    }

    [Fact]
    public void WhatDrewNumbersBeforeMakesNoDifference()
    {
        var first = TrainingScene.Train(TrainingScene.Options(), pass => rand(3).Dispose());
        TrainingScene.Train(TrainingScene.Options()).MustEqual(first);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(11)]
    [InlineData(24)]
    public void AnInterruptedTrainingGoesOnToTheSameBits(int stopAt)
    {
        using var folder = new TemporaryFolder();
        var whole = TrainingScene.Train(TrainingScene.Options());
        Assert.Throws<OperationCanceledException>(() =>
            TrainingScene.Train(TrainingScene.Options(folder.Path), pass => RequestAt(pass, stopAt - 1))
        );
        Interruption.Clear();
        Assert.Equal([folder.At($"step-{stopAt:D9}.checkpoint")], Directory.GetFiles(folder.Path, "step-*"));
        var resumed = TrainingScene.Train(TrainingScene.Options(folder.Path));
        Assert.Equal(TrainingScene.Steps - stopAt, resumed.Result.StepsRun);
        resumed.MustEqual(whole);
        var again = TrainingScene.Train(TrainingScene.Options(folder.Path));
        Assert.Equal(0, again.Result.StepsRun);
        again.MustEqual(whole);
    }

    [Fact]
    public void ATrainingThatFailedInAStepGoesOnFromItsLastCheckpoint()
    {
        using var folder = new TemporaryFolder();
        var whole = TrainingScene.Train(TrainingScene.Options());
        Assert.Throws<TimeoutException>(() =>
            TrainingScene.Train(
                TrainingScene.Options(folder.Path),
                pass =>
                {
                    if (pass == 13)
                        throw new TimeoutException();
                }
            )
        );
        var resumed = TrainingScene.Train(TrainingScene.Options(folder.Path));
        Assert.Equal(TrainingScene.Steps - 10, resumed.Result.StepsRun);
        resumed.MustEqual(whole);
    }

    [Fact]
    public void BFloat16TrainsAndResumesToTheBitAndGivesFloat32Back()
    {
        using var folder = new TemporaryFolder();
        var options = TrainingScene.Options() with { Precision = Precision.BFloat16 };
        var whole = TrainingScene.Train(options);
        Assert.Throws<OperationCanceledException>(() =>
            TrainingScene.Train(options with { CheckpointFolder = folder.Path }, pass => RequestAt(pass, 8))
        );
        Interruption.Clear();
        TrainingScene.Train(options with { CheckpointFolder = folder.Path }).MustEqual(whole);
        var single = TrainingScene.Train(TrainingScene.Options());
        Assert.Equal(single.Weights["head.weight"].Length, whole.Weights["head.weight"].Length);
        Assert.NotEqual(single.Weights["head.weight"], whole.Weights["head.weight"]);
        // Masters came back: a bfloat16 number has sixteen zero bits at the end of its float32 form.
        Assert.Contains(whole.Weights["head.weight"].Chunk(4), bytes => bytes[0] != 0 || bytes[1] != 0);
    }

    [Fact]
    public void ALossThatIsNoNumberNamesStepAndTerm()
    {
        using var model = new TinyTransformer(1);
        using var folder = new TemporaryFolder();
        int step = 0;
        LossTerms Break(ForwardTrace trace, Batch batch) =>
            TinyLosses.NextNumber(trace, batch).Add("broken", trace.Output.mean() / (step++ == 6 ? 0.0 : 1.0), 0.1);
        using var trainer = new Trainer(model, TraceRequest.Nothing, Break, TrainingScene.Options(folder.Path));
        var error = Assert.Throws<TrainingDivergedException>(() => trainer.Run(new CountingBatches(3)));
        Assert.Equal((6L, "broken"), (error.Step, error.Term));
        Assert.Contains("lower learning rate", error.Message, StringComparison.Ordinal);
        Assert.Equal([folder.At("step-000000005.checkpoint")], Directory.GetFiles(folder.Path, "step-*"));
    }

    [Fact]
    public void AForeignCheckpointIsRefusedWithTheDifference()
    {
        using var folder = new TemporaryFolder();
        var options = TrainingScene.Options(folder.Path);
        TrainingScene.Train(options);
        var error = Assert.Throws<InvalidDataException>(() =>
            TrainingScene.Train(options with { LearningRate = 0.5, Identity = "other" })
        );
        Assert.Contains("LearningRate is '0.01' there and '0.5' here; Identity is '' there and 'other' here", error.Message);
        using var wider = new TinyTransformer(1, width: 16);
        using var trainer = new Trainer(wider, TraceRequest.Nothing, TinyLosses.NextNumber, options);
        var other = Assert.Throws<InvalidDataException>(() => trainer.Run(new CountingBatches(3)));
        Assert.Contains("'model.embedding.weight' is Float32 [13, 8] there and Float32 [13, 16] here", other.Message);
    }

    [Fact]
    public void ADamagedCheckpointIsRefusedAndLeftoversAreSweptAway()
    {
        using var folder = new TemporaryFolder();
        TrainingScene.Train(TrainingScene.Options(folder.Path));
        string file = Directory.GetFiles(folder.Path, "step-*").Single();
        byte[] whole = File.ReadAllBytes(file);
        File.WriteAllBytes(file, whole[..^100]);
        var error = Assert.Throws<InvalidDataException>(() => TrainingScene.Train(TrainingScene.Options(folder.Path)));
        Assert.Contains("is damaged", error.Message, StringComparison.Ordinal);
        File.Move(file, file + AtomicFile.PartialSuffix);
        Assert.Equal(TrainingScene.Steps, TrainingScene.Train(TrainingScene.Options(folder.Path)).Result.StepsRun);
        Assert.Equal(2, Directory.GetFiles(folder.Path).Length); // the last checkpoint and the lock
    }

    [Fact]
    public void TwoTrainingsDoNotShareAFolder()
    {
        using var folder = new TemporaryFolder();
        Exception? seen = null;
        TrainingScene.Train(
            TrainingScene.Options(folder.Path),
            pass => seen ??= Record.Exception(() => TrainingScene.Train(TrainingScene.Options(folder.Path)))
        );
        Assert.Contains("Another training is using", Assert.IsType<InvalidOperationException>(seen).Message);
    }

    [Fact]
    public void MistakesAreNamedEarly()
    {
        using var model = new TinyTransformer(1);
        var options = TrainingScene.Options();
        var request = Assert.Throws<ArgumentException>(() =>
            new Trainer(model, TraceRequest.Attention(5), TinyLosses.NextNumber, options)
        );
        Assert.Contains("no attention layer 5", request.Message, StringComparison.Ordinal);
        using var aimless = new Trainer(model, _ => LossTerms.Of("constant", tensor(1.0)), options);
        var loss = Assert.Throws<InvalidOperationException>(() => aimless.Run(new CountingBatches(3)));
        Assert.Contains("does not depend on any trainable weight", loss.Message, StringComparison.Ordinal);
        foreach (var parameter in model.parameters())
            parameter.requires_grad = false;
        using var frozen = new Trainer(model, TraceRequest.Nothing, TinyLosses.NextNumber, options);
        Assert.Contains(
            "Nothing is trainable",
            Assert.Throws<ArgumentException>(() => frozen.Run(new CountingBatches(3))).Message
        );
    }

    [Fact]
    public void AFolderThatCannotBeMadeIsNamed()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.At("file"), "not a folder");
        var error = Assert.Throws<IOException>(() => TrainingScene.Train(TrainingScene.Options(folder.At("file"))));
        Assert.Contains("Name another CheckpointFolder", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ATermMayNotTakeTheTotalsName()
    {
        using var model = new TinyTransformer(1);
        using var trainer = new Trainer(
            model,
            TraceRequest.Nothing,
            (trace, batch) => LossTerms.Of(TrainingCurve.Total, trace.Output.mean()),
            TrainingScene.Options()
        );
        var error = Assert.Throws<ArgumentException>(() => trainer.Run(new CountingBatches(3)));
        Assert.Contains("Give the term another name", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ProgressEndsWithTheLastStep()
    {
        var sink = new Recorded();
        Progress.Sink = sink;
        try
        {
            TrainingScene.Train(TrainingScene.Options() with { Label = "student · seed 7" });
        }
        finally
        {
            Progress.Sink = null;
        }
        Assert.Equal((TrainingScene.Steps, TrainingScene.Steps, true), (sink.Last!.Done, sink.Last.Total, sink.Last.Finished));
        Assert.Equal("student · seed 7", sink.Last.Label);
    }

    private static void RequestAt(int pass, int step)
    {
        if (pass == step)
            Interruption.Request();
    }

    private sealed class Recorded : IProgressSink
    {
        public ProgressState? Last { get; private set; }

        public void Report(ProgressState state) => Last = state;
    }
}
