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
public sealed class DistillerTests
{
    private static readonly TraceRequest Request = TraceRequest.LastAttention + TraceRequest.Hidden(0);

    [Theory]
    [InlineData(Precision.Single)]
    [InlineData(Precision.BFloat16)]
    public void TheStudentComesCloserAndTheTeacherStaysAsItWas(Precision precision)
    {
        using var teacher = new TinyTransformer(1, layers: 3, width: 12);
        using var student = new TinyTransformer(2);
        var taught = TrainingScene.Bytes(teacher.state_dict().Select(item => (item.Key, item.Value)));
        using var distiller = new Distiller(
            teacher,
            student,
            Request,
            Request,
            TinyLosses.Imitation,
            TrainingScene.Options() with
            {
                Steps = 60,
                Precision = precision,
                AverageDecay = 0.5,
            }
        );
        var result = distiller.Run(new CountingBatches(3));
        Assert.Equal(["maps", "hidden", TrainingCurve.Total], result.Curve.Terms);
        var total = result.Curve.Of(TrainingCurve.Total);
        Assert.True(total.TakeLast(3).Average(point => point.Value) < 0.5 * total.Take(3).Average(point => point.Value));
        var first = result.Curve.Points.Take(3).Select(point => point.Value).ToArray();
        Assert.Equal(
            10 * first[0] + first[1],
            first[2],
            1e-5 * Math.Abs(first[2]) + (precision == Precision.BFloat16 ? 0.01 : 0)
        );
        Assert.False(teacher.training);
        Assert.NotNull(distiller.Average);
        var after = TrainingScene.Bytes(teacher.state_dict().Select(item => (item.Key, item.Value)));
        Assert.All(taught, item => Assert.Equal(item.Value, after[item.Key]));
        Assert.All(teacher.parameters(), parameter => Assert.Null(parameter.grad));
    }

    [Fact]
    public void ForwardPassesStopAfterTheLastThingRead()
    {
        using var teacher = new TinyTransformer(1, layers: 3);
        using var student = new TinyTransformer(2, layers: 2);
        LossTerms First(ForwardTrace taught, ForwardTrace learnt, Batch batch)
        {
            Assert.Equal((1, 1), (teacher.LayersRun, student.LayersRun));
            Assert.Throws<InvalidOperationException>(() => taught.Output);
            Assert.False(taught.Hidden(1).requires_grad);
            return LossTerms.Of("hidden", (taught.Hidden(1) - learnt.Hidden(1)).square().mean());
        }
        var options = TrainingScene.Options() with { Steps = 2, WarmUp = 0 };
        using var early = new Distiller(teacher, student, TraceRequest.Hidden(1), TraceRequest.Hidden(1), First, options);
        early.Run(new CountingBatches(3));
        LossTerms Whole(ForwardTrace taught, ForwardTrace learnt, Batch batch) =>
            LossTerms.Of("logits", (taught.Output - learnt.Output).square().mean());
        using var late = new Distiller(
            teacher,
            student,
            TraceRequest.Nothing,
            TraceRequest.Nothing,
            Whole,
            options,
            wantsOutput: true
        );
        late.Run(new CountingBatches(3));
        Assert.Equal((3, 2), (teacher.LayersRun, student.LayersRun));
    }

    [Fact]
    public void ALossMayTrainProjectionsOfItsOwn()
    {
        using var teacher = new TinyTransformer(1, width: 12);
        using var student = new TinyTransformer(2, width: 8);
        using var projection = nn.Linear(8, 12);
        byte[] before = projection.weight!.bytes.ToArray();
        LossTerms Hidden(ForwardTrace taught, ForwardTrace learnt, Batch batch) =>
            LossTerms.Of("hidden", (taught.Hidden(-1) - projection.call(learnt.Hidden(-1))).square().mean());
        foreach (var precision in (Precision[])[Precision.Single, Precision.BFloat16])
        {
            var options = TrainingScene.Options() with { Precision = precision };
            using var distiller = new Distiller(
                teacher,
                student,
                TraceRequest.Hidden(-1),
                TraceRequest.Hidden(-1),
                Hidden,
                options,
                lossModule: projection
            );
            distiller.Run(new CountingBatches(3));
            Assert.Equal(ScalarType.Float32, projection.weight!.dtype);
            Assert.NotEqual(before, projection.weight!.bytes.ToArray());
            before = projection.weight!.bytes.ToArray();
        }
    }

    [Fact]
    public void StagesFollowEachOtherAndResumeToTheBit()
    {
        using var folder = new TemporaryFolder();
        var whole = Stages(null, _ => { });
        int passes = 0;
        void Stop(Batch batch)
        {
            if (++passes == 30) // in the second stage
                Interruption.Request();
        }
        Assert.Throws<OperationCanceledException>(() => Stages(folder.Path, Stop));
        Interruption.Clear();
        Assert.True(Directory.Exists(folder.At("1-maps")) && Directory.Exists(folder.At("2-logits")));
        var (weights, results) = Stages(folder.Path, _ => { });
        Assert.Equal([0L, TrainingScene.Steps - 6], results.Select(result => result.StepsRun));
        Assert.All(whole.Weights, item => Assert.Equal(item.Value, weights[item.Key]));
        Assert.Equal(whole.Results.Select(result => result.Curve.Points), results.Select(result => result.Curve.Points));
    }

    [Fact]
    public void MistakesAreNamedWhenTheDistillerIsMade()
    {
        using var teacher = new TinyTransformer(1);
        using var student = new TinyTransformer(2);
        var options = TrainingScene.Options();
        string Message(Action make) => Assert.Throws<ArgumentException>(make).Message;
        Assert.Contains(
            "no attention layer 7",
            Message(() => new Distiller(teacher, student, TraceRequest.Attention(7), Request, TinyLosses.Imitation, options))
        );
        Assert.Contains(
            "no feature 'stage3'",
            Message(() =>
                new Distiller(teacher, student, Request, TraceRequest.Features("stage3"), TinyLosses.Imitation, options)
            )
        );
        Assert.Contains(
            "same object",
            Message(() => new Distiller(teacher, teacher, Request, Request, TinyLosses.Imitation, options))
        );
        Assert.Contains("no stage", Message(() => new Distiller(teacher, student)));
        var stage = new DistillationStage("a", Request, Request, TinyLosses.Imitation, options);
        Assert.Contains("'a' repeats", Message(() => new Distiller(teacher, student, stage, stage)));
        Assert.Contains("cannot name a stage", Message(() => new Distiller(teacher, student, stage with { Name = "a/b" })));
        using var two = new Distiller(teacher, student, stage, stage with { Name = "b" });
        Assert.Contains("RunStages", Assert.Throws<InvalidOperationException>(() => two.Run(new CountingBatches(3))).Message);
    }

    private static (Dictionary<string, byte[]> Weights, IReadOnlyList<TrainingResult> Results) Stages(
        string? folder,
        Action<Batch> watch
    )
    {
        using var teacher = new TinyTransformer(1, layers: 3);
        using var student = new TinyTransformer(2);
        var options = TrainingScene.Options(folder);
        using var distiller = new Distiller(
            teacher,
            student,
            new DistillationStage(
                "maps",
                Request,
                Request,
                (taught, learnt, batch) =>
                {
                    watch(batch);
                    return TinyLosses.Imitation(taught, learnt, batch);
                },
                options
            ),
            new DistillationStage(
                "logits",
                TraceRequest.Nothing,
                TraceRequest.Nothing,
                (taught, learnt, batch) =>
                {
                    watch(batch);
                    return LossTerms.Of("logits", (taught.Output - learnt.Output).square().mean());
                },
                options
            )
            {
                WantsOutput = true,
            }
        );
        var results = distiller.RunStages(new CountingBatches(3));
        return (TrainingScene.Bytes(student.state_dict().Select(item => (item.Key, item.Value))), results);
    }
}
