using System.Globalization;
using System.Runtime.InteropServices;

namespace AttentionDistillation.Runtime;

/// <summary>How much memory of the host a piece of work needs.</summary>
public static partial class HostMemory
{
    private const string Status = "/proc/self/status";
    private const string ClearReferences = "/proc/self/clear_refs";

    /// <summary>
    /// The most memory, in bytes, that the process held while the work ran, above what it held before; null where the system does not say (anything but
    /// Linux). Free memory of the allocator is given back first, so that blocks which earlier work has left behind are counted when they are used again.
    /// </summary>
    /// <remarks>
    /// The kernel's high-water mark of the resident set (<c>VmHWM</c>), reset through <c>clear_refs</c> (proc(5)): no sampling. What the garbage collector
    /// gives back meanwhile hides as much, and what other threads allocate meanwhile counts, too: measure alone, and more than once.
    /// </remarks>
    /// <param name="work">What to measure. It should have run once before, so that nothing is loaded or compiled for the first time.</param>
    public static long? PeakBytes(Action work)
    {
        ArgumentNullException.ThrowIfNull(work);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        if (!OperatingSystem.IsLinux() || !TryReset(out long before))
        {
            work();
            return null;
        }
        work();
        return Read("VmHWM:") is { } peak ? Math.Max(0, peak - before) : null;
    }

    private static bool TryReset(out long before)
    {
        before = 0;
        try
        {
            _ = Trim(0);
            File.WriteAllText(ClearReferences, "5");
        }
        catch (Exception problem)
            when (problem is IOException or UnauthorizedAccessException or EntryPointNotFoundException or DllNotFoundException)
        {
            return false; // another C library, or a sandbox that hides the file
        }
        if (Read("VmRSS:") is not { } resident)
            return false;
        before = resident;
        return true;
    }

    private static long? Read(string name)
    {
        foreach (string line in File.ReadLines(Status))
            if (line.StartsWith(name, StringComparison.Ordinal))
                return 1024
                    * long.Parse(
                        line[name.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(),
                        CultureInfo.InvariantCulture
                    );
        return null;
    }

    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int Trim(nuint pad);
}
