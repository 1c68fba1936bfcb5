using System.CommandLine;
using System.CommandLine.Help;
using NotebookKernel.Running;

namespace NotebookKernel.Cli;

/// <summary>The program's commands and options.</summary>
internal static class CommandLine
{
    private const string Program = "research";

    internal static int Run(string[] arguments)
    {
        var parsed = Build().Parse(arguments);
        if (parsed.Errors.Count > 0)
            return Complain(parsed.Errors[0].Message.ReplaceLineEndings(" ").TrimEnd('.') + $". See '{Program} --help'.");
        try
        {
            return parsed.Invoke(
                new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null }
            );
        }
        catch (BadInputException error)
        {
            return Complain(error.Message);
        }
    }

    private static int Complain(string message)
    {
        Console.Error.WriteLine($"{Program}: {message}");
        return ExitCodes.BadInput;
    }

    private static Command Build()
    {
        var root = new Command(
            Program,
            """
            Runs F# notebooks on attention distillation head-less, and shows what their studies found.

            Examples:
              research run notebooks/01-minilm.ipynb                       run one notebook at scale small
              research run notebooks/*.ipynb --scale smoke --jobs 2        run all, two at a time, in seconds each
              research run notebooks/01-minilm.ipynb --device cuda --html  run on the GPU, write a page as well
              research list                                                every study and its verdicts
              research download google-bert/bert-base-uncased              a model from the Hugging Face hub
            """
        )
        {
            new HelpOption(),
            new VersionOption(),
            BuildRun(),
            BuildList(),
            DownloadCommand.Build(),
            KernelCommand.Build(),
        };
        root.SetAction(_ =>
        {
            root.Parse("--help").Invoke();
            return ExitCodes.BadInput;
        });
        return root;
    }

    private static Command BuildRun()
    {
        var files = new Argument<string[]>("FILE")
        {
            Description = "Notebooks to run; patterns such as notebooks/0*.ipynb are expanded.",
            Arity = ArgumentArity.ZeroOrMore, // none at all gets a better message than the parser's
        };
        var scale = new Option<string?>("--scale")
        {
            Description =
                "How large the studies run: smoke (seconds), small (minutes on 2 cores) or large (minutes on one H100). Default: RESEARCH_SCALE, else small.",
            HelpName = "smoke|small|large",
        };
        var device = new Option<string?>("--device")
        {
            Description = "Where tensors live. Default: RESEARCH_DEVICE, else cuda where there is one.",
            HelpName = "cpu|cuda|cuda:N",
        };
        var output = new Option<string?>("--output", "-o")
        {
            Description =
                "Folder for the executed notebooks. Default: artifacts/notebooks, so that a run never overwrites a notebook unasked; "
                + "name the notebook's own folder to update it in place.",
            HelpName = "DIR",
        };
        var html = new Option<bool>("--html") { Description = "Also write a self-contained page that works without a network." };
        var jobs = new Option<string?>("--jobs", "-j")
        {
            Description = "How many notebooks run at a time, each in a process of its own. Default: 1.",
            HelpName = "N",
        };
        var workers = new Option<string?>("--workers", "-w")
        {
            Description =
                "How many processes compute a notebook's ablation, this one included. They share its cells; for studies of small models that leave a GPU "
                + "idle between kernels (on a CPU they take each other's cores). Default: 1.",
            HelpName = "N",
        };
        var timeout = new Option<string?>("--timeout")
        {
            Description = "Seconds after which a notebook is stopped and saved as far as it came. Default: no limit.",
            HelpName = "S",
        };
        var command = new Command(
            "run",
            """
            Runs notebooks and saves them with their outputs.

            Ctrl-C stops at the end of the running training step and saves what there is; a second Ctrl-C stops at once.
            Exit code: 0 all cells ran, 1 a cell failed or time ran out, 2 bad input (nothing was run), 130 interrupted.
            """
        )
        {
            files,
            scale,
            device,
            output,
            html,
            jobs,
            workers,
            timeout,
        };
        command.SetAction(parsed =>
            RunCommand.Run(
                new RunRequest(
                    parsed.GetValue(files) ?? [],
                    parsed.GetValue(scale),
                    parsed.GetValue(device),
                    parsed.GetValue(output),
                    parsed.GetValue(html),
                    parsed.GetValue(jobs),
                    parsed.GetValue(timeout),
                    parsed.GetValue(workers)
                )
            )
        );
        return command;
    }

    private static Command BuildList()
    {
        var command = new Command("list", "Lists every study with its claims and their verdicts at each scale.");
        command.SetAction(_ => ListCommand.Run(Directory.GetCurrentDirectory()));
        return command;
    }
}
