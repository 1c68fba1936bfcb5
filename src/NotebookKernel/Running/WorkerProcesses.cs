using System.Diagnostics;
using System.Globalization;
using AttentionDistillation.Experiments;
using AttentionDistillation.Runtime;

namespace NotebookKernel.Running;

/// <summary>
/// Processes that run the same notebook beside this one and compute cells of its ablations (<see cref="Ablation"/> shares them over the cache). What else they
/// make of the notebook is thrown away.
/// </summary>
internal sealed class WorkerProcesses : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);
    private readonly List<Worker> workers = [];
    private readonly string outputs = Directory.CreateTempSubdirectory("research-workers-").FullName;

    private sealed record Worker(int Number, Process Process)
    {
        internal string LastError { get; set; } = "";
    }

    /// <summary>Starts them; scale and device travel in the environment.</summary>
    /// <param name="notebook">The notebook, an absolute path.</param>
    /// <param name="count">How many.</param>
    internal WorkerProcesses(string notebook, int count)
    {
        for (int number = 1; number <= count; number++)
        {
            string output = Path.Combine(outputs, number.ToString(CultureInfo.InvariantCulture));
            var start = JobRunner.StartInfo(notebook, ["--output", output]);
            start.Environment[Ablation.WorkerVariable] = "1";
            var worker = new Worker(number, new Process { StartInfo = start });
            worker.Process.OutputDataReceived += (_, _) => { }; // read, so that it never blocks
            worker.Process.ErrorDataReceived += (_, line) =>
                worker.LastError = string.IsNullOrWhiteSpace(line.Data) ? worker.LastError : line.Data;
            worker.Process.Start();
            worker.Process.BeginOutputReadLine();
            worker.Process.BeginErrorReadLine();
            workers.Add(worker);
        }
    }

    /// <summary>Workers whose process crashed, in words; their cells were computed by the others.</summary>
    internal IEnumerable<string> Crashes() =>
        workers
            .Where(worker =>
                worker.Process.HasExited
                && worker.Process.ExitCode is not (ExitCodes.Success or ExitCodes.Failed or ExitCodes.Interrupted)
            )
            .Select(worker =>
                $"Worker {worker.Number} ended with exit code {worker.Process.ExitCode}: {worker.LastError} Its cells were computed by the others."
            );

    /// <summary>Ends those that still run. A worker stops when its input ends; one that does not is killed.</summary>
    public void Dispose()
    {
        foreach (var worker in workers)
            worker.Process.StandardInput.Close();
        var clock = Stopwatch.StartNew();
        foreach (var worker in workers)
        {
            var left = Patience - clock.Elapsed;
            if (!worker.Process.WaitForExit(left > TimeSpan.Zero ? left : TimeSpan.Zero))
                worker.Process.Kill(entireProcessTree: true);
            worker.Process.Dispose();
        }
        workers.Clear();
        try
        {
            if (Directory.Exists(outputs))
                Directory.Delete(outputs, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // A killed worker may hold a file for a moment; the folder is a temporary one.
        }
    }
}
