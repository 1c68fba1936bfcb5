using System.Diagnostics;
using AttentionDistillation.Runtime;
using NotebookKernel.Documents;
using NotebookKernel.Session;
using NotebookKernel.Terminal;

namespace NotebookKernel.Running;

/// <summary>The view of a child process: tells its parent, several times a second at most.</summary>
internal sealed class JobView(TextWriter parent) : IRunView
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(200);
    private readonly Lock gate = new();
    private readonly Stopwatch sinceLast = Stopwatch.StartNew();
    private int cell;
    private int cells;

    public void NotebookStarted(string name, string title, Provenance provenance, int cells)
    {
        this.cells = cells;
        Tell(title, null, always: true);
    }

    public void CellStarted(int number, int cells, NotebookCell cell)
    {
        this.cell = number;
        string line = cell.Source.Split('\n').FirstOrDefault(each => !string.IsNullOrWhiteSpace(each)) ?? "";
        Tell(line, null, always: true);
    }

    public void Happened(CellEvent happened)
    {
        if (happened is StreamText text && Ansi.LastLine(text.Text) is { } line)
            Tell(line, null, always: false);
    }

    public void CellEnded(CellStatus status, TimeSpan elapsed) { }

    public void Stopping() => Tell("stopping", null, always: true);

    public void Report(ProgressState state) =>
        Tell(
            state.Message.Length > 0 ? $"{state.Label} · {state.Message}" : state.Label,
            state.Total > 0 ? (double)state.Done / state.Total : null,
            always: false
        );

    public void NotebookEnded(RunReport report) => Send(new JobMessage(cell, cells, "", null, report));

    public void Dispose() { }

    private void Tell(string line, double? share, bool always)
    {
        lock (gate)
        {
            if (!always && sinceLast.Elapsed < Interval)
                return;
            sinceLast.Restart();
            Send(new JobMessage(cell, cells, line, share, null));
        }
    }

    private void Send(JobMessage message)
    {
        lock (gate)
        {
            parent.WriteLine(message.ToJson());
            parent.Flush();
        }
    }
}
