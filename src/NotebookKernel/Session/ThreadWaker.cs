namespace NotebookKernel.Session;

/// <summary>
/// Wakes a thread that sleeps or waits when it must be broken off: an abort alone takes effect only once the thread runs again. Made and
/// disposed on the thread itself.
/// </summary>
internal sealed class ThreadWaker : IDisposable
{
    // The abort comes first; a thread that runs needs no waking.
    private static readonly TimeSpan Delay = TimeSpan.FromMilliseconds(100);
    private readonly Lock gate = new();
    private readonly Thread thread;
    private CancellationTokenRegistration registration;
    private bool over;

    /// <summary>Watches a thread from <see cref="Arm"/> on.</summary>
    internal ThreadWaker(Thread thread) => this.thread = thread;

    /// <summary>
    /// Begins to watch. Called inside the abortable action: what is registered last is told first, and the abort, registered before, keeps
    /// its caller until it has taken effect.
    /// </summary>
    internal void Arm(CancellationToken abort) =>
        registration = abort.Register(() =>
            _ = Task.Delay(Delay, CancellationToken.None).ContinueWith(_ => Wake(), TaskScheduler.Default)
        );

    private void Wake()
    {
        lock (gate)
            if (!over)
                thread.Interrupt();
    }

    /// <summary>Ends the watch, and takes up a waking that came too late to meet a wait.</summary>
    public void Dispose()
    {
        registration.Dispose();
        try
        {
            lock (gate)
                over = true;
            Thread.Sleep(TimeSpan.Zero);
        }
        catch (ThreadInterruptedException)
        {
            over = true;
        }
    }
}
