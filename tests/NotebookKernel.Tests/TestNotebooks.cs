using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace NotebookKernel.Tests;

/// <summary>A folder for a test's files, gone with the test.</summary>
public sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("research-test-").FullName;

    public string File(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>Writes a notebook of code cells, in nbformat 4.2 without ids, as older tools leave them.</summary>
    public string Notebook(string name, params string[] code)
    {
        var cells = new JsonArray(
            new JsonObject
            {
                ["cell_type"] = "markdown",
                ["metadata"] = new JsonObject(),
                ["source"] = "# A test",
            }
        );
        foreach (string source in code)
            cells.Add(
                (JsonNode)
                    new JsonObject
                    {
                        ["cell_type"] = "code",
                        ["execution_count"] = null,
                        ["metadata"] = new JsonObject(),
                        ["outputs"] = new JsonArray(),
                        ["source"] = source,
                    }
            );
        var notebook = new JsonObject
        {
            ["cells"] = cells,
            ["metadata"] = new JsonObject(),
            ["nbformat"] = 4,
            ["nbformat_minor"] = 2,
        };
        string path = File(name);
        System.IO.File.WriteAllText(path, notebook.ToJsonString());
        return path;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

/// <summary>Runs the program as a user does.</summary>
public static class ResearchProcess
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);

    public sealed record Result(int ExitCode, string Out, string Error);

    public static Process Start(string folder, params string[] arguments) => Start(folder, [], arguments);

    public static Process Start(string folder, Dictionary<string, string> environment, params string[] arguments)
    {
        // A shell's background jobs ignore Ctrl-C and hand that down; GNU's env gives the child the usual signals back.
        var start = new ProcessStartInfo(OperatingSystem.IsLinux() ? "/usr/bin/env" : "dotnet")
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        if (OperatingSystem.IsLinux())
            foreach (string word in (string[])["--default-signal=INT", "dotnet"])
                start.ArgumentList.Add(word);
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "NotebookKernel.dll"));
        foreach (string argument in arguments)
            start.ArgumentList.Add(argument);
        start.Environment.Remove("RESEARCH_SCALE");
        start.Environment["RESEARCH_DEVICE"] = "cpu";
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        return Process.Start(start)!;
    }

    public static async Task<Result> FinishAsync(Process process)
    {
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(Patience);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true); // a child left behind would keep the test run from ending
            throw;
        }
        return new Result(process.ExitCode, await output, await error);
    }

    public static async Task<Result> RunAsync(string folder, params string[] arguments)
    {
        using var process = Start(folder, arguments);
        return await FinishAsync(process);
    }
}

/// <summary>Reads executed notebooks and checks them against the format.</summary>
public static class Executed
{
    public static JsonObject Read(string path) => (JsonObject)JsonNode.Parse(File.ReadAllText(path))!;

    public static List<JsonObject> CodeCells(string path) =>
        [.. Read(path)["cells"]!.AsArray().OfType<JsonObject>().Where(cell => (string?)cell["cell_type"] == "code")];

    public static List<JsonObject> Outputs(JsonObject cell) => [.. cell["outputs"]!.AsArray().OfType<JsonObject>()];

    public static string Text(JsonNode? lines) => string.Concat(lines!.AsArray().Select(line => (string)line!));

    /// <summary>Validates by Python's nbformat where that is installed, else by the rules that matter, and says which.</summary>
    public static void AssertValid(string path)
    {
        foreach (string python in (string[])["/usr/bin/python3", "python3", "python"])
        {
            var verdict = ValidateByPython(python, path);
            if (verdict is null)
                continue;
            Assert.True(verdict.Length == 0, verdict);
            TestContext.Current.SendDiagnosticMessage("{0}: valid by nbformat of {1}", Path.GetFileName(path), python);
            return;
        }
        TestContext.Current.SendDiagnosticMessage(
            "{0}: no nbformat for Python here; checked by our own rules",
            Path.GetFileName(path)
        );
        AssertValidByOurRules(Read(path));
    }

    public static void AssertValidByOurRules(JsonObject notebook)
    {
        Assert.Equal(4, (int)notebook["nbformat"]!);
        Assert.Equal(5, (int)notebook["nbformat_minor"]!);
        var ids = new HashSet<string>();
        foreach (var cell in notebook["cells"]!.AsArray().OfType<JsonObject>())
        {
            Assert.Matches("^[a-zA-Z0-9_-]{1,64}$", (string)cell["id"]!);
            Assert.True(ids.Add((string)cell["id"]!), "cell ids repeat");
            Assert.IsType<JsonObject>(cell["metadata"]);
            bool code = (string?)cell["cell_type"] == "code";
            Assert.Equal(code, cell.ContainsKey("outputs"));
            Assert.Equal(code, cell.ContainsKey("execution_count"));
            foreach (var output in code ? Outputs(cell) : [])
            {
                string[] keys = (string)output["output_type"]! switch
                {
                    "stream" => ["name", "output_type", "text"],
                    "display_data" => ["data", "metadata", "output_type"],
                    "execute_result" => ["data", "execution_count", "metadata", "output_type"],
                    "error" => ["ename", "evalue", "output_type", "traceback"],
                    var other => throw new JsonException($"output type {other}"),
                };
                Assert.Equal(keys, output.Select(pair => pair.Key).Order());
            }
        }
    }

    // Null: this Python, or its nbformat, is not there.
    private static string? ValidateByPython(string python, string path)
    {
        const int NoModule = 3;
        const string Program = """
            import sys
            try:
                import nbformat
            except ImportError:
                sys.exit(3)
            nbformat.validate(nbformat.read(sys.argv[1], as_version=nbformat.NO_CONVERT))
            """;
        try
        {
            var start = new ProcessStartInfo(python, ["-W", "error", "-c", Program, path]) { RedirectStandardError = true };
            using var process = Process.Start(start)!;
            string error = process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == NoModule ? null
                : process.ExitCode == 0 ? ""
                : error + "?";
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
