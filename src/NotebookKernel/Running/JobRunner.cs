using System.Diagnostics;
using System.Text;
using NotebookKernel.Terminal;

namespace NotebookKernel.Running;

/// <summary>Runs several notebooks, each in a process of its own (so that a crash of native code costs one notebook), some at a time.</summary>
/// <param name="jobs">How many at a time.</param>
/// <param name="arguments">The options of <c>run</c> that every child gets.</param>
internal sealed class JobRunner(int jobs, IReadOnlyList<string> arguments)
{
    /// <summary>The environment variable that makes <c>run</c> a child of another: it then talks JSON and stops when its input says so or ends.</summary>
    internal const string ChildVariable = "RESEARCH_JOB";

    private const int KeptErrorLines = 12;
    private readonly List<Process> children = [];
    private readonly Lock gate = new();
    private int stops;

    /// <summary>Runs them all.</summary>
    /// <param name="notebooks">Absolute paths.</param>
    /// <param name="board">Shows them.</param>
    /// <returns>The reports in the order of the notebooks.</returns>
    internal async Task<IReadOnlyList<RunReport>> RunAsync(IReadOnlyList<string> notebooks, JobBoard board)
    {
        using var places = new SemaphoreSlim(jobs);
        return await Task.WhenAll(notebooks.Select(OneAsync)).ConfigureAwait(false);

        async Task<RunReport> OneAsync(string notebook)
        {
            await places.WaitAsync().ConfigureAwait(false);
            try
            {
                var report =
                    Volatile.Read(ref stops) > 0 ? NotRun(notebook) : await RunOneAsync(notebook, board).ConfigureAwait(false);
                board.Ended(notebook, report);
                return report;
            }
            finally
            {
                places.Release();
            }
        }
    }

    /// <summary>Asks every child to stop; a second time, at once.</summary>
    internal void Stop()
    {
        Interlocked.Increment(ref stops);
        lock (gate)
            foreach (var child in children)
                try
                {
                    child.StandardInput.WriteLine("stop");
                    child.StandardInput.Flush();
                }
                catch (Exception error) when (error is IOException or InvalidOperationException)
                {
                    // It has ended by itself.
                }
    }

    private async Task<RunReport> RunOneAsync(string notebook, JobBoard board)
    {
        var clock = Stopwatch.StartNew();
        using var child = new Process { StartInfo = StartInfo(notebook, arguments) };
        RunReport? report = null;
        int cell = 0,
            cells = 0;
        var errors = new Queue<string>();
        child.OutputDataReceived += (_, line) =>
        {
            if (line.Data is null || JobMessage.Parse(line.Data) is not { } message)
                return;
            (cell, cells) = (message.Cell, message.Cells);
            report = message.Report ?? report;
            board.Told(notebook, message);
        };
        child.ErrorDataReceived += (_, line) =>
        {
            if (string.IsNullOrWhiteSpace(line.Data))
                return;
            lock (errors)
            {
                errors.Enqueue(line.Data);
                if (errors.Count > KeptErrorLines)
                    errors.Dequeue();
            }
        };
        child.Start();
        lock (gate)
            children.Add(child);
        child.BeginOutputReadLine();
        child.BeginErrorReadLine();
        await child.WaitForExitAsync().ConfigureAwait(false);
        lock (gate)
            children.Remove(child);
        if (report is not null)
            return report;
        string where = cell > 0 ? $" in cell {cell}" : "";
        lock (errors)
            return new RunReport(
                Path.GetFileName(notebook),
                RunStatus.Failed,
                Math.Max(0, cell - 1),
                cells,
                clock.Elapsed.TotalSeconds,
                null,
                null,
                [$"The process ended{where} with exit code {child.ExitCode}; nothing was saved.", .. errors]
            );
    }

    /// <summary>How a child is started, whose input, output and errors are this process's.</summary>
    internal static ProcessStartInfo StartInfo(string notebook, IReadOnlyList<string> arguments)
    {
        string program =
            Environment.ProcessPath ?? throw new InvalidOperationException("The program does not know its own path.");
        var start = new ProcessStartInfo(program)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
        };
        // Started as 'dotnet NotebookKernel.dll', the process is dotnet.
        if (Path.GetFileNameWithoutExtension(program).Equals("dotnet", StringComparison.OrdinalIgnoreCase))
            start.ArgumentList.Add(typeof(JobRunner).Assembly.Location);
        foreach (string argument in (string[])["run", notebook, .. arguments])
            start.ArgumentList.Add(argument);
        start.Environment[ChildVariable] = "1";
        // libtorch's threads wait for each other by spinning, which takes the cores from the other notebooks' threads: three processes on two
        // cores ran 2.7 times faster with threads that sleep. Numbers do not depend on it, as they would on fewer threads.
        start.Environment.TryAdd("OMP_WAIT_POLICY", "passive");
        return start;
    }

    private static RunReport NotRun(string notebook) =>
        new(Path.GetFileName(notebook), RunStatus.Interrupted, 0, 0, 0, null, null, ["Not started."]);
}
