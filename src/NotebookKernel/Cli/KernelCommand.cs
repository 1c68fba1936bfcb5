using System.CommandLine;
using System.Runtime.InteropServices;
using NotebookKernel.Jupyter;
using NotebookKernel.Running;
using NotebookKernel.Session;

namespace NotebookKernel.Cli;

/// <summary>The command <c>kernel</c>: F# notebooks live in VS Code, JupyterLab and every other Jupyter client.</summary>
internal static class KernelCommand
{
    internal static Command Build()
    {
        var command = new Command("kernel", "Lets VS Code, JupyterLab and other Jupyter clients run F# notebooks live.")
        {
            BuildRun(),
        };
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
        command.SetAction(parsed => Run(parsed.GetRequiredValue(file)));
        return command;
    }

    private static int Run(string connectionFile)
    {
        var connection = ConnectionFile.Read(connectionFile);
        string folder = Directory.GetCurrentDirectory();
        FSharpHost.StartEarly(folder);
        var kernel = new Kernel(connection, folder);
        using var interrupt = PosixSignalRegistration.Create(
            PosixSignal.SIGINT,
            context =>
            {
                context.Cancel = true;
                kernel.Interrupt();
            }
        );
        using var terminate = PosixSignalRegistration.Create(
            PosixSignal.SIGTERM,
            context =>
            {
                context.Cancel = true;
                kernel.Stop();
            }
        );
        ParentWatch.Start(kernel.Stop);
        kernel.ServeAsync().GetAwaiter().GetResult();
        kernel.Dispose();
        // The session's thread may still be in a cell.
        ProcessExit.Now(ExitCodes.Success);
        return ExitCodes.Success;
    }
}
