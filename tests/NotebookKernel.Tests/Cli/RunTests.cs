using System.Diagnostics;

namespace NotebookKernel.Tests.Cli;

public sealed class RunTests : IDisposable
{
    // Ends a step every few milliseconds for minutes, so that only a stop ends it.
    private const string Training = """
        printfn "training"
        for step in 1 .. 100000 do
            AttentionDistillation.Runtime.Interruption.ThrowIfRequested()
            System.Threading.Thread.Sleep 5
        """;

    private readonly TemporaryFolder folder = new();

    [Fact]
    public async Task A_run_writes_a_valid_notebook_and_a_page_and_leaves_the_input_alone()
    {
        string input = folder.Notebook(
            "a.ipynb",
            "let x = 2\nprintfn \"x is %d\" x",
            "open Plotly.NET\n\nChart.Line([ 1, x; 2, 3 ])"
        );
        string before = File.ReadAllText(input);
        var result = await ResearchProcess.RunAsync(
            folder.Path,
            "run",
            "a.ipynb",
            "--scale",
            "smoke",
            "--output",
            "out",
            "--html"
        );
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        Assert.Contains("2/2", result.Out);
        Assert.Contains("x is 2", result.Out);
        Assert.Equal(before, File.ReadAllText(input));

        string output = folder.File("out/a.ipynb");
        Executed.AssertValid(output);
        var notebook = Executed.Read(output);
        var research = notebook["metadata"]!["research"]!;
        Assert.Equal(("smoke", "cpu"), ((string?)research["scale"], (string?)research["device"]));
        Assert.EndsWith("Z", (string?)research["date"]);
        Assert.Equal("fsharp", (string?)notebook["metadata"]!["polyglot_notebook"]!["kernelInfo"]!["defaultKernelName"]);
        var cells = Executed.CodeCells(output);
        Assert.Equal([1, 2], cells.Select(cell => (int)cell["execution_count"]!));
        Assert.NotNull(Executed.Outputs(cells[1])[0]["data"]!["application/vnd.plotly.v1+json"]!["layout"]);
        Assert.Equal(["a.html", "a.ipynb"], Directory.GetFiles(folder.File("out")).Select(Path.GetFileName).Order());

        string page = File.ReadAllText(folder.File("out/a.html"));
        Assert.Equal(1, page.Split("plotly.js v").Length - 1);
        Assert.DoesNotContain("src=\"http", page);
        Assert.Contains("x is 2", page);
    }

    [Fact]
    public async Task A_failing_cell_stops_the_run_and_what_ran_is_kept()
    {
        folder.Notebook("a.ipynb", "printfn \"fine\"", "let n = 1\nfailwith \"on purpose\" |> ignore<int>", "printfn \"never\"");
        var result = await ResearchProcess.RunAsync(folder.Path, "run", "a.ipynb", "--output", ".");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Cell 2, line 2 failed.", result.Out);
        Assert.Contains("on purpose", result.Out);
        Executed.AssertValid(folder.File("a.ipynb"));
        var cells = Executed.CodeCells(folder.File("a.ipynb"));
        var error = Executed.Outputs(cells[1]).Last();
        Assert.Equal(("error", "on purpose"), ((string?)error["output_type"], (string?)error["evalue"]));
        Assert.DoesNotContain(folder.Path, error.ToJsonString());
        Assert.Null(cells[2]["execution_count"]);
        Assert.Empty(Executed.Outputs(cells[2]));
    }

    [Fact]
    public async Task An_interrupt_saves_the_notebook_so_far()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() || OperatingSystem.IsMacOS(), "Signals are sent by the 'kill' of Unix.");
        folder.Notebook("a.ipynb", "1", Training, "3");
        using var process = ResearchProcess.Start(folder.Path, "run", "a.ipynb", "--output", "out");
        // The first cell's line shows that the run is under way; the second starts at once.
        while (
            await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line && !line.Contains("1/3")
        ) { }
        await Task.Delay(500, TestContext.Current.CancellationToken);
        using (var kill = Process.Start("kill", ["-INT", process.Id.ToString()]))
            await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
        var result = await ResearchProcess.FinishAsync(process);
        Assert.Equal(130, result.ExitCode);
        Executed.AssertValid(folder.File("out/a.ipynb"));
        var cells = Executed.CodeCells(folder.File("out/a.ipynb"));
        Assert.Single(Executed.Outputs(cells[0]));
        Assert.Equal("Interrupted", (string?)Executed.Outputs(cells[1]).Last()["ename"]);
        Assert.Null(cells[2]["execution_count"]);
    }

    [Fact]
    public async Task Time_running_out_stops_even_a_cell_that_does_not_listen()
    {
        folder.Notebook("a.ipynb", "printfn \"deaf\"\nwhile true do System.Threading.Thread.Sleep 10");
        var result = await ResearchProcess.RunAsync(folder.Path, "run", "a.ipynb", "--output", "out", "--timeout", "6");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("Out of time", result.Out);
        Executed.AssertValid(folder.File("out/a.ipynb"));
        Assert.Equal("Timeout", (string?)Executed.Outputs(Executed.CodeCells(folder.File("out/a.ipynb"))[0]).Last()["ename"]);
    }

    [Fact]
    public async Task Several_notebooks_run_in_processes_of_their_own()
    {
        folder.Notebook("one.ipynb", "System.Environment.ProcessId");
        folder.Notebook("two.ipynb", "System.Environment.Exit 7");
        var result = await ResearchProcess.RunAsync(folder.Path, "run", "*.ipynb", "--jobs", "2", "--output", "out");
        Assert.Equal(1, result.ExitCode);
        Assert.Matches(@"one\.ipynb\s+done\s+1/1", result.Out);
        Assert.Matches(@"two\.ipynb\s+failed", result.Out);
        Assert.Contains("exit code 7", result.Out);
        Assert.True(File.Exists(folder.File("out/one.ipynb")));
    }

    [Fact]
    public async Task Help_names_every_command_and_option()
    {
        var root = await ResearchProcess.RunAsync(folder.Path, "--help");
        Assert.Equal(0, root.ExitCode);
        foreach (string word in (string[])["research run", "list", "--version", "Examples"])
            Assert.Contains(word, root.Out);
        var run = await ResearchProcess.RunAsync(folder.Path, "run", "--help");
        foreach (string option in (string[])["--scale", "--device", "--output", "--html", "--jobs", "--timeout", "Exit code"])
            Assert.Contains(option, run.Out);
    }

    public void Dispose() => folder.Dispose();
}
