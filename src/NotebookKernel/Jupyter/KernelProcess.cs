using System.Runtime.InteropServices;
using NotebookKernel.Cli;
using NotebookKernel.Running;
using NotebookKernel.Session;

namespace NotebookKernel.Jupyter;

/// <summary>The process that a Jupyter client starts: one kernel, from connection file to shutdown.</summary>
internal static class KernelProcess
{
    /// <summary>Serves until a client, a signal or the client's death ends it.</summary>
    /// <exception cref="BadInputException">The connection file cannot be used.</exception>
    internal static int Run(string connectionFile)
    {
        var connection = ConnectionFile.Read(connectionFile);
        string folder = Directory.GetCurrentDirectory();
        FSharpHost.StartEarly(folder);
        var kernel = new Kernel(connection, folder);
        using var interrupt = OnSignal(PosixSignal.SIGINT, kernel.Interrupt);
        using var terminate = OnSignal(PosixSignal.SIGTERM, kernel.Stop);
        ParentWatch.Start(kernel.Stop);
        kernel.ServeAsync().GetAwaiter().GetResult();
        kernel.Dispose();
        // A cell may still run on the session's thread.
        ProcessExit.Now(ExitCodes.Success);
        return ExitCodes.Success;
    }

    private static PosixSignalRegistration OnSignal(PosixSignal signal, Action action) =>
        PosixSignalRegistration.Create(
            signal,
            context =>
            {
                context.Cancel = true;
                action();
            }
        );
}
