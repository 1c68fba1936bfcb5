using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using AttentionDistillation.Notebooks;

namespace NotebookKernel.Tests.Jupyter;

/// <summary>The classic Jupyter Notebook in a browser: run all, look at a chart, complete a name, read an error.</summary>
[Trait("Kind", "Jupyter")]
public sealed class ClassicNotebookTests : IDisposable
{
    private const string Server = "/usr/bin/jupyter-notebook";
    private const string Browser = "/usr/bin/chromium";
    private const string Node = "/usr/bin/node";
    private const string Token = "test";
    private static readonly TimeSpan StartUp = TimeSpan.FromSeconds(60);

    private readonly TemporaryFolder folder = new();

    [Fact]
    public async Task A_notebook_is_run_and_looked_at()
    {
        string playwright = Path.Combine(JupyterClients.Artifacts("npm"), "node_modules", "playwright-core");
        JupyterClients.RequireFile(Server, "Install it: apt-get install jupyter-notebook");
        JupyterClients.RequireFile(Browser, "Install it: apt-get install chromium");
        JupyterClients.RequireFile(Node, "Install it: apt-get install nodejs npm");
        JupyterClients.RequireFile(
            Path.Combine(playwright, "package.json"),
            "Install it: npm install --prefix artifacts/npm playwright-core@1.65.1"
        );
        string pictures = JupyterClients.Artifacts("jupyter");
        Directory.CreateDirectory(pictures);
        File.WriteAllText(folder.File("plotly.js"), PlotlyScript.source.Value);
        var installed = await ResearchProcess.RunAsync(folder.Path, "kernel", "install", "--prefix", folder.File("prefix"));
        Assert.True(installed.ExitCode == 0, installed.Error);
        string notebook = PrepareNotebook();

        int port = FreePort();
        using var server = StartServer(port);
        try
        {
            await WaitForAsync(port, server);
            var result = JupyterClients.Run(
                Node,
                [
                    JupyterClients.Script("classic.cjs"),
                    playwright,
                    Browser,
                    $"http://127.0.0.1:{port}",
                    Token,
                    notebook,
                    folder.File("plotly.js"),
                    pictures,
                ],
                folder.Path,
                new Dictionary<string, string> { ["HOME"] = folder.Path }
            );
            Assert.True(result.ExitCode == 0, result.Out + result.Error);
            Check(result.Out);
        }
        finally
        {
            // The server shuts its kernels down when it is asked to end politely.
            _ = JupyterClients.Run("/bin/kill", ["-TERM", $"{server.Id}"], folder.Path, new Dictionary<string, string>());
            if (!server.WaitForExit(TimeSpan.FromSeconds(10)))
                server.Kill(entireProcessTree: true);
        }
    }

    private static void Check(string lines)
    {
        var seen = lines
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonNode.Parse(line)!)
            .ToDictionary(each => (string)each["name"]!, each => each["value"]!);
        Assert.Equal(".net-fsharp", (string?)seen["kernel"]);
        Assert.True(
            (double)seen["chart"]["width"]! > 200 && (double)seen["chart"]["height"]! > 100,
            seen["chart"].ToJsonString()
        );
        Assert.Equal(0, (int)seen["errors-in-cells"]);
        Assert.True((int)seen["highlighted"] > 0, "F# is not highlighted");
        var completions = seen["completions"].AsArray().Select(each => (string)each!).ToList();
        Assert.Contains("map", completions);
        Assert.Contains("map2", completions);
        var errors = seen["error-texts"].AsArray().Select(each => (string)each!).ToList();
        Assert.Contains("FS0039", errors[0]);
        Assert.Contains("unknownName", errors[0]);
        Assert.Contains("the cell failed on purpose", errors[1]);
        Assert.Contains("line 1", errors[1]);
        Assert.Contains("mapping", (string)seen["tooltip"]!);
        Assert.Empty(seen["page-errors"].AsArray());
    }

    // The repository's first notebook where it is there, in a copy; else a small one.
    private string PrepareNotebook()
    {
        string repository = Path.GetDirectoryName(Path.GetDirectoryName(JupyterClients.Artifacts("x")))!;
        string root = folder.File("root");
        Directory.CreateDirectory(Path.Combine(root, "notebooks"));
        File.Copy(Path.Combine(repository, "Research.sln"), Path.Combine(root, "Research.sln"));
        foreach (string part in (string[])["notebooks", "data/papers", "data/vocabulary"])
        {
            Directory.CreateDirectory(Path.Combine(root, part));
            foreach (string file in Directory.EnumerateFiles(Path.Combine(repository, part)))
                File.Copy(file, Path.Combine(root, part, Path.GetFileName(file)));
        }
        const string First = "notebooks/00-start-here.ipynb";
        if (File.Exists(Path.Combine(root, First)))
            return First;
        const string Own = "notebooks/small.ipynb";
        folder.Notebook(
            "root/" + Own,
            "#load \"research.fsx\"\nopen TorchSharp\nopen Plotly.NET",
            "let work () =\n    use task = AttentionDistillation.Runtime.Progress.Start(\"fit\", 100L)\n    for step in 1L .. 100L do\n        System.Threading.Thread.Sleep 5\n        task.Report(step, \"loss 0.5\")\nwork ()",
            "Chart.Line([ 1, 2; 2, 3; 3, 1 ])",
            "torch.arange(12L).reshape(3L, 4L)"
        );
        return Own;
    }

    private Process StartServer(int port)
    {
        var start = new ProcessStartInfo(
            Server,
            [
                "--no-browser",
                "--allow-root",
                "--ip=127.0.0.1",
                $"--port={port}",
                "--port-retries=0",
                $"--NotebookApp.token={Token}",
                "--MultiKernelManager.default_kernel_name=.net-fsharp",
                $"--notebook-dir={folder.File("root")}",
            ]
        )
        {
            WorkingDirectory = folder.File("root"),
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (
            var (name, value) in new Dictionary<string, string>(JupyterClients.OwnCache(folder.File("cache")))
            {
                ["HOME"] = folder.Path,
                ["JUPYTER_PATH"] = folder.File("prefix/share/jupyter"),
                ["JUPYTER_RUNTIME_DIR"] = folder.File("runtime"),
                ["JUPYTER_CONFIG_DIR"] = folder.File("config"),
                ["RESEARCH_SCALE"] = "smoke",
                ["RESEARCH_DEVICE"] = "cpu",
            }
        )
            start.Environment[name] = value;
        var server = Process.Start(start)!;
        server.OutputDataReceived += (_, _) => { };
        server.ErrorDataReceived += (_, line) => TestContext.Current.SendDiagnosticMessage("{0}", line.Data ?? "");
        server.BeginOutputReadLine();
        server.BeginErrorReadLine();
        return server;
    }

    private static async Task WaitForAsync(int port, Process server)
    {
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed < StartUp)
        {
            Assert.False(server.HasExited, "The notebook server ended at once.");
            try
            {
                using var probe = new TcpClient();
                await probe.ConnectAsync("127.0.0.1", port);
                return;
            }
            catch (SocketException)
            {
                await Task.Delay(200);
            }
        }
        Assert.Fail($"The notebook server did not listen within {StartUp.TotalSeconds} s.");
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
    }

    public void Dispose() => folder.Dispose();
}
