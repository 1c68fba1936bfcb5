namespace NotebookKernel.Tests.Cli;

/// <summary>Whatever is wrong with the command line or a file: one line on the error stream, exit code 2, nothing written.</summary>
public sealed class BadInputTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public BadInputTests()
    {
        folder.Notebook("good.ipynb", "1");
        folder.Notebook("csharp.ipynb", "1", "#!csharp\nvar x = 1;");
        File.WriteAllText(folder.File("broken.ipynb"), "{ not json");
        File.WriteAllText(folder.File("other.json"), "{\"a\": 1}");
        File.WriteAllText(folder.File("old.ipynb"), """{"worksheets":[],"metadata":{},"nbformat":3,"nbformat_minor":0}""");
        File.WriteAllText(folder.File("file"), "");
        Directory.CreateDirectory(folder.File("sub"));
    }

    public static TheoryData<string, string> Cases =>
        new()
        {
            { "run missing.ipynb", "There is no file" },
            { "run sub", "is a folder" },
            { "run broken.ipynb", "is not JSON" },
            { "run other.json", "not a Jupyter notebook" },
            { "run old.ipynb", "nbformat 3" },
            { "run csharp.ipynb", "code cell 2 is C#" },
            { "run good.ipynb csharp.ipynb", "code cell 2 is C#" },
            { "run nothing-*.ipynb", "No file matches" },
            { "run", "FILE" },
            { "run good.ipynb --colour", "--colour" },
            { "run good.ipynb --scale huge", "Use smoke, small or large" },
            { "run good.ipynb --device tpu", "Use cpu, cuda or cuda:N" },
            { "run good.ipynb --jobs 0", "--jobs is '0'" },
            { "run good.ipynb --jobs two", "--jobs is 'two'" },
            { "run good.ipynb --timeout 0", "--timeout is '0'" },
            { "run good.ipynb --timeout soon", "--timeout is 'soon'" },
            { "run good.ipynb --output file/below", "cannot be written" },
            { "run good.ipynb sub/../good.ipynb --output file", "cannot be written" },
            { "frobnicate", "frobnicate" },
            { "list", "inside the repository" },
        };

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task One_line_and_exit_code_2(string arguments, string says)
    {
        var before = Files();
        var result = await ResearchProcess.RunAsync(folder.Path, arguments.Split(' '));
        Assert.Equal(2, result.ExitCode);
        Assert.Equal("", result.Out);
        string line = Assert.Single(result.Error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("research: ", line);
        Assert.Contains(says, line);
        Assert.Equal(before, Files());
    }

    private string[] Files() => [.. Directory.EnumerateFileSystemEntries(folder.Path, "*", SearchOption.AllDirectories).Order()];

    public void Dispose() => folder.Dispose();
}
