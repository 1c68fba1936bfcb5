using System.Diagnostics;
using System.Globalization;

namespace NotebookKernel.Jupyter;

/// <summary>Ends the kernel when the client that started it dies without a word, so that no orphan holds the GPU.</summary>
internal static class ParentWatch
{
    // Jupyter clients name themselves so, where they want to be outlived by nobody.
    private const string ParentVariable = "JPY_PARENT_PID";
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <summary>Begins to watch, where the client gave its process id.</summary>
    internal static void Start(Action parentDied)
    {
        if (
            !int.TryParse(
                Environment.GetEnvironmentVariable(ParentVariable),
                NumberStyles.None,
                CultureInfo.InvariantCulture,
                out int id
            )
            || id <= 1
        )
            return;
        new Thread(() =>
        {
            while (IsAlive(id))
                Thread.Sleep(Interval);
            parentDied();
        })
        {
            IsBackground = true,
            Name = "parent watch",
        }.Start();
    }

    private static bool IsAlive(int id)
    {
        try
        {
            using var process = Process.GetProcessById(id);
            return !process.HasExited;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }
}
