using System.CommandLine;
using NotebookKernel.Jupyter;

namespace NotebookKernel.Cli;

/// <summary>The command <c>kernel</c>: F# notebooks live in VS Code, JupyterLab and every other Jupyter client.</summary>
internal static class KernelCommand
{
    internal static Command Build() =>
        new(
            "kernel",
            """
            Lets VS Code, JupyterLab and other Jupyter clients run F# notebooks live.

            Examples:
              research kernel install                    for every Jupyter client of this user
              research kernel install --prefix .venv     for the JupyterLab of a virtual environment
              research kernel list                       every kernel there is, and which are ours
            """
        )
        {
            BuildInstall(),
            BuildUninstall(),
            BuildList(),
            BuildRun(),
        };

    private static Command BuildInstall()
    {
        var (user, prefix, name) = PlaceOptions();
        var force = new Option<bool>("--force") { Description = "Replace a kernel of that name that another program installed." };
        var command = new Command("install", "Installs the kernel: from any folder, Jupyter clients then start this build.")
        {
            user,
            prefix,
            name,
            force,
        };
        command.SetAction(parsed =>
            KernelSpecCommands.Install(
                new KernelPlace(parsed.GetValue(user), parsed.GetValue(prefix), parsed.GetValue(name)!),
                parsed.GetValue(force)
            )
        );
        return command;
    }

    private static Command BuildUninstall()
    {
        var (user, prefix, name) = PlaceOptions();
        var force = new Option<bool>("--force") { Description = "Remove a kernel of that name that another program installed." };
        var command = new Command("uninstall", "Removes the kernel.") { user, prefix, name, force };
        command.SetAction(parsed =>
            KernelSpecCommands.Uninstall(
                new KernelPlace(parsed.GetValue(user), parsed.GetValue(prefix), parsed.GetValue(name)!),
                parsed.GetValue(force)
            )
        );
        return command;
    }

    private static Command BuildList()
    {
        var command = new Command("list", "Lists the kernels that Jupyter clients find, and which of them are this program.");
        command.SetAction(_ => KernelSpecCommands.List());
        return command;
    }

    private static Command BuildRun()
    {
        var file = new Option<string>("--connection-file", "-f")
        {
            Description = "The file in which the client says where to listen.",
            HelpName = "FILE",
            Required = true,
        };
        var command = new Command("run", "Runs the kernel; Jupyter clients call this.") { file };
        command.SetAction(parsed => KernelProcess.Run(parsed.GetRequiredValue(file)));
        return command;
    }

    private static (Option<bool> User, Option<string?> Prefix, Option<string> Name) PlaceOptions() =>
        (
            new Option<bool>("--user") { Description = "For this user; the default." },
            new Option<string?>("--prefix")
            {
                Description = "For the programs installed under a folder, for example a virtual environment.",
                HelpName = "DIR",
            },
            new Option<string>("--name")
            {
                Description = "The kernel's name. Notebooks that carry it find the kernel by themselves; ours carry the default.",
                HelpName = "NAME",
                DefaultValueFactory = _ => KernelSpec.DefaultName,
            }
        );
}
