using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Models.Hub.Downloads;
using AttentionDistillation.Runtime;
using NotebookKernel.Running;
using NotebookKernel.Terminal;

namespace NotebookKernel.Cli;

/// <summary>The command <c>download</c>: a model from a hub into a folder.</summary>
internal static class DownloadCommand
{
    private const double Megabyte = 1e6;

    internal static Command Build()
    {
        var repository = new Argument<string>("REPO")
        {
            Description = "The repository, for example google-bert/bert-base-uncased.",
            HelpName = "REPO",
        };
        var revision = new Option<string?>("--revision", "-r")
        {
            Description = $"A branch, tag or commit. Default: {Hub.DefaultRevision}.",
            HelpName = "REV",
        };
        var output = new Option<string?>("--output", "-o")
        {
            Description = "Folder for the files. Default: a folder of the repository's name in the cache (RESEARCH_CACHE).",
            HelpName = "DIR",
        };
        var include = new Option<string[]>("--include")
        {
            Description =
                $"Files to take, as a pattern over the whole path; may be repeated. Default: {string.Join(' ', DownloadOptions.WhatLoads)}.",
            HelpName = "PATTERN",
        };
        var exclude = new Option<string[]>("--exclude")
        {
            Description = $"Files to leave out; may be repeated. Default: {string.Join(' ', DownloadOptions.OtherExports)}.",
            HelpName = "PATTERN",
        };
        var all = new Option<bool>("--all") { Description = "Take every file, weights of other formats too." };
        var command = new Command(
            "download",
            """
            Downloads a model from the Hugging Face hub, for Hub.Load in a notebook.

            Every file is checked against the hub's size and hash. What was interrupted goes on where it stopped.
            Environment: HF_TOKEN (private and gated models), HF_ENDPOINT (another hub), HF_HUB_OFFLINE=1 (only check what is there).
            Exit code: 0 it is there, 1 it could not be fetched, 2 bad input, 130 interrupted.
            """
        )
        {
            repository,
            revision,
            output,
            include,
            exclude,
            all,
        };
        command.SetAction(parsed =>
            Run(
                parsed.GetRequiredValue(repository),
                parsed.GetValue(revision),
                parsed.GetValue(output),
                Options(parsed.GetValue(include) ?? [], parsed.GetValue(exclude) ?? [], parsed.GetValue(all))
            )
        );
        return command;
    }

    private static DownloadOptions Options(string[] include, string[] exclude, bool all)
    {
        if (all && include.Length > 0)
            throw new BadInputException("--all and --include exclude each other. Give one of them.");
        var options = new DownloadOptions();
        if (all)
            options = options with { Allow = [], Ignore = [] };
        if (include.Length > 0)
            options = options with { Allow = include, Ignore = [] };
        return exclude.Length > 0 ? options with { Ignore = exclude } : options;
    }

    private static int Run(string repository, string? revision, string? output, DownloadOptions options)
    {
        using var stop = new StopControl(signals: true, timeout: null);
        using var cancel = new CancellationTokenSource();
        stop.Requested += cancel.Cancel;
        try
        {
            DownloadResult result;
            using (new ProgressLine())
                result = Hub.Download(repository, revision, output, options, cancel.Token);
            string fetched =
                result.BytesFetched == 0
                    ? "all there already"
                    : string.Create(CultureInfo.InvariantCulture, $"{result.BytesFetched / Megabyte:0.0} MB fetched");
            Console.Out.WriteLine(
                $"{result.Repository} at commit {result.Commit}: {Ansi.Count(result.Files.Count, "file")}, {fetched}, in {result.Folder}"
            );
            return ExitCodes.Success;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("research: interrupted; the same command goes on from here.");
            return ExitCodes.Interrupted;
        }
        catch (ArgumentException error)
        {
            throw new BadInputException(error.Message.ReplaceLineEndings(" "));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine("research: " + error.Message.ReplaceLineEndings(" "));
            return ExitCodes.Failed;
        }
    }

    /// <summary>The download's progress: a bar on a terminal, a line every few seconds in a log.</summary>
    private sealed class ProgressLine : IProgressSink, IDisposable
    {
        private static readonly TimeSpan LogInterval = TimeSpan.FromSeconds(5);

        private readonly bool live = !Console.IsErrorRedirected && Environment.GetEnvironmentVariable("TERM") is not "dumb";
        private readonly Ansi ansi = Ansi.For(Console.IsErrorRedirected);
        private readonly LiveBlock block = new(Console.Error);
        private readonly Stopwatch sinceLog = Stopwatch.StartNew();

        public ProgressLine() => Progress.Sink = this;

        public void Report(ProgressState state)
        {
            if (live)
                block.Draw([], state.Finished ? [] : [ProgressBars.Bar(state, ansi, LiveBlock.Width)]);
            else if (!state.Finished && sinceLog.Elapsed >= LogInterval)
            {
                sinceLog.Restart();
                Console.Error.WriteLine(ProgressBars.Line(state));
            }
        }

        public void Dispose() => Progress.Sink = null;
    }
}
