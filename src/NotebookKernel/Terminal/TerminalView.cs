using System.Diagnostics;
using AttentionDistillation.Runtime;
using NotebookKernel.Documents;
using NotebookKernel.Running;
using NotebookKernel.Session;

namespace NotebookKernel.Terminal;

/// <summary>
/// Shows one notebook's run. On a terminal, the running cell with its last line of output and live bars stand at the bottom and finished
/// cells scroll up; in a log, there is a line for each cell and, every few seconds, one of progress.
/// </summary>
internal sealed class TerminalView : IRunView
{
    private static readonly TimeSpan RedrawInterval = TimeSpan.FromMilliseconds(120);
    private static readonly TimeSpan LogInterval = TimeSpan.FromSeconds(5);
    private const int MostBars = 8;
    private static readonly string[] Spinner = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

    private readonly Lock gate = new();
    private readonly TextWriter terminal = Console.Out;
    private readonly bool live;
    private readonly Ansi ansi;
    private readonly LiveBlock block;
    private readonly Timer? timer;
    private readonly List<ProgressState> tasks = [];
    private readonly Stopwatch whole = Stopwatch.StartNew();
    private readonly Stopwatch sinceLog = Stopwatch.StartNew();
    private Stopwatch cellClock = new();
    private int number;
    private int cells;
    private string lastLine = "";
    private bool running;
    private bool stopping;
    private int frame;

    internal TerminalView()
    {
        live = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") is not "dumb";
        ansi = Ansi.For(Console.IsOutputRedirected);
        block = new LiveBlock(terminal);
        if (live)
            timer = new Timer(_ => Redraw([]), null, RedrawInterval, RedrawInterval);
    }

    public void NotebookStarted(string name, string title, Provenance provenance, int cells)
    {
        lock (gate)
        {
            this.cells = cells;
            string shownTitle = title == name ? "" : $"  {title}";
            string setting = $"scale {provenance.Scale} · device {provenance.Device} · {Ansi.Count(cells, "cell")}";
            Print($"{ansi.Bold(name)}{shownTitle}", $"  {ansi.Dim(setting)}");
        }
    }

    public void CellStarted(int number, int cells, NotebookCell cell)
    {
        lock (gate)
        {
            (this.number, running, cellClock) = (number, true, Stopwatch.StartNew());
            tasks.Clear();
            lastLine = FirstLine(cell.Source);
        }
    }

    public void Happened(CellEvent happened)
    {
        string? line = happened switch
        {
            StreamText { Name: StreamText.Out } text => Ansi.LastLine(text.Text),
            ResultValue { Bundle: var bundle } => Shown(bundle),
            Displayed { Bundle: var bundle } => Shown(bundle),
            DisplayUpdated { Bundle: var bundle } => Shown(bundle),
            _ => null,
        };
        if (line is not null)
            lock (gate)
                lastLine = line;
    }

    public void CellEnded(CellStatus status, TimeSpan elapsed)
    {
        lock (gate)
        {
            running = false;
            string mark = status switch
            {
                CellStatus.Done => ansi.Green("✓"),
                CellStatus.Failed => ansi.Red("✗"),
                _ => ansi.Yellow("■"),
            };
            Print($"  {mark} {Place} {ansi.Dim(Ansi.Duration(elapsed).PadLeft(9))}  {Ansi.Fit(lastLine, Room)}");
            tasks.Clear();
        }
    }

    public void Stopping()
    {
        lock (gate)
        {
            stopping = true;
            Print($"  {ansi.Yellow("■")} stopping at the end of this step and saving; Ctrl-C again stops at once");
        }
    }

    public void Report(ProgressState state)
    {
        lock (gate)
        {
            int known = tasks.FindIndex(task => task.Id == state.Id);
            if (known < 0)
                tasks.Add(state);
            else
                tasks[known] = state;
            if (live || sinceLog.Elapsed < LogInterval)
                return;
            sinceLog.Restart();
            terminal.WriteLine(ProgressBars.Line(state));
            terminal.Flush();
        }
    }

    public void NotebookEnded(RunReport report)
    {
        lock (gate)
        {
            running = false;
            Print([.. Summary(report, ansi)]);
        }
    }

    /// <summary>How a notebook ended, in a few lines.</summary>
    internal static IEnumerable<string> Summary(RunReport report, Ansi ansi)
    {
        string time = Ansi.Duration(TimeSpan.FromSeconds(report.Seconds));
        foreach (var (index, line) in report.Error.Index())
            yield return "  " + (index == 0 ? ansi.Red(line) : line);
        yield return report.Status switch
        {
            RunStatus.Done => ansi.Green($"Done: {Ansi.Count(report.CellsTotal, "cell")} in {time}."),
            RunStatus.Failed => ansi.Red($"Failed after {report.CellsRun} of {report.CellsTotal} cells, {time}."),
            RunStatus.TimedOut => ansi.Red($"Out of time after {report.CellsRun} of {report.CellsTotal} cells, {time}."),
            _ => ansi.Yellow($"Interrupted after {report.CellsRun} of {report.CellsTotal} cells, {time}."),
        };
        if (report.Output is not null)
            yield return $"  notebook  {Relative(report.Output)}";
        if (report.Page is not null)
            yield return $"  page      {Relative(report.Page)}";
    }

    /// <summary>A path as the user would type it.</summary>
    internal static string Relative(string path)
    {
        string relative = Path.GetRelativePath(StartFolder, path);
        return relative.StartsWith("..", StringComparison.Ordinal) ? path : relative;
    }

    // A session changes the current directory; paths shown are seen from where the program was started.
    internal static string StartFolder { get; } = Directory.GetCurrentDirectory();

    private string Place => $"{number.ToString().PadLeft(cells.ToString().Length)}/{cells}";

    private int Room => live ? Math.Max(10, LiveBlock.Width - 2 * cells.ToString().Length - 20) : 160;

    private void Print(params string[] lines)
    {
        if (live)
        {
            Redraw(lines);
            return;
        }
        foreach (string line in lines)
            terminal.WriteLine(line);
        terminal.Flush();
    }

    private void Redraw(string[] above)
    {
        lock (gate)
        {
            var lines = new List<string>();
            if (running)
            {
                string spin = stopping ? ansi.Yellow("■") : ansi.Cyan(Spinner[frame++ % Spinner.Length]);
                lines.Add(
                    $"  {spin} {Place} {ansi.Dim(Ansi.Duration(cellClock.Elapsed).PadLeft(9))}  {Ansi.Fit(lastLine, Room)}"
                );
                lines.AddRange(
                    tasks
                        .Where(task => !task.Finished)
                        .TakeLast(MostBars)
                        .Select(task => ProgressBars.Bar(task, ansi, LiveBlock.Width))
                );
                lines.Add(ansi.Dim($"    {Ansi.Duration(whole.Elapsed)} in all"));
            }
            block.Draw(above, lines);
        }
    }

    private static string? Shown(IReadOnlyDictionary<string, string> bundle) =>
        bundle.TryGetValue("text/plain", out string? text) ? Ansi.LastLine(text) : null;

    private static string FirstLine(string source) =>
        source.Split('\n').Select(line => line.Trim()).FirstOrDefault(line => line.Length > 0) ?? "";

    public void Dispose() => timer?.Dispose();
}
