using AttentionDistillation.Attention;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

/// <summary>Batches built ahead: the same numbers in the same order, failures where they belong, nothing left behind.</summary>
[Collection(TrainingCollection.Name)]
public sealed class PrefetchTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(50)]
    public void TrainingIsTheSameToTheBit(int ahead)
    {
        var inStep = TrainingScene.Train(TrainingScene.Options() with { Prefetch = 0 });
        TrainingScene.Train(TrainingScene.Options() with { Prefetch = ahead }).MustEqual(inStep);
        TrainingScene.Train(TrainingScene.Options()).MustEqual(inStep);
    }

    [Fact]
    public void BatchesComeInOrderFromOneOtherThreadAndNoMoreWaitThanAsked()
    {
        var source = new Watched();
        using (var feed = new BatchFeed(source, Options(20, 3), CPU))
            for (long step = 0; step < 20; step++)
            {
                using var batch = feed.At(step);
                Assert.Equal(step, batch["number"].item<long>());
                Assert.Equal(["steps"], batch.HostNames);
                // The builder may be at one batch while three wait.
                Assert.InRange(source.Steps.Count, step + 1, Math.Min(20, step + 1 + 3 + 1));
            }
        Assert.Equal(Enumerable.Range(0, 20).Select(step => (long)step), source.Steps.Select(call => call.Step));
        Assert.Equal(Environment.CurrentManagedThreadId, source.Steps[0].Thread);
        int other = Assert.Single(source.Steps.Skip(1).Select(call => call.Thread).Distinct());
        Assert.NotEqual(Environment.CurrentManagedThreadId, other);
    }

    [Fact]
    public void WhereItStaysOpenTheCpuBuildsInTheStep()
    {
        var source = new Watched();
        using var feed = new BatchFeed(source, Options(5, null), CPU);
        Assert.Equal(0, feed.Most);
        for (long step = 0; step < 3; step++)
            feed.At(step).Dispose();
        Assert.Equal(3, source.Steps.Count);
        using var onCuda = new BatchFeed(source, Options(5, null), new Device(DeviceType.CUDA, 0));
        Assert.Equal(BatchFeed.DefaultAhead, onCuda.Most);
    }

    [Fact]
    public void ATrainingGoesOnFromACheckpointAtItsStep()
    {
        using var folder = new TemporaryFolder();
        var whole = TrainingScene.Train(TrainingScene.Options());
        var options = TrainingScene.Options(folder.Path) with { Prefetch = 3 };
        Assert.Throws<OperationCanceledException>(() =>
            TrainingScene.Train(
                options,
                pass =>
                {
                    if (pass == 10)
                        Interruption.Request();
                }
            )
        );
        Interruption.Clear();
        // The number of waiting batches is no part of what a training is: the checkpoint serves any.
        var source = new Watched();
        using var model = new TinyTransformer(1);
        using var trainer = new Trainer(model, TraceRequest.Nothing, TinyLosses.NextNumber, options with { Prefetch = 1 });
        trainer.Run(new Both(new CountingBatches(3), source));
        Assert.Equal(Enumerable.Range(11, 13).Select(step => (long)step), source.Steps.Select(call => call.Step));
        TrainingScene.Train(options).MustEqual(whole); // at its end already
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(0, 2)]
    [InlineData(7, 0)]
    [InlineData(7, 2)]
    public void ASourcesFailureIsThrownAtItsStepAsItIs(long failing, int ahead)
    {
        using var model = new TinyTransformer(1);
        int passes = 0;
        using var trainer = new Trainer(
            model,
            TraceRequest.Nothing,
            (trace, batch) =>
            {
                passes++;
                return TinyLosses.NextNumber(trace, batch);
            },
            Options(20, ahead)
        );
        long before = Live();
        var error = Assert.Throws<InvalidDataException>(() => trainer.Run(new Failing(failing)));
        Assert.Equal("Shard 3 is cut short.", error.Message);
        Assert.Contains(nameof(Failing), error.StackTrace, StringComparison.Ordinal);
        Assert.Equal(failing, passes);
        Assert.Equal(before, Tensor.TotalCount);
    }

    [Fact]
    public void NothingIsLeftOfBatchesThatWereNotTaken()
    {
        var source = new Watched();
        long before = Live(),
            mine = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using (var feed = new BatchFeed(source, Options(100, 4), CPU))
        {
            feed.At(0).Dispose();
            Assert.True(SpinWait.SpinUntil(() => source.Steps.Count == 5, TimeSpan.FromSeconds(20)), "Four should wait.");
        }
        Assert.Equal(5, source.Steps.Count);
        Assert.Equal(before, Tensor.TotalCount);
        Assert.Equal(mine, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void AnInterruptionEndsTheBuilderToo()
    {
        var source = new Watched();
        using var model = new TinyTransformer(1);
        int passes = 0;
        using var trainer = new Trainer(
            model,
            TraceRequest.Nothing,
            (trace, batch) =>
            {
                if (++passes == 5)
                    Interruption.Request();
                return TinyLosses.NextNumber(trace, batch);
            },
            Options(1_000_000, 2)
        );
        long before = Live();
        Assert.Throws<OperationCanceledException>(() => trainer.Run(new Both(new CountingBatches(3), source)));
        Interruption.Clear();
        int built = source.Steps.Count;
        Assert.InRange(built, 5, 5 + 2 + 1);
        Assert.Equal(before, Tensor.TotalCount);
        Thread.Sleep(50);
        Assert.Equal(built, source.Steps.Count);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(0)]
    public void TrainingsFreeWhatTheyMadeThoughASourceLeavesSomethingToItsCaller(int ahead)
    {
        using var model = new TinyTransformer(1);
        long before = Live();
        using (var trainer = new Trainer(model, TraceRequest.Nothing, TinyLosses.NextNumber, Options(60, ahead)))
            trainer.Run(new Careless());
        Assert.Equal(before, Tensor.TotalCount);
    }

    [Fact]
    public void ASourceThatDrawsFromTheGlobalGeneratorIsNeverCalledAhead()
    {
        using var feed = new BatchFeed(new Drawing(), Options(9, 2), CPU);
        var error = Assert.Throws<InvalidOperationException>(() => feed.At(0));
        Assert.Contains("Give it a generator of its own", error.Message, StringComparison.Ordinal);
        // What stays open on CUDA falls back; the device itself is not needed to see it.
        using var open = new BatchFeed(new Drawing(), Options(9, null), new Device(DeviceType.CUDA, 0));
        open.At(0).Dispose();
        Assert.Equal(0, open.Most);
        open.At(1).Dispose();
    }

    [Fact]
    public void MistakesAreNamed()
    {
        var options = Assert.Throws<ArgumentException>(() => Options(3, -1));
        Assert.Contains("Prefetch must be 0 or more batches", options.Message, StringComparison.Ordinal);
        using var ahead = new BatchAhead(new Watched(), 4, 6, 1, pins: false);
        var order = Assert.Throws<InvalidOperationException>(() => ahead.Take(5));
        Assert.Contains("the next one is that of step 4 of 6", order.Message, StringComparison.Ordinal);
        ahead.Take(4).Dispose();
        ahead.Take(5).Dispose();
        Assert.Throws<InvalidOperationException>(() => ahead.Take(6));
    }

    // Tensors of all threads. What other tests left to the garbage collector goes first; what leaks afterwards is still counted then.
    private static long Live()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return Tensor.TotalCount;
    }

    private static TrainingOptions Options(long steps, int? ahead) =>
        TrainingScene.Options() with
        {
            Steps = steps,
            Prefetch = ahead,
            AverageDecay = null,
        };

    private sealed class Watched : IBatchSource
    {
        private readonly List<(long Step, int Thread)> steps = [];

        public IReadOnlyList<(long Step, int Thread)> Steps
        {
            get
            {
                lock (steps)
                    return [.. steps];
            }
        }

        public Batch BatchAt(long step)
        {
            lock (steps)
                steps.Add((step, Environment.CurrentManagedThreadId));
            return new Batch(("number", tensor(step)), ("steps", tensor(step))).KeepOnHost("steps");
        }
    }

    // The batches of one source; another one sees the calls.
    private sealed class Both(IBatchSource source, IBatchSource watch) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            watch.BatchAt(step).Dispose();
            return source.BatchAt(step);
        }
    }

    private sealed class Failing(long step) : IBatchSource
    {
        private readonly CountingBatches counting = new(3);

        public Batch BatchAt(long at) =>
            at == step ? throw new InvalidDataException("Shard 3 is cut short.") : counting.BatchAt(at);
    }

    // Leaves its intermediate results to the caller's scope, and gives one tensor two names.
    private sealed class Careless : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            var ids = (arange(24).view(4, 6) + step).remainder(TinyTransformer.Vocabulary);
            return new Batch(("input_ids", ids), ("labels", ids));
        }
    }

    private sealed class Drawing : IBatchSource
    {
        public Batch BatchAt(long step) => new(("x", rand(2)));
    }
}
