using System.Diagnostics;
using System.Globalization;
using AttentionDistillation.Runtime;
using NotebookKernel.Documents;
using NotebookKernel.Html;
using NotebookKernel.Session;

namespace NotebookKernel.Running;

/// <summary>Where a run reads and writes.</summary>
/// <param name="Input">The notebook, an absolute path.</param>
/// <param name="OutputFolder">The folder for the executed notebook, an absolute path.</param>
/// <param name="Html">Whether to write a self-contained page beside it.</param>
public sealed record RunFiles(string Input, string OutputFolder, bool Html)
{
    /// <summary>The executed notebook's path.</summary>
    public string Output => Path.Combine(OutputFolder, Path.GetFileName(Input));

    /// <summary>The page's path.</summary>
    public string Page => Path.ChangeExtension(Output, ".html");
}

/// <summary>Runs a notebook head-less: cell after cell until the end, an error or a stop, and saves what there is in every case.</summary>
public sealed class NotebookRunner(
    NotebookDocument document,
    RunFiles files,
    Provenance provenance,
    IRunView view,
    StopControl stop
)
{
    private readonly OutputRecorder recorder = new();
    private readonly Stopwatch clock = Stopwatch.StartNew();
    private int finishedCells;
    private IReadOnlyList<string> error = [];

    /// <summary>Runs it.</summary>
    /// <param name="session">A fresh session in the notebook's folder.</param>
    /// <returns>What came of it. After a firm stop the cell's thread may still run: end the process.</returns>
    public async Task<RunReport> RunAsync(NotebookSession session)
    {
        ArgumentNullException.ThrowIfNull(session);
        document.PrepareForRun();
        var cells = document.Cells.Where(cell => cell.Kind == CellKind.Code).ToList();
        view.NotebookStarted(document.Name, document.Title, provenance, cells.Count);
        stop.Requested += view.Stopping;
        var status = RunStatus.Done;
        foreach (var (index, cell) in cells.Index())
        {
            status = await RunCellAsync(session, cell, index + 1, cells.Count).ConfigureAwait(false);
            if (status != RunStatus.Done)
                break;
            finishedCells++;
        }
        stop.Requested -= view.Stopping;
        var report = Save(status, cells.Count);
        view.NotebookEnded(report);
        return report;
    }

    private async Task<RunStatus> RunCellAsync(NotebookSession session, NotebookCell cell, int number, int total)
    {
        if (StatusOfStop() is { } before)
            return before;
        var started = clock.Elapsed;
        recorder.Begin(cell, number);
        view.CellStarted(number, total, cell);
        var run = session.RunAsync(number, cell.Code, Happened);
        await Task.WhenAny(run, stop.Firm).ConfigureAwait(false);
        var took = clock.Elapsed - started;
        if (!run.IsCompleted)
        {
            Record(new CellFailed(stop.TimedOut ? "Timeout" : "Interrupted", StopMessage(number), [StopMessage(number)], null));
            error = [StopMessage(number)];
            view.CellEnded(CellStatus.Interrupted, took);
            return stop.TimedOut ? RunStatus.TimedOut : RunStatus.Interrupted;
        }
        var status = await run.ConfigureAwait(false);
        view.CellEnded(status, took);
        if (status == CellStatus.Interrupted)
            error = [StopMessage(number)];
        return status switch
        {
            CellStatus.Failed => RunStatus.Failed,
            CellStatus.Interrupted => StatusOfStop() ?? RunStatus.Interrupted,
            _ => StatusOfStop() is { } stopped && number < total ? stopped : RunStatus.Done,
        };

        void Happened(CellEvent happened)
        {
            if (happened is CellFailed failed)
                error = failed.Name == "Interrupted" ? error : Report(failed, number);
            Record(
                happened is CellFailed { Name: "Interrupted" } polite && stop.TimedOut
                    ? polite with
                    {
                        Name = "Timeout",
                        Message = StopMessage(number),
                        Traceback = [StopMessage(number)],
                    }
                    : happened
            );
        }
    }

    private void Record(CellEvent happened)
    {
        recorder.Record(happened);
        view.Happened(happened);
    }

    private RunStatus? StatusOfStop() =>
        stop.TimedOut ? RunStatus.TimedOut
        : stop.Stopped ? RunStatus.Interrupted
        : null;

    private string StopMessage(int number) =>
        stop is { TimedOut: true, Timeout: { } limit }
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"Stopped in cell {number}: the time limit of {limit.TotalSeconds:0.#} s has passed."
            )
            : $"Interrupted in cell {number}.";

    private static List<string> Report(CellFailed failed, int number)
    {
        string line = failed.Line is { } at ? $", line {at}" : "";
        string what = failed.Name == ErrorReports.CompileErrorName ? "does not compile" : "failed";
        return [$"Cell {number}{line} {what}.", .. failed.Traceback];
    }

    private RunReport Save(RunStatus status, int total)
    {
        string? page = null;
        try
        {
            recorder.Locked(() =>
            {
                document.Research = provenance.ToJson(clock.Elapsed);
                Directory.CreateDirectory(files.OutputFolder);
                document.Write(files.Output);
                if (files.Html)
                {
                    AtomicFile.WriteText(files.Page, HtmlPage.Render(document, Path.GetDirectoryName(files.Input)!));
                    page = files.Page;
                }
            });
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            error = [.. error, $"The executed notebook cannot be saved to '{files.OutputFolder}': {failure.Message}"];
            return new RunReport(
                document.Name,
                RunStatus.Failed,
                finishedCells,
                total,
                clock.Elapsed.TotalSeconds,
                null,
                null,
                error
            );
        }
        return new RunReport(document.Name, status, finishedCells, total, clock.Elapsed.TotalSeconds, files.Output, page, error);
    }
}
