using System.Text.Json.Nodes;

namespace NotebookKernel.Tests.Jupyter;

/// <summary><c>kernel install</c>, <c>uninstall</c> and <c>list</c>.</summary>
[Trait("Kind", "Jupyter")]
public sealed class KernelSpecTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    private string Spec(string name) => folder.File($"share/jupyter/kernels/{name}");

    private Task<ResearchProcess.Result> RunAsync(params string[] arguments) =>
        ResearchProcess.RunAsync(folder.Path, ["kernel", .. arguments]);

    [Fact]
    public async Task Install_writes_a_kernel_that_starts_this_build_from_anywhere()
    {
        for (int time = 0; time < 2; time++) // a second time it renews what it wrote
            Assert.Equal(0, (await RunAsync("install", "--prefix", folder.Path)).ExitCode);
        var spec = JsonNode.Parse(File.ReadAllText(Path.Combine(Spec(".net-fsharp"), "kernel.json")))!;
        Assert.Equal(("F#", "message"), ((string?)spec["language"], (string?)spec["interrupt_mode"]));
        var arguments = spec["argv"]!.AsArray().Select(each => (string)each!).ToList();
        Assert.True(Path.IsPathFullyQualified(arguments[0]) && File.Exists(arguments[0]));
        Assert.Equal(JupyterClients.Kernel, arguments[1]);
        Assert.Equal("{connection_file}", arguments[^1]);
        Assert.Equal(
            ["kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"],
            Directory.GetFiles(Spec(".net-fsharp")).Select(Path.GetFileName).Order(StringComparer.Ordinal)
        );
        Assert.Single(Directory.GetDirectories(folder.File("share/jupyter/kernels")));
    }

    [Fact]
    public async Task Another_programs_kernel_is_left_alone_without_force()
    {
        Directory.CreateDirectory(Spec("other"));
        File.WriteAllText(Path.Combine(Spec("other"), "kernel.json"), """{"argv": ["x"], "language": "F#"}""");
        foreach (string verb in (string[])["install", "uninstall"])
        {
            var refused = await RunAsync(verb, "--prefix", folder.Path, "--name", "other");
            Assert.Equal(2, refused.ExitCode);
            Assert.Contains("--force", refused.Error);
            Assert.Contains("\"x\"", File.ReadAllText(Path.Combine(Spec("other"), "kernel.json")));
        }
        Assert.Equal(0, (await RunAsync("install", "--prefix", folder.Path, "--name", "other", "--force")).ExitCode);
        Assert.Contains("connection_file", File.ReadAllText(Path.Combine(Spec("other"), "kernel.json")));
        Assert.Equal(0, (await RunAsync("uninstall", "--prefix", folder.Path, "--name", "other")).ExitCode);
        Assert.False(Directory.Exists(Spec("other")));
    }

    [Theory]
    [InlineData("install", "--name", "../outside")]
    [InlineData("install", "--name", "..")]
    [InlineData("install", "--user", "--prefix", "x")]
    [InlineData("uninstall", "--prefix", "nowhere")]
    [InlineData("run", "--connection-file", "nowhere.json")]
    public async Task Bad_input_is_one_clear_line(params string[] arguments)
    {
        var result = await RunAsync(arguments);
        Assert.Equal(2, result.ExitCode);
        Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith("research: ", result.Error);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    public void Dispose() => folder.Dispose();
}
