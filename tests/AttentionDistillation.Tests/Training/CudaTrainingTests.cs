using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using AttentionDistillation.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

/// <summary>Training steps on CUDA: they run, batches built ahead change nothing, and the host never waits for a step.</summary>
[Trait("Kind", Gpu.Kind)]
[Collection(TrainingCollection.Name)]
public sealed class CudaTrainingTests
{
    // Sums of the device's kernels may be in another order from run to run; a batch in the wrong step moves weights by a hundred times as much.
    private const double AnotherOrder = 1e-4;

    [Theory]
    [InlineData(Precision.Single)]
    [InlineData(Precision.BFloat16)]
    public void ATrainingRunsAndItsLossFalls(Precision precision)
    {
        var device = Gpu.Required();
        using var model = new TinyTransformer(1);
        var options = TrainingScene.Options() with { Steps = 150, Device = device, Precision = precision };
        using var trainer = new Trainer(model, TraceRequest.Nothing, TinyLosses.NextNumber, options);
        var result = trainer.Run(new CountingBatches(3));
        Assert.True(
            result.Curve.Last() < 0.7 * result.Curve.Points[0].Value,
            $"{result.Curve.Points[0].Value} -> {result.Curve.Last()}"
        );
        Assert.True(result.PeakMemoryBytes > 0, "No memory was measured.");
        Assert.All(model.parameters(), parameter => Assert.Equal(DeviceType.CUDA, parameter.device_type));
        Assert.All(model.parameters(), parameter => Assert.Equal(ScalarType.Float32, parameter.dtype));
    }

    [Theory]
    [InlineData(null)]
    [InlineData(1)]
    [InlineData(4)]
    public void BatchesBuiltAheadTrainTheSameModel(int? ahead)
    {
        var device = Gpu.Required();
        var expected = Train(0);
        var actual = Train(ahead);
        foreach (var (name, value) in expected)
            Check.Close(value, actual[name], AnotherOrder, name);

        Dictionary<string, Tensor> Train(int? prefetch)
        {
            using var model = new TinyTransformer(1, dropout: 0.0);
            var options = TrainingScene.Options() with { Device = device, Prefetch = prefetch };
            using var trainer = new Trainer(model, TraceRequest.Nothing, TinyLosses.NextNumber, options);
            trainer.Run(new CountingBatches(3));
            return model.state_dict().ToDictionary(item => item.Key, item => item.Value.detach().cpu());
        }
    }

    [Fact]
    public void BatchesWaitInPageLockedMemoryAndArriveWhole()
    {
        var device = Gpu.Required();
        long before = Tensor.TotalCount;
        using (var ahead = new BatchAhead(new CountingBatches(3), 0, 10, 2, pins: true))
            for (long step = 0; step < 5; step++) // five are never taken
            {
                using var batch = ahead.Take(step);
                Assert.All(batch.Names, name => Assert.True(batch[name].is_pinned()));
                using var moved = batch.KeepOnHost("labels").To(device);
                Assert.Equal((DeviceType.CUDA, DeviceType.CPU), (moved.InputIds.device_type, moved.Labels.device_type));
                using var back = moved.To(CPU);
                using var source = new CountingBatches(3).BatchAt(step);
                Assert.Equal(source.InputIds.data<long>().ToArray(), back.InputIds.data<long>().ToArray());
            }
        Assert.Equal(before, Tensor.TotalCount);
    }

    [Fact]
    public void AMiniLmDistillationRunsOverBucketedBatches()
    {
        var device = Gpu.Required();
        using var teacher = Encoder(3, 64, 1);
        using var student = Encoder(2, 32, 2);
        var method = new MiniLm(teacher.Capabilities, student.Capabilities);
        var options = new TrainingOptions
        {
            Steps = 60,
            LearningRate = 2e-3,
            Seed = 1,
            Precision = Precision.BFloat16,
            Device = device,
        };
        using var distiller = new Distiller(teacher, student, method.TeacherRequest, method.StudentRequest, method.Loss, options);
        var curve = distiller.Run(Texts()).Curve;
        double start = curve.Of(TrainingCurve.Total)[0].Value;
        Assert.True(curve.Last() < 0.8 * start, $"{start} -> {curve.Last()}");
    }

    [Fact]
    public void TheHostWaitsForNoStep()
    {
        const int First = 10,
            After = 40;
        var device = Gpu.Required();
        Assert.SkipUnless(
            SyncDebugMode.Works(device),
            "This libtorch does not export the switch that makes waiting operators fail (c10::cuda::warning_state)."
        );
        using var teacher = Encoder(3, 64, 1);
        using var student = Encoder(2, 32, 2);
        var method = new MiniLm(teacher.Capabilities, student.Capabilities);
        var options = new TrainingOptions
        {
            Steps = After + 5,
            LearningRate = 1e-3,
            Seed = 1,
            AverageDecay = 0.99,
            Precision = Precision.BFloat16,
            Device = device,
            RecordEvery = 5, // recorded, and read all at once at the end
        };
        int step = 0;
        LossTerms Watch(ForwardTrace taught, ForwardTrace learnt, Batch batch)
        {
            // On from one step's loss to that of a later step: losses, backward, clipping, optimiser, average, the next batch, both forward passes.
            SyncDebugMode.Set(step is >= First and < After);
            step++;
            return method.Loss(taught, learnt, batch);
        }
        try
        {
            using var distiller = new Distiller(teacher, student, method.TeacherRequest, method.StudentRequest, Watch, options);
            distiller.Run(Texts());
        }
        finally
        {
            SyncDebugMode.Set(false);
        }
        Assert.Equal(After + 5, step);
    }

    private static BertModel Encoder(int layers, long width, long seed) =>
        new(
            new BertConfig
            {
                VocabularySize = 100,
                HiddenSize = width,
                Layers = layers,
                Heads = 2,
                IntermediateSize = 2 * width,
                AddPooler = false,
                InitializerRange = 0.2, // maps that are not flat, so that there is something to learn
            },
            seed
        );

    private static BucketedBatches Texts() =>
        new(
            [.. Enumerable.Range(0, 200).Select(text => 8 + text * 37 % 120)],
            1,
            16,
            128,
            new() { TokensPerBatch = 1_024 },
            (examples, length, _) =>
            {
                var rows = new Rows(examples.Length, length);
                for (int row = 0; row < examples.Length; row++)
                for (int column = 0; column < 8 + examples[row] * 37 % 120; column++)
                    rows.Put(row, column, 1 + (examples[row] * 31 + column * 7) % 99);
                return rows.ToBatch([.. examples.Select(example => (long)example)]);
            }
        );
}
