using System.Runtime.InteropServices;

namespace NotebookKernel.Running;

/// <summary>Ends the process while threads still run.</summary>
internal static class ProcessExit
{
    /// <summary>
    /// Ends at once. A thread still runs a cell, perhaps inside native code: an orderly exit would tear libtorch down under it, and crash.
    /// </summary>
    internal static void Now(int code)
    {
        Console.Out.Flush();
        Console.Error.Flush();
        if (OperatingSystem.IsWindows())
            Environment.Exit(code);
        ExitNow(code);
    }

    [DllImport("libc", EntryPoint = "_exit")]
    private static extern void ExitNow(int code);
}
