using System.Globalization;
using AttentionDistillation.Runtime;
using NotebookKernel.Documents;
using NotebookKernel.Running;
using NotebookKernel.Session;
using NotebookKernel.Terminal;

namespace NotebookKernel.Cli;

/// <summary>The options of <c>run</c> as the user gave them.</summary>
internal sealed record RunRequest(
    IReadOnlyList<string> Files,
    string? Scale,
    string? Device,
    string? Output,
    bool Html,
    string? Jobs,
    string? Timeout,
    string? Workers
);

/// <summary>The command <c>run</c>: checks everything first, then runs one notebook here or several in processes of their own.</summary>
internal static class RunCommand
{
    private static readonly TimeSpan LongestTimeout = TimeSpan.FromDays(30);

    internal static int Run(RunRequest request)
    {
        bool isChild = Environment.GetEnvironmentVariable(JobRunner.ChildVariable) == "1";
        if (request.Files.Count == 0)
            throw new BadInputException("Name a notebook: research run FILE... See 'research run --help'.");
        int jobs = ParseCount("--jobs", request.Jobs),
            workers = ParseCount("--workers", request.Workers);
        var timeout = ParseTimeout(request.Timeout);
        var files = InputFiles.Expand(request.Files);
        var documents = files.Select(ReadChecked).ToList();
        string output = OutputFolder(request.Output);
        SetEnvironment(RunSettings.ScaleVariable, request.Scale);
        SetEnvironment(RunSettings.DeviceVariable, request.Device);
        CheckScale();
        if (files.Count == 1)
            return RunOne(documents[0], new RunFiles(files[0], output, request.Html), timeout, isChild, workers);
        _ = CheckedSettings();
        RequireWritable(output);
        return RunMany(files, jobs, Arguments(request, output));
    }

    private static int RunOne(NotebookDocument document, RunFiles files, TimeSpan? timeout, bool isChild, int workers)
    {
        string folder = Path.GetDirectoryName(files.Input)!;
        _ = TerminalView.StartFolder; // remembered before the session changes it
        FSharpHost.StartEarly(folder);
        var settings = CheckedSettings();
        RequireWritable(files.OutputFolder);
        var provenance = Provenance.Of(settings, folder);
        using var stop = new StopControl(signals: true, timeout);
        if (isChild)
            ObeyParent(stop);
        using var helpers = workers > 1 ? new WorkerProcesses(files.Input, workers - 1) : null;
        using IRunView view = isChild ? new JobView(Console.Out) : new TerminalView();
        var session = new NotebookSession(folder, view);
        var runner = new NotebookRunner(document, files, provenance, view, stop);
        var report = runner.RunAsync(session).GetAwaiter().GetResult();
        int code = ExitCodes.Of(report.Status);
        foreach (string crash in helpers?.Crashes() ?? [])
            Console.Error.WriteLine(crash);
        helpers?.Dispose();
        if (stop.Firm.IsCompleted)
            ProcessExit.Now(code);
        session.Dispose();
        return code;
    }

    private static int RunMany(IReadOnlyList<string> files, int jobs, IReadOnlyList<string> arguments)
    {
        var runner = new JobRunner(jobs, arguments);
        using var stop = new StopControl(signals: true, timeout: null);
        IReadOnlyList<RunReport> reports;
        using (var board = new JobBoard(files))
        {
            stop.Requested += () =>
            {
                board.Stopping();
                runner.Stop();
            };
            _ = stop.Firm.ContinueWith(_ => runner.Stop(), TaskScheduler.Default);
            reports = runner.RunAsync(files, board).GetAwaiter().GetResult();
        }
        JobBoard.Summarise(reports);
        return stop.Stopped ? ExitCodes.Interrupted
            : reports.All(report => report.Status == RunStatus.Done) ? ExitCodes.Success
            : ExitCodes.Failed;
    }

    private static NotebookDocument ReadChecked(string file)
    {
        try
        {
            var document = NotebookDocument.Read(file);
            document.RequireFSharp();
            return document;
        }
        catch (NotebookFormatException error)
        {
            throw new BadInputException(error.Message);
        }
    }

    private static RunSettings CheckedSettings()
    {
        try
        {
            return RunSettings.FromEnvironment();
        }
        catch (Exception error) when (error is ArgumentException or TorchRuntimeException)
        {
            throw new BadInputException(error.Message);
        }
    }

    // The scale alone is checked without libtorch, before the compiler starts.
    private static void CheckScale()
    {
        try
        {
            RunSettings.ParseScale(Environment.GetEnvironmentVariable(RunSettings.ScaleVariable));
        }
        catch (ArgumentException error)
        {
            throw new BadInputException(error.Message);
        }
    }

    private static string OutputFolder(string? named) =>
        Path.GetFullPath(
            named
                ?? Path.Combine(
                    Repository.Find(Directory.GetCurrentDirectory()) ?? Directory.GetCurrentDirectory(),
                    "artifacts",
                    "notebooks"
                )
        );

    // The last check, so that a refused command line leaves no folder behind.
    private static void RequireWritable(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
            string probe = Path.Combine(folder, $".{Guid.NewGuid():N}{AtomicFile.PartialSuffix}");
            File.WriteAllBytes(probe, []);
            File.Delete(probe);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException(
                $"The output folder '{TerminalView.Relative(folder)}' cannot be written: {error.Message}"
            );
        }
    }

    private static int ParseCount(string option, string? text) =>
        text is null ? 1
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count >= 1 ? count
        : throw new BadInputException($"{option} is '{text}'; it must be a whole number of at least 1.");

    private static TimeSpan? ParseTimeout(string? text) =>
        text is null ? null
        : double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double seconds)
        && seconds > 0
        && seconds <= LongestTimeout.TotalSeconds
            ? TimeSpan.FromSeconds(seconds)
        : throw new BadInputException($"--timeout is '{text}'; it must be a number of seconds above 0 and at most 30 days.");

    private static List<string> Arguments(RunRequest request, string output)
    {
        var arguments = new List<string> { "--output", output };
        if (request.Html)
            arguments.Add("--html");
        if (request.Timeout is not null)
            arguments.AddRange(["--timeout", request.Timeout]);
        if (request.Workers is not null)
            arguments.AddRange(["--workers", request.Workers]);
        return arguments; // scale and device travel in the environment
    }

    private static void SetEnvironment(string variable, string? value)
    {
        if (value is not null)
            Environment.SetEnvironmentVariable(variable, value);
    }

    // The parent says 'stop' on our input; when it dies, our input ends, and there is nobody to run for.
    private static void ObeyParent(StopControl stop)
    {
        var input = Console.In;
        var listener = new Thread(() =>
        {
            string? line;
            while ((line = input.ReadLine()) is not null)
                if (line == "stop")
                    stop.Request();
            stop.Request();
        })
        {
            IsBackground = true,
            Name = "parent",
        };
        listener.Start();
    }
}
