using System.Collections.Concurrent;
using AttentionDistillation.Runtime;

namespace NotebookKernel.Jupyter;

/// <summary>
/// Stops the running cell: politely at first, so that a training ends after a step with its state whole. A cell that trains nothing and
/// does not stop within a second, or a second interrupt, breaks it off where it stands.
/// </summary>
internal sealed class CellInterrupter : IProgressSink
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    private readonly Lock gate = new();
    private CancellationTokenSource? running;
    private readonly ConcurrentDictionary<Guid, byte> tasks = [];
    private bool asked;

    /// <summary>Takes note that a cell begins.</summary>
    /// <returns>Cancelled when the cell must be broken off.</returns>
    internal CancellationToken Begin()
    {
        lock (gate)
        {
            Interruption.Clear();
            tasks.Clear();
            asked = false;
            running = new CancellationTokenSource();
            return running.Token;
        }
    }

    /// <summary>Takes note that it ended.</summary>
    internal void End()
    {
        lock (gate)
        {
            running = null;
            Interruption.Clear();
        }
    }

    /// <summary>Stops the running cell; does nothing between cells.</summary>
    internal void Interrupt()
    {
        CancellationTokenSource cell;
        bool again;
        lock (gate)
        {
            if (running is null)
                return;
            cell = running;
            (again, asked) = (asked, true);
            Interruption.Request();
        }
        if (again)
            Abort(cell);
        else
            _ = Task.Delay(Patience).ContinueWith(_ => AbortUnlessTraining(cell), TaskScheduler.Default);
    }

    /// <inheritdoc/>
    public void Report(ProgressState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        if (state.Finished)
            tasks.TryRemove(state.Id, out _);
        else
            tasks[state.Id] = 0;
    }

    private void AbortUnlessTraining(CancellationTokenSource cell)
    {
        // A request that came while the cell was only beginning may have been forgotten with those of the cell before.
        lock (gate)
            if (ReferenceEquals(running, cell))
                Interruption.Request();

        // Tasks under way look for the request themselves, at their next step.
        if (tasks.IsEmpty)
            Abort(cell);
    }

    private void Abort(CancellationTokenSource cell)
    {
        lock (gate)
            if (!ReferenceEquals(running, cell))
                return;
        _ = Task.Run(cell.Cancel); // it returns only when the cell has ended, and the caller serves other requests
    }
}
