using System.Collections.Concurrent;
using System.Runtime;
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
    private Action<CellEvent>? between;

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
    /// <param name="input">What the cell reads from standard input; null for nothing.</param>
    /// <param name="abort">
    /// Breaks the cell off wherever it stands, for a cell that does not heed <see cref="Interruption"/>. It may leave a half-made change in
    /// objects that the cell was working on; earlier definitions live on.
    /// </param>
    /// <returns>How it ended; never faults for an error of the cell, which is an event.</returns>
    public Task<CellStatus> RunAsync(
        int cell,
        string code,
        Action<CellEvent> observer,
        TextReader? input = null,
        CancellationToken abort = default
    )
    {
        ArgumentNullException.ThrowIfNull(code);
        ArgumentNullException.ThrowIfNull(observer);
        return Enqueue(() => Evaluate(cell, code, observer, input, abort));
    }

    /// <summary>Evaluates an expression beside the cells, without a cell number or outputs of its own.</summary>
    /// <returns>A <see cref="ResultValue"/>, or the <see cref="CellFailed"/> that says why there is none.</returns>
    public Task<CellEvent> EvaluateAsync(string expression)
    {
        ArgumentNullException.ThrowIfNull(expression);
        return Enqueue(() => EvaluateExpression(expression));
    }

    /// <summary>Asks the compiler something between cells: what it would complete, what a name means.</summary>
    internal Task<T> AskAsync<T>(Func<Shell.FsiEvaluationSession, T> question) =>
        Enqueue(() => question(created.Task.GetAwaiter().GetResult()));

    /// <summary>Hears what happens while no cell runs, for example work that a cell left running in the background; null sends text to the console.</summary>
    internal Action<CellEvent>? Between
    {
        get => between;
        set
        {
            between = value;
            router.Attach(value);
        }
    }

    private Task<T> Enqueue<T>(Func<T> job)
    {
        var ended = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        work.Add(() =>
        {
            try
            {
                ended.SetResult(job());
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

    private CellStatus Evaluate(int cell, string code, Action<CellEvent> observer, TextReader? input, CancellationToken abort)
    {
        liveProgress.Reset();
        router.Attach(observer, input);
        try
        {
            var status = abort.CanBeCanceled ? EvaluateAbortably(cell, code, abort) : EvaluateCore(cell, code);
            liveProgress.Flush();
            return status;
        }
        finally
        {
            router.Attach(between);
        }
    }

    private CellStatus EvaluateAbortably(int cell, string code, CancellationToken abort)
    {
        var status = CellStatus.Done;
        using var waker = new ThreadWaker(thread);
        try
        {
            // Obsolete because an abort can leave any code half done. It is the last resort for a cell that heeds nothing else, and the
            // alternative is a killed process with all its state lost.
#pragma warning disable SYSLIB0046
            ControlledExecution.Run(
                () =>
                {
                    waker.Arm(abort);
                    status = EvaluateCore(cell, code);
                },
                abort
            );
#pragma warning restore SYSLIB0046
        }
        catch (Exception error)
            when (abort.IsCancellationRequested && error is OperationCanceledException or ThreadInterruptedException)
        {
            const string Message = "Interrupted: broken off in the middle of the cell.";
            router.Send(new CellFailed("Interrupted", Message, [Message], null));
            return CellStatus.Interrupted;
        }
        return status;
    }

    private CellEvent EvaluateExpression(string expression)
    {
        try
        {
            var session = created.Task.GetAwaiter().GetResult();
            var (outcome, diagnostics) = session.EvalExpressionNonThrowing(expression, ErrorReports.CellFile(folder, 0));
            if (outcome is FSharpChoice<FSharpOption<Shell.FsiValue>, Exception>.Choice1Of2 { Item: { } value })
                return new ResultValue(
                    Display.Bundle(AsyncValues.Await(value.Value.ReflectionValue, value.Value.ReflectionType))
                );
            var errors = diagnostics.Where(each => each.Severity.IsError).ToList();
            if (errors.Count > 0)
                return ErrorReports.Compile(0, expression, errors, folder);
            return outcome is FSharpChoice<FSharpOption<Shell.FsiValue>, Exception>.Choice2Of2 { Item: var thrown }
                ? ErrorReports.Thrown(0, thrown, folder)
                : new ResultValue(Display.Bundle(null));
        }
        catch (Exception error)
        {
            return ErrorReports.Thrown(0, error, folder);
        }
    }

    private CellStatus EvaluateCore(int cell, string code)
    {
        if (string.IsNullOrWhiteSpace(code))
            return CellStatus.Done;
        try
        {
            var session = created.Task.GetAwaiter().GetResult();
            var status = CellStatus.Done;
            foreach (string part in Interactions.Split(code))
                if (status == CellStatus.Done)
                    status = EvaluatePart(session, cell, code, part);
            if (OpensPlotly().IsMatch(code))
                _ = session.EvalInteractionNonThrowing($"open {CellsModule}", null);
            return status;
        }
        catch (Exception error)
        {
            return Fail(cell, code, error, []);
        }
    }

    private CellStatus EvaluatePart(Shell.FsiEvaluationSession session, int cell, string code, string part)
    {
        var (outcome, diagnostics) = session.EvalInteractionNonThrowing(part, ErrorReports.CellFile(folder, cell), null);
        foreach (var warning in diagnostics.Where(each => each.Severity.IsWarning))
            router.Write(StreamText.Error, ErrorReports.Warning(warning, folder) + "\n");
        switch (outcome)
        {
            case FSharpChoice<FSharpOption<Shell.FsiValue>, Exception>.Choice2Of2 { Item: var thrown }:
                return Fail(cell, code, thrown, diagnostics);
            // The parser's errors come without an exception.
            case var _ when diagnostics.Any(each => each.Severity.IsError):
                return Fail(cell, code, new FormatException("The cell does not parse."), diagnostics);
            case FSharpChoice<FSharpOption<Shell.FsiValue>, Exception>.Choice1Of2 { Item: { } value }:
                ShowResult(value.Value);
                return CellStatus.Done;
            default:
                return CellStatus.Done;
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
