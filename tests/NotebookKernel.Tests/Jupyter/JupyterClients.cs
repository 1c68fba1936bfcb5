using System.Diagnostics;

namespace NotebookKernel.Tests.Jupyter;

/// <summary>
/// The real clients these tests drive the kernel with, as Debian packages them. Where one is missing a test is skipped and says what to
/// install; <c>.ci/run</c> installs them and sets <c>RESEARCH_CLIENTS=required</c>, which makes a missing one a failure.
/// </summary>
public static class JupyterClients
{
    public const string Python = "/usr/bin/python3";
    private const string Variable = "RESEARCH_CLIENTS";
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>The folder of client scripts beside the tests.</summary>
    public static string Script(string name) => Path.Combine(AppContext.BaseDirectory, "Jupyter", "Clients", name);

    public static string Kernel => Path.Combine(AppContext.BaseDirectory, "NotebookKernel.dll");

    /// <summary>The repository's folder for things that builds and tests leave, which git ignores.</summary>
    public static string Artifacts(string name)
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "Research.sln")))
            folder = folder.Parent ?? throw new DirectoryNotFoundException("The tests do not lie in the repository.");
        return Path.Combine(folder.FullName, "artifacts", name);
    }

    public static void RequireModule(string module, string package) =>
        Require(
            File.Exists(Python)
                && Run(Python, ["-c", $"import {module}"], Path.GetTempPath(), new Dictionary<string, string>()).ExitCode == 0,
            $"{Python} has no {module}. Install it: apt-get install {package}"
        );

    public static void RequireFile(string file, string remedy) => Require(File.Exists(file), $"{file} is missing. {remedy}");

    /// <summary>
    /// The environment in which notebooks keep what they compute in a folder of the test's own, so that no two runs share a training. Only the
    /// tokenised corpus, which is the same for all, is taken along from the user's cache.
    /// </summary>
    public static IReadOnlyDictionary<string, string> OwnCache(string cache)
    {
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string named =
            Environment.GetEnvironmentVariable("RESEARCH_CACHE") ?? Path.Combine(home, ".cache", "attention-distillation");
        string tokens = Path.Combine(cache, "tokens");
        Directory.CreateDirectory(tokens);
        if (Directory.Exists(Path.Combine(named, "tokens")))
            foreach (string file in Directory.EnumerateFiles(Path.Combine(named, "tokens"), "*.tokens.gz"))
                File.Copy(file, Path.Combine(tokens, Path.GetFileName(file)));
        return new Dictionary<string, string> { ["RESEARCH_CACHE"] = cache };
    }

    /// <summary>Runs a program to its end.</summary>
    public static ResearchProcess.Result Run(
        string program,
        IEnumerable<string> arguments,
        string folder,
        IReadOnlyDictionary<string, string> environment
    )
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["RESEARCH_DEVICE"] = "cpu";
        start.Environment["PYTHONWARNINGS"] = "ignore";
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(Patience))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{program} did not end within {Patience.TotalMinutes} minutes.");
        }
        return new ResearchProcess.Result(process.ExitCode, output.Result, error.Result);
    }

    private static void Require(bool present, string message)
    {
        if (present)
            return;
        if (Environment.GetEnvironmentVariable(Variable) == "required")
            Assert.Fail(message);
        Assert.Skip(message);
    }
}
