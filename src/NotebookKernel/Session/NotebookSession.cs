using System.Collections.Concurrent;
using System.Text;
using System.Text.RegularExpressions;
using AttentionDistillation.Notebooks;
using AttentionDistillation.Runtime;
using FSharp.Compiler.Diagnostics;
using FSharp.Compiler.Interactive;
using Microsoft.FSharp.Core;

namespace NotebookKernel.Session;

/// <summary>
/// An F# session that evaluates cells one after another and tells what they do by events. It knows nothing of files, terminals or
/// messages: the head-less runner and a live front both stand on it.
/// </summary>
/// <remarks>
/// A process holds one session at a time: it takes over the console, <see cref="Display.Sink"/> and <see cref="Progress"/>.
/// Cells run on a thread of the session's own with a deep stack, so that the caller stays free to show progress and to stop.
/// </remarks>
public sealed partial class NotebookSession : IDisposable
{
    // Recursive code in cells, and the F# compiler on long expressions, need more than the default 8 MB.
    private const int StackBytes = 256 * 1024 * 1024;

    // Plotly.NET has a type HTML of its own, which would hide ours from all later cells.
    private const string CellsModule = "AttentionDistillation.Notebooks.Cells";

    private readonly string folder;
    private readonly OutputRouter router = new();
    private readonly LiveProgress liveProgress = new();
    private readonly BlockingCollection<Action> work = [];
    private readonly Thread thread;
    private readonly CompilerChatter chatter;
    private readonly TaskCompletionSource<Shell.FsiEvaluationSession> created = new(
        TaskCreationOptions.RunContinuationsAsynchronously
    );
    private readonly IProgressSink? terminalProgress;
    private readonly IDisplaySink? formerSink = Display.Sink;
    private readonly IProgressSink? formerProgress = Progress.Sink;
    private readonly string formerFolder = Directory.GetCurrentDirectory();

    /// <summary>Starts a session; the compiler loads in the background until the first cell needs it.</summary>
    /// <param name="folder">The notebook's folder: the current directory of its cells, against which <c>#load</c> and <c>#r</c> resolve.</param>
    /// <param name="terminalProgress">Who else shows progress of trainings, beside the cell; may be null.</param>
    /// <exception cref="DirectoryNotFoundException">The folder does not exist.</exception>
    public NotebookSession(string folder, IProgressSink? terminalProgress = null)
    {
        this.folder = Path.GetFullPath(folder);
        Directory.SetCurrentDirectory(this.folder);
        this.terminalProgress = terminalProgress;
        chatter = new CompilerChatter(router);
        Display.Sink = new Sink(router);
        Display.Prepare = Formatters.register;
        Progress.Sink = new Both(liveProgress, terminalProgress);
        thread = new Thread(Work, StackBytes) { IsBackground = true, Name = "F# session" };
        thread.Start();
    }

    /// <summary>Evaluates a cell.</summary>
    /// <param name="cell">The cell's number, which error reports carry.</param>
    /// <param name="code">F# code; may be empty.</param>
    /// <param name="observer">Hears what the cell does, on the session's thread or whichever thread writes output; one call at a time.</param>
    /// <returns>How it ended; never faults for an error of the cell, which is an event.</returns>
    public Task<CellStatus> RunAsync(int cell, string code, Action<CellEvent> observer)
    {
        ArgumentNullException.ThrowIfNull(code);
        ArgumentNullException.ThrowIfNull(observer);
        var ended = new TaskCompletionSource<CellStatus>(TaskCreationOptions.RunContinuationsAsynchronously);
        work.Add(() =>
        {
            try
            {
                ended.SetResult(Evaluate(cell, code, observer));
            }
            catch (Exception error)
            {
                ended.SetException(error);
            }
        });
        return ended.Task;
    }

    /// <summary>Ends the session and gives the console back. A cell that still runs is left to its background thread.</summary>
    public void Dispose()
    {
        work.CompleteAdding();
        router.Dispose();
        Display.Sink = formerSink;
        Progress.Sink = formerProgress;
        Directory.SetCurrentDirectory(formerFolder);
        if (created.Task.IsCompletedSuccessfully && thread.Join(TimeSpan.Zero))
            ((IDisposable)created.Task.Result).Dispose();
    }

    private void Work()
    {
        try
        {
            created.SetResult(FSharpHost.Create(folder, chatter));
        }
        catch (Exception error)
        {
            created.SetException(error);
        }
        foreach (var job in work.GetConsumingEnumerable())
            job();
    }

    private CellStatus Evaluate(int cell, string code, Action<CellEvent> observer)
    {
        liveProgress.Reset();
        router.Attach(observer);
        try
        {
            var status = EvaluateCore(cell, code);
            liveProgress.Flush();
            return status;
        }
        finally
        {
            router.Attach(null);
        }
    }

    private CellStatus EvaluateCore(int cell, string code)
    {
        if (string.IsNullOrWhiteSpace(code))
            return CellStatus.Done;
        try
        {
            var session = created.Task.GetAwaiter().GetResult();
            var (outcome, diagnostics) = session.EvalInteractionNonThrowing(code, ErrorReports.CellFile(folder, cell), null);
            foreach (var warning in diagnostics.Where(each => each.Severity.IsWarning))
                router.Write(StreamText.Error, ErrorReports.Warning(warning, folder) + "\n");
            if (OpensPlotly().IsMatch(code))
                _ = session.EvalInteractionNonThrowing($"open {CellsModule}", null);
            // A parse error that the compiler recovers from comes back as success without a value: the cell did not run.
            if (outcome.IsChoice1Of2 && diagnostics.Any(each => each.Severity.IsError))
                return Fail(cell, code, new InvalidOperationException("The cell does not compile."), diagnostics);
            switch (outcome)
            {
                case FSharpChoice<FSharpOption<Shell.FsiValue>, Exception>.Choice1Of2 { Item: { } value }:
                    ShowResult(value.Value);
                    return CellStatus.Done;
                case FSharpChoice<FSharpOption<Shell.FsiValue>, Exception>.Choice2Of2 { Item: var thrown }:
                    return Fail(cell, code, thrown, diagnostics);
                default:
                    return CellStatus.Done;
            }
        }
        catch (Exception error)
        {
            return Fail(cell, code, error, []);
        }
    }

    private void ShowResult(Shell.FsiValue value)
    {
        object? shown = AsyncValues.Await(value.ReflectionValue, value.ReflectionType);
        if (shown is Unit || value.ReflectionType == typeof(Unit) || shown is DisplayHandle)
            return;
        if (shown is null && value.ReflectionType == typeof(void))
            return;
        router.Send(new ResultValue(Display.Bundle(shown)));
    }

    private CellStatus Fail(int cell, string code, Exception thrown, FSharpDiagnostic[] diagnostics)
    {
        var error = ErrorReports.Unwrap(thrown);
        if (error is OperationCanceledException && Interruption.Requested)
        {
            router.Send(new CellFailed("Interrupted", error.Message, [error.Message], null));
            return CellStatus.Interrupted;
        }
        var errors = diagnostics.Where(each => each.Severity.IsError).ToList();
        router.Send(
            errors.Count > 0 ? ErrorReports.Compile(cell, code, errors, folder) : ErrorReports.Thrown(cell, error, folder)
        );
        return CellStatus.Failed;
    }

    [GeneratedRegex(@"^\s*open\s+Plotly\.NET\s*$", RegexOptions.Multiline)]
    private static partial Regex OpensPlotly();

    private sealed class Sink(OutputRouter router) : IDisplaySink
    {
        public void Display(string id, IReadOnlyDictionary<string, string> bundle) => router.Send(new Displayed(id, bundle));

        public void Update(string id, IReadOnlyDictionary<string, string> bundle) => router.Send(new DisplayUpdated(id, bundle));
    }

    private sealed class Both(IProgressSink cell, IProgressSink? terminal) : IProgressSink
    {
        public void Report(ProgressState state)
        {
            cell.Report(state);
            terminal?.Report(state);
        }
    }
}

/// <summary>
/// What the compiler itself prints. Most of it (the echo of every definition) is noise in a notebook; the times that <c>#time</c> asks for are not.
/// </summary>
internal sealed class CompilerChatter(OutputRouter router) : TextWriter
{
    private const string TimePrefix = "Real: ";
    private readonly StringBuilder line = new();

    public override Encoding Encoding => Encoding.UTF8;

    public override void Write(char value)
    {
        if (value != '\n')
        {
            line.Append(value);
            return;
        }
        string text = line.ToString();
        line.Clear();
        if (text.StartsWith(TimePrefix, StringComparison.Ordinal))
            router.Write(StreamText.Out, text + "\n");
    }
}
