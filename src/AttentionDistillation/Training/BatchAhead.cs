using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// Batches of consecutive steps, built on a thread of their own while the device works: at most so many wait, and they come in the order of the
/// steps. For CUDA they wait in page-locked memory, from which the device copies without the host.
/// </summary>
/// <remarks>
/// TorchSharp's dispose scopes and counts of tensors belong to a thread, so no tensor object crosses: the builder gives native handles away, and the
/// taker makes tensors of its own from them. A source's failure is thrown where its batch is taken, as if it had been built there.
/// </remarks>
internal sealed class BatchAhead : IDisposable
{
    private readonly object gate = new();
    private readonly Queue<Built> ready = new();
    private readonly IBatchSource source;
    private readonly long end;
    private readonly int most;
    private readonly bool pins;
    private readonly Thread builder;
    private long next;
    private bool stopped;

    /// <summary>Starts to build.</summary>
    /// <param name="source">What builds; its batches are pure functions of the step.</param>
    /// <param name="first">The first step.</param>
    /// <param name="end">The step after the last one.</param>
    /// <param name="most">The most batches that wait, at least 1.</param>
    /// <param name="pins">Whether they wait in page-locked memory; only where there is CUDA.</param>
    public BatchAhead(IBatchSource source, long first, long end, int most, bool pins)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentOutOfRangeException.ThrowIfLessThan(most, 1);
        (this.source, next, this.end, this.most, this.pins) = (source, first, end, most, pins);
        // Background: a source that never returns must not keep the process alive.
        builder = new Thread(() => Build(first)) { IsBackground = true, Name = "batches ahead" };
        builder.Start();
    }

    /// <summary>The batch of the next step, for which it waits; the caller disposes it.</summary>
    /// <param name="step">The step, one after the last that was taken.</param>
    public Batch Take(long step)
    {
        if (step != next || step >= end)
            throw new InvalidOperationException(
                $"Batches are taken in order: the next one is that of step {next} of {end}, not of step {step}."
            );
        Built built;
        lock (gate)
        {
            while (ready.Count == 0)
                Monitor.Wait(gate);
            built = ready.Peek();
            if (built.Failure is null) // a failure stays, for whoever asks again
            {
                ready.Dequeue();
                next++;
            }
            Monitor.PulseAll(gate);
        }
        built.Failure?.Throw();
        return built.ToBatch();
    }

    /// <summary>Stops the builder after the batch it is at, and frees what was not taken.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            stopped = true;
            Monitor.PulseAll(gate);
        }
        builder.Join();
        foreach (var built in ready)
            built.ToBatch().Dispose();
        ready.Clear();
    }

    [SuppressMessage(
        "Design",
        "CA1031",
        Justification = "Every failure of the source goes to the thread that asks for the batch."
    )]
    private void Build(long first)
    {
        for (long step = first; step < end; step++)
        {
            lock (gate)
            {
                while (!stopped && ready.Count >= most)
                    Monitor.Wait(gate);
                if (stopped)
                    return;
            }
            Built built;
            try
            {
                built = Make(step);
            }
            catch (Exception failure)
            {
                built = new([], [], ExceptionDispatchInfo.Capture(failure));
            }
            lock (gate)
            {
                ready.Enqueue(built); // also when stopped: Dispose waits for this thread and then frees all
                Monitor.PulseAll(gate);
            }
            if (built.Failure is not null)
                return;
        }
    }

    private Built Make(long step)
    {
        // A source may leave what it made on the way to the scope of its caller, as it does in the training's own thread.
        using var scope = NewDisposeScope();
        using var host = source.BatchAt(step);
        using var pinned = pins ? host.Pin() : null;
        var batch = pinned ?? host;
        return new(
            [.. batch.Names.Select(name => (name, batch[name].alias().DecoupleFromNativeHandle()))],
            [.. batch.HostNames],
            null
        );
    }

    private sealed record Built((string Name, nint Handle)[] Parts, string[] HostNames, ExceptionDispatchInfo? Failure)
    {
        public Batch ToBatch()
        {
            var batch = new Batch([.. Parts.Select(part => (part.Name, Tensor.UnsafeCreateTensor(part.Handle)))]);
            foreach (string name in HostNames)
                batch.KeepOnHost(name);
            return batch;
        }
    }
}
