using System.Globalization;

namespace NotebookKernel.Tests.Cli;

/// <summary><c>research run --workers N</c>: processes that share the cells of one notebook's ablation.</summary>
public sealed class WorkerTests : IDisposable
{
    // Each cell writes a line (name, seed, process) and takes a while, so that no process is done before the others begin.
    private const string Study = """
        #r "AttentionDistillation.dll"
        open System
        open System.IO
        open AttentionDistillation.Experiments
        open AttentionDistillation.Runtime
        let lines = Path.Combine(Environment.CurrentDirectory, "lines")
        Directory.CreateDirectory lines |> ignore
        let cell variant (seed: int64) : System.Collections.Generic.IReadOnlyDictionary<string, float> =
            File.WriteAllText(Path.Combine(lines, string (Guid.NewGuid())), $"{variant} {seed} {Environment.ProcessId}")
            Threading.Thread.Sleep 1500
            dict [ "score", float seed ] |> System.Collections.Generic.Dictionary :> _
        let options = AblationOptions(CacheFolder = Path.Combine(Environment.CurrentDirectory, "cells"))
        let result = Ablation("shared", RunSettings.FromEnvironment(), options).Run([ "a"; "b"; "c" ], [ 1L .. 5L ], cell)
        printfn "%d cells, mean of b %.1f" result.Cells.Count (result.Summary("b", "score").Mean)
        """;

    private readonly TemporaryFolder folder = new();

    [Fact]
    public async Task Workers_share_the_cells_and_leave_one_notebook()
    {
        folder.Notebook("a.ipynb", Study, "File.AppendAllText(Path.Combine(lines, \"..\", \"ended\"), \"once \")");
        var result = await ResearchProcess.RunAsync(
            folder.Path,
            "run",
            "a.ipynb",
            "--scale",
            "smoke",
            "--device",
            "cpu",
            "--workers",
            "3",
            "--output",
            "out"
        );
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        Assert.Contains("15 cells, mean of b 3.0", File.ReadAllText(folder.File("out/a.ipynb")));
        string[][] computed = [.. Directory.GetFiles(folder.File("lines")).Select(file => File.ReadAllText(file).Split(' '))];
        Assert.Equal(15, computed.Length); // each cell once
        Assert.Equal(15, computed.Select(line => (line[0], line[1])).Distinct().Count());
        Assert.True(computed.Select(line => line[2]).Distinct().Count() > 1, "One process computed everything.");
        Assert.Equal("once ", File.ReadAllText(folder.File("ended"))); // workers go no further than the ablation
        Assert.Equal(["a.ipynb"], Directory.GetFiles(folder.File("out")).Select(Path.GetFileName));
        Assert.Empty(Directory.GetFiles(folder.File("cells"), "*.claim", SearchOption.AllDirectories));
        foreach (string process in computed.Select(line => line[2]).Distinct())
            Assert.False(
                Directory.Exists($"/proc/{int.Parse(process, CultureInfo.InvariantCulture)}"),
                $"Process {process} still runs."
            );
    }

    [Theory]
    [InlineData("0")]
    [InlineData("two")]
    public async Task A_number_of_workers_that_is_none_is_refused(string count)
    {
        folder.Notebook("a.ipynb", "1");
        var result = await ResearchProcess.RunAsync(folder.Path, "run", "a.ipynb", "--workers", count, "--output", "out");
        Assert.Equal(2, result.ExitCode);
        Assert.Contains($"--workers is '{count}'", result.Error);
        Assert.False(Directory.Exists(folder.File("out")));
    }

    public void Dispose() => folder.Dispose();
}
