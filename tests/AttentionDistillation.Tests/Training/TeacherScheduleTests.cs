using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

/// <summary>Teachers that change during a training, models that relabel for each other, chains, and the best weights of a training.</summary>
[Collection(TrainingCollection.Name)]
public sealed class TeacherScheduleTests
{
    private const long Generation = 8;

    private static LossTerms SelfImitation(ForwardTrace taught, ForwardTrace learnt, Batch batch) =>
        new LossTerms()
            .Add("cross-entropy", TokenPrediction.CrossEntropy(learnt.Output, batch.Labels))
            .Add("divergence", Divergences.KlDivergence(taught.Output, learnt.Output, null));

    private static Dictionary<string, byte[]> Weights(nn.Module model) =>
        TrainingScene.Bytes(model.state_dict().Select(item => (item.Key, item.Value)));

    private static (TrainingResult Result, Dictionary<string, byte[]> Student, Dictionary<string, byte[]> Teacher) Train(
        string? folder,
        Action<TinyTransformer, TinyTransformer, long>? watch = null,
        Precision precision = Precision.Single
    )
    {
        using var student = new TinyTransformer(1);
        var teacher = new TinyTransformer(1);
        using var schedule = TeacherSchedule.CopyEvery(teacher, student, Generation);
        var objective = schedule.Objective(student, TraceRequest.Nothing, TraceRequest.Nothing, SelfImitation, wantsOutput: true);
        long step = 0;
        var options = TrainingScene.Options(folder) with { AverageDecay = null, RecordEvery = 1, Precision = precision };
        using var trainer = new Trainer(
            student,
            batch =>
            {
                var terms = objective(batch);
                watch?.Invoke(teacher, student, step++);
                return terms;
            },
            options,
            lossModule: schedule
        );
        var result = trainer.Run(new CountingBatches(3));
        return (result, Weights(student), Weights(teacher));
    }

    [Theory]
    [InlineData(Precision.Single)]
    [InlineData(Precision.BFloat16)]
    public void TheTeacherIsTheStudentOfTheGenerationsStart(Precision precision)
    {
        Dictionary<string, byte[]>? expected = null;
        int seen = 0;
        Train(
            null,
            (teacher, student, step) =>
            {
                Assert.False(teacher.training);
                Assert.True(student.training);
                if (step % Generation == 0)
                    expected = Weights(student); // before this step's update
                Assert.All(Weights(teacher), item => Assert.Equal(expected![item.Key], item.Value));
                Assert.All(teacher.parameters(), parameter => Assert.Null(parameter.grad));
                seen++;
            },
            precision
        );
        Assert.Equal(TrainingScene.Steps, seen);
    }

    [Fact]
    public void ATrainingThatWasStoppedHasTheTeacherItHad()
    {
        var whole = Train(null);
        using var folder = new TemporaryFolder();
        try
        {
            // Stopped in the middle of the second generation.
            Assert.Throws<OperationCanceledException>(() =>
                Train(
                    folder.Path,
                    (_, _, step) =>
                    {
                        if (step == Generation + 3)
                            Interruption.Request();
                    }
                )
            );
        }
        finally
        {
            Interruption.Clear();
        }
        var resumed = Train(folder.Path);
        Assert.True(resumed.Result.StepsRun < TrainingScene.Steps);
        Assert.All(whole.Student, item => Assert.Equal(item.Value, resumed.Student[item.Key]));
        Assert.All(whole.Teacher, item => Assert.Equal(item.Value, resumed.Teacher[item.Key]));
        Assert.Equal(whole.Result.Curve.Points, resumed.Result.Curve.Points);
    }

    [Fact]
    public void AFrozenTeacherStaysAsItIs()
    {
        using var student = new TinyTransformer(1);
        using var teacher = new TinyTransformer(2);
        using var schedule = TeacherSchedule.Frozen(teacher);
        var before = Weights(teacher);
        using var trainer = new Trainer(
            student,
            schedule.Objective(student, TraceRequest.Nothing, TraceRequest.Nothing, SelfImitation, wantsOutput: true),
            TrainingScene.Options() with
            {
                AverageDecay = null,
            },
            lossModule: schedule
        );
        trainer.Run(new CountingBatches(3));
        Assert.All(before, item => Assert.Equal(item.Value, Weights(teacher)[item.Key]));
        Assert.Equal(0, schedule.Generation);
        Assert.True(teacher.parameters().All(parameter => parameter.requires_grad));
    }

    [Fact]
    public void SchedulesThatCannotWorkAreRefused()
    {
        using var student = new TinyTransformer(1);
        using var other = new TinyTransformer(1, width: 12);
        Assert.Throws<ArgumentException>(() => TeacherSchedule.CopyEvery(student, student, 1));
        Assert.Throws<ArgumentException>(() => TeacherSchedule.CopyEvery(new TinyTransformer(1), student, 0));
        Assert.Contains(
            "same configuration",
            Assert.Throws<ArgumentException>(() => TeacherSchedule.CopyEvery(other, student, 1)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void CyclesHandLabelsFromPhaseToPhase()
    {
        var log = new List<string>();
        RelabellingPhase<string, string> Phase(string name) =>
            new(
                name,
                (cycle, labels, before) =>
                {
                    log.Add($"{name}{cycle} learns {labels}, was {before ?? "new"}");
                    return $"{name}{cycle}";
                },
                model => $"labels of {model}"
            )
            {
                Score = model => model == "cross1" ? 2 : 1,
            };
        var rounds = RelabellingCycles.Run("start", 2, [Phase("cross"), Phase("bi")]);
        Assert.Equal(
            [
                "cross1 learns start, was new",
                "bi1 learns labels of cross1, was new",
                "cross2 learns labels of bi1, was cross1",
                "bi2 learns labels of cross2, was bi1",
            ],
            log
        );
        Assert.Equal("cross1", RelabellingCycles.Best(rounds, "cross").Model);
        Assert.Equal("bi1", RelabellingCycles.Best(rounds, "bi").Model); // the earliest of equals
        Assert.Throws<ArgumentException>(() => RelabellingCycles.Best(rounds, "none"));
        Assert.Throws<ArgumentException>(() => RelabellingCycles.Run("start", 0, [Phase("cross")]));
        Assert.Throws<ArgumentException>(() => RelabellingCycles.Run("start", 1, [Phase("bi"), Phase("bi")]));
    }

    [Fact]
    public void AChainTeachesInOrder()
    {
        Assert.Equal(
            ["0: teacher > assistant", "1: assistant > student"],
            DistillationChain.Run(["teacher", "assistant", "student"], (from, to, link) => $"{link}: {from} > {to}")
        );
        Assert.Throws<ArgumentException>(() => DistillationChain.Run(["alone"], (_, _, link) => link));
        Assert.Throws<ArgumentException>(() => DistillationChain.Run(["a", "a"], (_, _, link) => link));
    }

    [Fact]
    public void TheBestWeightsComeBackAndScoringChangesNothing()
    {
        Outcome plain = TrainingScene.Train(TrainingScene.Options() with { AverageDecay = null });
        using var model = new TinyTransformer(1);
        double[] scores = [0.2, 0.9, double.NaN, 0.4];
        var kept = new List<Dictionary<string, byte[]>>();
        using var best = new BestWeights(
            model,
            6,
            () =>
            {
                Assert.False(model.training);
                kept.Add(Weights(model));
                return scores[kept.Count - 1];
            }
        );
        var batchObjective = best.Watch(batch =>
        {
            var trace = new ForwardTrace(TraceRequest.Nothing, model.Capabilities);
            model.Run(batch, trace);
            return TinyLosses.NextNumber(trace, batch);
        });
        using var trainer = new Trainer(model, batchObjective, TrainingScene.Options() with { AverageDecay = null });
        var result = trainer.Run(new CountingBatches(3));
        Assert.Equal(plain.Result.Curve.Points, result.Curve.Points);
        Assert.Equal(0.9, best.Finish());
        Assert.Equal((12, 0.9), best.Best);
        Assert.Equal([6L, 12, 18, 24], best.Scores.Select(score => score.Step));
        Assert.All(kept[1], item => Assert.Equal(item.Value, Weights(model)[item.Key]));
    }
}
