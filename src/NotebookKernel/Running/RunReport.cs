namespace NotebookKernel.Running;

/// <summary>How a notebook's run ended.</summary>
public enum RunStatus
{
    /// <summary>Every cell ran.</summary>
    Done,

    /// <summary>A cell failed, or the notebook could not be saved.</summary>
    Failed,

    /// <summary>It ran out of time.</summary>
    TimedOut,

    /// <summary>The user stopped it.</summary>
    Interrupted,
}

/// <summary>What a run of a notebook came to.</summary>
/// <param name="Notebook">The notebook's file name.</param>
/// <param name="Status">How it ended.</param>
/// <param name="CellsRun">Code cells that ran to their end.</param>
/// <param name="CellsTotal">Code cells in all.</param>
/// <param name="Seconds">Wall time from the start of the program's work on it.</param>
/// <param name="Output">Where the executed notebook lies; null where nothing was saved.</param>
/// <param name="Page">Where the HTML page lies, if one was asked for.</param>
/// <param name="Error">What went wrong, line by line; empty when nothing did.</param>
public sealed record RunReport(
    string Notebook,
    RunStatus Status,
    int CellsRun,
    int CellsTotal,
    double Seconds,
    string? Output,
    string? Page,
    IReadOnlyList<string> Error
);

/// <summary>What the program returns to the shell.</summary>
public static class ExitCodes
{
    /// <summary>All is well.</summary>
    public const int Success = 0;

    /// <summary>A notebook failed.</summary>
    public const int Failed = 1;

    /// <summary>The command line or an input file is at fault; nothing was run.</summary>
    public const int BadInput = 2;

    /// <summary>Stopped by Ctrl-C or SIGTERM: 128 + SIGINT, as shells have it.</summary>
    public const int Interrupted = 130;

    /// <summary>The code for a run's end.</summary>
    public static int Of(RunStatus status) =>
        status switch
        {
            RunStatus.Done => Success,
            RunStatus.Interrupted => Interrupted,
            _ => Failed,
        };
}
