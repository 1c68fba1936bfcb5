using System.Globalization;
using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using TorchSharp;

namespace AttentionDistillation.Tests.Training;

/// <summary>Training holds what it needs and nothing more, however long it runs.</summary>
[Collection(TrainingCollection.Name)]
public sealed class LeakTests
{
    // Allocators and .NET's heaps still settle by some 3 to 9 MiB between steps 500 and 2,000 and then stand still. Leaked native memory, which
    // the count of tensors cannot see, would be well above this if a step lost even a tenth of what it makes (150 tensors of about 1 KiB).
    private const long MostGrowthBytes = 20L << 20;

    [Theory]
    [InlineData(Precision.Single)]
    [InlineData(Precision.BFloat16)]
    public void ATrainerFreesWhatItMade(Precision precision)
    {
        using var model = new TinyTransformer(1);
        Assert.Equal(
            0,
            LeftOver(() =>
            {
                using var trainer = new Trainer(
                    model,
                    TraceRequest.AllAttention + TraceRequest.AllHidden,
                    TinyLosses.NextNumber,
                    Options(100) with
                    {
                        Precision = precision,
                    }
                );
                trainer.Run(new CountingBatches(3));
            })
        );
    }

    [Theory]
    [InlineData(Precision.Single)]
    [InlineData(Precision.BFloat16)]
    public void ADistillerFreesWhatItMade(Precision precision)
    {
        using var teacher = new TinyTransformer(1, layers: 3);
        using var student = new TinyTransformer(2);
        var request = TraceRequest.LastAttention + TraceRequest.Hidden(0);
        Assert.Equal(
            0,
            LeftOver(() =>
            {
                var options = Options(100) with { Precision = precision };
                using var distiller = new Distiller(teacher, student, request, request, TinyLosses.Imitation, options);
                distiller.Run(new CountingBatches(3));
            })
        );
    }

    [Fact]
    public void AnInterruptedOrFailedTrainingFreesWhatItMade()
    {
        using var model = new TinyTransformer(1);
        using var folder = new TemporaryFolder();
        Assert.Equal(
            0,
            LeftOver(() =>
            {
                int passes = 0;
                LossTerms Fail(ForwardTrace trace, Batch batch) =>
                    passes++ == 20 ? throw new TimeoutException() : TinyLosses.NextNumber(trace, batch);
                using var trainer = new Trainer(
                    model,
                    TraceRequest.Nothing,
                    Fail,
                    Options(100) with
                    {
                        CheckpointFolder = folder.Path,
                    }
                );
                Assert.Throws<TimeoutException>(() => trainer.Run(new CountingBatches(3)));
                trainer.Run(new CountingBatches(3));
            })
        );
    }

    [Fact]
    public void TwoThousandStepsHoldTensorsAndMemoryConstant()
    {
        using var model = new TinyTransformer(1);
        var live = new List<long>();
        var memory = new Dictionary<int, long>();
        int passes = 0;
        LossTerms Watch(ForwardTrace trace, Batch batch)
        {
            live.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount);
            if (passes++ is 500 or 1_999)
                memory[passes - 1] = ResidentBytes();
            return TinyLosses.NextNumber(trace, batch);
        }
        // Every point is recorded, so that what waits on the device to be read is seen to be bounded, too.
        using var trainer = new Trainer(model, TraceRequest.Nothing, Watch, Options(2_000) with { RecordEvery = 1 });
        trainer.Run(new CountingBatches(3));
        // The same moment of the cycle in which recorded points are read (every 32 steps): the count must be the same throughout.
        long[] atCycle = [.. live.Where((_, step) => step >= 32 && step % 32 == 0)];
        Assert.All(atCycle, count => Assert.Equal(atCycle[0], count));
        Assert.True(
            live.Skip(32).Max() - live.Skip(32).Min() < 32,
            "More is held than one tensor for each point that waits to be read."
        );
        long growth = memory[1_999] - memory[500];
        Assert.True(growth < MostGrowthBytes, $"Memory grew by {growth >> 10} KiB in 1,500 steps.");
    }

    private static TrainingOptions Options(long steps) => TrainingScene.Options() with { Steps = steps, CheckpointEvery = 40 };

    private static long LeftOver(Action train)
    {
        // Parameters converted to another precision are new tensors, so the model's own are counted before and after.
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        train();
        return DisposeScopeManager.Statistics.ThreadTotalLiveCount - before;
    }

    // VmRSS where there is /proc, else the working set: both in bytes.
    private static long ResidentBytes()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        if (!File.Exists("/proc/self/status"))
        {
            using var self = System.Diagnostics.Process.GetCurrentProcess();
            return self.WorkingSet64;
        }
        string line = File.ReadLines("/proc/self/status").Single(text => text.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.Split(':')[1].Replace("kB", "", StringComparison.Ordinal).Trim(), CultureInfo.InvariantCulture)
            << 10;
    }
}
