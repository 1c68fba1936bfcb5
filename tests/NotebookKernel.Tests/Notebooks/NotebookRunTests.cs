using System.Text.Json.Nodes;

namespace NotebookKernel.Tests.Notebooks;

/// <summary>Every notebook of the repository runs head-less at Smoke, every cell, without an error.</summary>
public sealed class NotebookRunTests
{
    private const int LargestOutput = 1024 * 1024;

    private static string Folder
    {
        get
        {
            var folder = new DirectoryInfo(AppContext.BaseDirectory);
            while (!File.Exists(Path.Combine(folder.FullName, "Research.sln")))
                folder = folder.Parent ?? throw new DirectoryNotFoundException("The tests do not lie in the repository.");
            return Path.Combine(folder.FullName, "notebooks");
        }
    }

    public static IEnumerable<TheoryDataRow<string>> Notebooks =>
        Directory
            .EnumerateFiles(Folder, "*.ipynb")
            .Select(file => Path.GetFileName(file))
            .Order(StringComparer.Ordinal)
            .Select(name => new TheoryDataRow<string>(name));

    [Theory(SkipTestWithoutData = true)]
    [Trait("Kind", "Notebook")]
    [MemberData(nameof(Notebooks))]
    public async Task Runs_at_smoke(string name)
    {
        using var output = new TemporaryFolder();
        string input = Path.Combine(Folder, name);
        var result = await ResearchProcess.RunAsync(Folder, "run", input, "--scale", "smoke", "--output", output.Path);
        Assert.True(result.ExitCode == 0, result.Out + result.Error);
        string executed = output.File(name);
        Executed.AssertValid(executed);
        var cells = Executed.CodeCells(executed).Where(cell => !IsMarkdown(cell)).ToList();
        Assert.NotEmpty(cells);
        Assert.Equal(Enumerable.Range(1, cells.Count), cells.Select(cell => (int)cell["execution_count"]!));
        var outputs = cells.SelectMany(Executed.Outputs).ToList();
        Assert.NotEmpty(outputs);
        foreach (var each in outputs)
        {
            Assert.NotEqual("error", (string?)each["output_type"]);
            Assert.True(each.ToJsonString().Length <= LargestOutput, $"an output of {name} is above 1 MB");
        }
    }

    private static bool IsMarkdown(JsonObject cell) =>
        Executed.Text(cell["source"]).TrimStart().StartsWith("#!markdown", StringComparison.Ordinal);
}
