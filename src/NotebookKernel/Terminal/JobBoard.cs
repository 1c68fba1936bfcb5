using System.Diagnostics;
using NotebookKernel.Running;
using Spectre.Console;

namespace NotebookKernel.Terminal;

/// <summary>Shows several notebooks at once: a line for each that runs, and a table at the end.</summary>
internal sealed class JobBoard : IDisposable
{
    private static readonly TimeSpan RedrawInterval = TimeSpan.FromMilliseconds(150);
    private const int BarWidth = 12;

    private readonly Lock gate = new();
    private readonly TextWriter terminal = Console.Out;
    private readonly bool live = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") is not "dumb";
    private readonly Ansi ansi = Ansi.For(Console.IsOutputRedirected);
    private readonly LiveBlock block;
    private readonly Timer? timer;
    private readonly Dictionary<string, (JobMessage Last, Stopwatch Clock)> running = [];
    private readonly int width;

    internal JobBoard(IReadOnlyList<string> notebooks)
    {
        width = notebooks.Max(notebook => Path.GetFileName(notebook).Length);
        block = new LiveBlock(terminal);
        if (live)
            timer = new Timer(_ => Redraw([]), null, RedrawInterval, RedrawInterval);
    }

    internal void Told(string notebook, JobMessage message)
    {
        lock (gate)
        {
            bool known = running.TryGetValue(notebook, out var job);
            running[notebook] = (message, known ? job.Clock : Stopwatch.StartNew());
            if (!live && (!known || job.Last.Cell != message.Cell) && message.Report is null && message.Cell > 0)
            {
                terminal.WriteLine($"{Path.GetFileName(notebook).PadRight(width)}  cell {message.Cell}/{message.Cells}");
                terminal.Flush();
            }
        }
    }

    internal void Ended(string notebook, RunReport report)
    {
        lock (gate)
        {
            running.Remove(notebook);
            string mark = report.Status switch
            {
                RunStatus.Done => ansi.Green("✓"),
                RunStatus.Interrupted => ansi.Yellow("■"),
                _ => ansi.Red("✗"),
            };
            string[] lines =
            [
                $"{mark} {report.Notebook.PadRight(width)}  {report.CellsRun}/{report.CellsTotal} cells  {Ansi.Duration(TimeSpan.FromSeconds(report.Seconds))}",
                .. report.Error.Select(line => "    " + line),
            ];
            if (live)
            {
                Redraw(lines);
                return;
            }
            foreach (string line in lines)
                terminal.WriteLine(line);
            terminal.Flush();
        }
    }

    internal void Stopping() => Print(ansi.Yellow("stopping all notebooks and saving; Ctrl-C again stops at once"));

    /// <summary>The table at the end.</summary>
    internal static void Summarise(IReadOnlyList<RunReport> reports)
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach (string head in (string[])["Notebook", "Status", "Cells", "Time", "Output"])
            table.AddColumn(new TableColumn(head) { NoWrap = head != "Output" });
        foreach (var report in reports)
            table.AddRow(
                new Text(report.Notebook),
                report.Status switch
                {
                    RunStatus.Done => new Markup("[green]done[/]"),
                    RunStatus.Failed => new Markup("[red]failed[/]"),
                    RunStatus.TimedOut => new Markup("[red]out of time[/]"),
                    _ => new Markup("[yellow]interrupted[/]"),
                },
                new Text($"{report.CellsRun}/{report.CellsTotal}"),
                new Text(Ansi.Duration(TimeSpan.FromSeconds(report.Seconds))),
                new Text(report.Output is null ? "—" : TerminalView.Relative(report.Output))
            );
        Tables.Write(table);
    }

    private void Print(string line)
    {
        lock (gate)
            if (live)
                Redraw([line]);
            else
                terminal.WriteLine(line);
    }

    private void Redraw(string[] above)
    {
        lock (gate)
        {
            var lines = running
                .OrderBy(job => job.Key, StringComparer.Ordinal)
                .Select(job =>
                {
                    var (last, clock) = job.Value;
                    string name = Path.GetFileName(job.Key).PadRight(width);
                    int full = (int)Math.Round((last.Share ?? 0) * BarWidth);
                    string bar = last.Share is null
                        ? new string(' ', BarWidth)
                        : ansi.Cyan(new string('━', full)) + ansi.Dim(new string('─', BarWidth - full));
                    string place = $"{last.Cell}/{last.Cells}";
                    int room = Math.Max(10, LiveBlock.Width - width - BarWidth - 28);
                    return $"  {name} {place, 7} {ansi.Dim(Ansi.Duration(clock.Elapsed).PadLeft(9))} {bar} {ansi.Dim(Ansi.Fit(last.Line, room))}";
                })
                .ToList();
            block.Draw(above, lines);
        }
    }

    public void Dispose()
    {
        timer?.Dispose();
        lock (gate)
            if (live)
                block.Draw([], []);
    }
}
