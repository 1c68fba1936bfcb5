using System.Diagnostics;

namespace AttentionDistillation.Runtime;

/// <summary>Where a long task stands.</summary>
/// <param name="Id">The task's identity, the same in all its reports.</param>
/// <param name="Label">What is being done, for example <c>teacher · seed 0</c>.</param>
/// <param name="Done">Units done.</param>
/// <param name="Total">Units in all; zero when unknown.</param>
/// <param name="Unit">What is counted: step, batch, cell.</param>
/// <param name="Message">The latest figures in words, for example <c>loss 1.23</c>; may be empty.</param>
/// <param name="Elapsed">Time since the task started.</param>
/// <param name="Finished">True in the last report.</param>
public sealed record ProgressState(
    Guid Id,
    string Label,
    long Done,
    long Total,
    string Unit,
    string Message,
    TimeSpan Elapsed,
    bool Finished
);

/// <summary>Shows progress somewhere: a terminal, a notebook cell, a test.</summary>
public interface IProgressSink
{
    /// <summary>Takes a report. Called from the training thread, at most about ten times a second a task, always for the last one.</summary>
    void Report(ProgressState state);
}

/// <summary>The one place tasks report to. A front (terminal, notebook) sets <see cref="Sink"/>; without one, reports are dropped.</summary>
public static class Progress
{
    /// <summary>Who shows progress now; null shows nothing.</summary>
    public static IProgressSink? Sink { get; set; }

    /// <summary>Starts a task.</summary>
    /// <param name="label">What is being done.</param>
    /// <param name="total">Units in all; zero when unknown.</param>
    /// <param name="unit">What is counted.</param>
    public static ProgressTask Start(string label, long total = 0, string unit = "step") => new(label, total, unit);
}

/// <summary>A task under way. Dispose ends it.</summary>
public sealed class ProgressTask : IDisposable
{
    private static readonly TimeSpan LeastInterval = TimeSpan.FromMilliseconds(100);
    private readonly Guid id = Guid.NewGuid();
    private readonly string label;
    private readonly long total;
    private readonly string unit;
    private readonly Stopwatch clock = Stopwatch.StartNew();
    private TimeSpan lastReport = -LeastInterval;
    private long done;
    private string message = "";
    private bool finished;

    internal ProgressTask(string label, long total, string unit) => (this.label, this.total, this.unit) = (label, total, unit);

    /// <summary>True when the next <see cref="Report"/> will be shown: read costly figures (a loss on the GPU) only then.</summary>
    public bool Due => Progress.Sink is not null && clock.Elapsed - lastReport >= LeastInterval;

    /// <summary>Tells how far the task is.</summary>
    /// <param name="unitsDone">Units done so far.</param>
    /// <param name="figures">The latest figures in words; null keeps the last.</param>
    public void Report(long unitsDone, string? figures = null)
    {
        done = unitsDone;
        message = figures ?? message;
        if (Due)
            Send();
    }

    /// <summary>Ends the task with a last report.</summary>
    public void Dispose()
    {
        if (finished)
            return;
        finished = true;
        Send();
    }

    private void Send()
    {
        lastReport = clock.Elapsed;
        Progress.Sink?.Report(new ProgressState(id, label, done, total, unit, message, clock.Elapsed, finished));
    }
}
