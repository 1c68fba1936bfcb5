using System.Runtime.InteropServices;
using AttentionDistillation.Runtime;

namespace NotebookKernel.Running;

/// <summary>
/// Stops a run politely, then firmly: the first request lets the running step end, the second gives up on the cell. Ctrl-C and SIGTERM are
/// requests, so is running out of time.
/// </summary>
public sealed class StopControl : IDisposable
{
    /// <summary>How long a cell may take to stop once its time is up.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(5);

    private readonly List<PosixSignalRegistration> signals = [];
    private readonly TaskCompletionSource firm = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Timer? timeLimit;
    private int requests;

    /// <summary>Starts to listen.</summary>
    /// <param name="signals">Whether Ctrl-C and SIGTERM are requests.</param>
    /// <param name="timeout">The time after which the run is stopped; null for none.</param>
    public StopControl(bool signals, TimeSpan? timeout)
    {
        Interruption.Clear();
        Timeout = timeout;
        if (signals)
            foreach (var signal in (PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM])
                this.signals.Add(
                    PosixSignalRegistration.Create(
                        signal,
                        context =>
                        {
                            context.Cancel = true;
                            Request();
                        }
                    )
                );
        if (timeout is { } limit)
            timeLimit = new Timer(_ => TimeIsUp(), null, limit, System.Threading.Timeout.InfiniteTimeSpan);
    }

    /// <summary>Raised at the first request of a user.</summary>
    public event Action? Requested;

    /// <summary>The time limit, if any.</summary>
    public TimeSpan? Timeout { get; }

    /// <summary>True once the time limit has passed.</summary>
    public bool TimedOut { get; private set; }

    /// <summary>True once a user asked to stop.</summary>
    public bool Stopped => Volatile.Read(ref requests) > 0;

    /// <summary>Completes when the run must be given up, whatever the cell does.</summary>
    public Task Firm => firm.Task;

    /// <summary>Asks to stop; a second time, to stop at once.</summary>
    public void Request()
    {
        if (Interlocked.Increment(ref requests) > 1)
        {
            firm.TrySetResult();
            return;
        }
        Interruption.Request();
        Requested?.Invoke();
    }

    private void TimeIsUp()
    {
        TimedOut = true;
        Interruption.Request();
        Thread.Sleep(Grace);
        firm.TrySetResult();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        timeLimit?.Dispose();
        foreach (var signal in signals)
            signal.Dispose();
    }
}
