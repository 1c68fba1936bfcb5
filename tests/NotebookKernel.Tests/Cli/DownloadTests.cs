using AttentionDistillation.Tests.Models.Downloads;

namespace NotebookKernel.Tests.Cli;

/// <summary>The command <c>download</c> against a hub on this machine.</summary>
public sealed class DownloadTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly HubServer server = new();

    public DownloadTests()
    {
        server.Files["config.json"] = "{}"u8.ToArray();
        server.Files["model.safetensors"] = new byte[300_000];
        server.Files["pytorch_model.bin"] = [1];
        server.Large.Add("model.safetensors");
    }

    public void Dispose()
    {
        server.Dispose();
        folder.Dispose();
    }

    [Fact]
    public async Task The_model_arrives_in_the_folder_and_the_last_line_says_where()
    {
        var result = await Run(HubServer.Repository, "--output", "here");
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        Assert.Contains(HubServer.Commit, result.Out);
        Assert.Contains("2 files", result.Out);
        Assert.Contains(folder.File("here"), result.Out);
        Assert.Equal(300_000, new FileInfo(folder.File("here/model.safetensors")).Length);
        Assert.False(File.Exists(folder.File("here/pytorch_model.bin")));
        Assert.Equal("Bearer hf_of_the_environment", server.Requests[0].Header("Authorization"));
        Assert.Contains("all there already", (await Run(HubServer.Repository, "-o", "here")).Out);
    }

    [Fact]
    public async Task Patterns_choose_and_the_cache_is_the_default_place()
    {
        Assert.Equal(0, (await Run(HubServer.Repository, "--include", "*.bin", "--include", "c*")).ExitCode);
        string[] names =
        [
            .. Directory
                .EnumerateFiles(folder.File("cache/models/owner--name"))
                .Select(path => Path.GetFileName(path)!)
                .Order(StringComparer.Ordinal),
        ];
        Assert.Equal([".download.json", "config.json", "pytorch_model.bin"], names);
    }

    [Theory]
    [InlineData(1, "owner/name --revision v9", "no revision 'v9'")]
    [InlineData(1, "owner/other", "not found")]
    [InlineData(2, "not//a/name", "is no repository")]
    [InlineData(2, "owner/name --all --include *.json", "exclude each other")]
    [InlineData(1, "owner/name --include *.gguf", "pytorch_model.bin")]
    public async Task What_cannot_be_is_said_in_one_line(int exitCode, string arguments, string says)
    {
        var result = await Run([.. arguments.Split(' '), "--output", "here"]);
        Assert.Equal(exitCode, result.ExitCode);
        string line = Assert.Single(result.Error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("research: ", line);
        Assert.Contains(says, line);
        Assert.False(Directory.Exists(folder.File("here")));
    }

    [Fact]
    public async Task Ctrl_C_stops_and_the_next_call_goes_on()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "It sends a Unix signal.");
        using var reached = new ManualResetEventSlim();
        server.Fault = request =>
        {
            if (!request.Path.EndsWith("/model.safetensors", StringComparison.Ordinal))
                return null;
            reached.Set();
            return new HubServer.Answer(200, new byte[300_000]) { Pause = TimeSpan.FromMinutes(2) };
        };
        using var process = Start(HubServer.Repository, "--output", "here");
        Assert.True(reached.Wait(TimeSpan.FromMinutes(2), TestContext.Current.CancellationToken));
        // The small file is on its way at the same time. Without it whole, the next call would rightly ask for it again.
        bool IsWhole() => Directory.EnumerateFiles(folder.Path, "config.json", SearchOption.AllDirectories).Any();
        Assert.True(await Eventually(IsWhole, TimeSpan.FromMinutes(1)), "config.json did not arrive beside the large file.");
        System.Diagnostics.Process.Start("kill", ["-INT", $"{process.Id}"]).WaitForExit();
        var result = await ResearchProcess.FinishAsync(process);
        Assert.Equal(130, result.ExitCode);
        Assert.Empty(Directory.EnumerateFiles(folder.File("here")));
        server.Fault = null;
        Assert.Equal(0, (await Run(HubServer.Repository, "--output", "here")).ExitCode);
        Assert.Equal(1, server.Count("config.json"));
    }

    private static async Task<bool> Eventually(Func<bool> holds, TimeSpan atMost)
    {
        var watch = System.Diagnostics.Stopwatch.StartNew();
        while (!holds())
        {
            if (watch.Elapsed > atMost)
                return false;
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
        return true;
    }

    private Task<ResearchProcess.Result> Run(params string[] arguments) => ResearchProcess.FinishAsync(Start(arguments));

    private System.Diagnostics.Process Start(params string[] arguments) =>
        ResearchProcess.Start(
            folder.Path,
            new()
            {
                ["HF_ENDPOINT"] = server.Address.ToString(),
                ["HF_TOKEN"] = "hf_of_the_environment",
                ["HF_HUB_OFFLINE"] = "0",
                ["RESEARCH_CACHE"] = folder.File("cache"),
            },
            ["download", .. arguments]
        );
}
