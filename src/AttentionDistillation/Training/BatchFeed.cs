using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// The batches of a training's steps, built in the step or ahead of it (<see cref="TrainingOptions.Prefetch"/>). The first one is built in its step,
/// which shows whether the source keeps to a generator of its own: one that draws from libtorch's global generator would take numbers from the steps
/// that run meanwhile.
/// </summary>
internal sealed class BatchFeed : IDisposable
{
    /// <summary>Batches that wait when the options leave it open: one for the next step, one for a source whose batches take uneven times.</summary>
    public const int DefaultAhead = 2;

    private readonly IBatchSource source;
    private readonly TrainingOptions options;
    private readonly bool onCuda;
    private BatchAhead? ahead;
    private bool decided;

    /// <summary>Feeds the steps of a training.</summary>
    /// <param name="source">The data.</param>
    /// <param name="options">How it trains.</param>
    /// <param name="device">Where it trains.</param>
    public BatchFeed(IBatchSource source, TrainingOptions options, Device device)
    {
        (this.source, this.options) = (source, options);
        onCuda = device.type == DeviceType.CUDA;
        // The CPU's cores are the step's own, and a second set of libtorch's threads would contend for them: there it is built ahead on demand only.
        int most = options.Prefetch ?? (onCuda ? DefaultAhead : 0);
        decided = most == 0;
        Most = most;
    }

    /// <summary>The most batches that wait; 0 when each is built in its step.</summary>
    public int Most { get; private set; }

    /// <summary>The batch of a step on the host; the caller disposes it. Steps are asked for one after another.</summary>
    /// <exception cref="InvalidOperationException">Batches are to be built ahead, but the source draws from the global generator.</exception>
    public Batch At(long step)
    {
        if (ahead is not null)
            return ahead.Take(step);
        if (decided)
            return source.BatchAt(step);
        decided = true;
        var (batch, draws) = Watched(step);
        if (draws && options.Prefetch is not null)
        {
            batch.Dispose();
            throw new InvalidOperationException(
                $"{options.Label}: the batch source draws from libtorch's global generator, so its batches cannot be built ahead of their steps. "
                    + "Give it a generator of its own (Seeds.Generator), or set TrainingOptions.Prefetch to 0."
            );
        }
        if (draws)
            Most = 0;
        else if (step + 1 < options.Steps)
            ahead = new BatchAhead(source, step + 1, options.Steps, Most, pins: onCuda);
        return batch;
    }

    /// <summary>Ends the building and frees the batches that wait.</summary>
    public void Dispose() => ahead?.Dispose();

    private (Batch Batch, bool Draws) Watched(long step)
    {
        using var before = get_rng_state();
        var batch = source.BatchAt(step);
        using var after = get_rng_state();
        return (batch, !before.bytes.SequenceEqual(after.bytes));
    }
}
