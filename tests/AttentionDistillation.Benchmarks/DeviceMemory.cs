using System.Runtime.InteropServices;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// Memory in use on the current CUDA device. libtorch keeps what it once took, so on a device of one's own this is the peak since the
/// process started.
/// </summary>
internal static partial class DeviceMemory
{
    /// <summary>Bytes in use, by any process.</summary>
    internal static long UsedBytes() =>
        GetInfo(out nuint free, out nuint total) == 0
            ? (long)(total - free)
            : throw new InvalidOperationException("The NVIDIA driver does not tell how much memory is in use.");

    // The driver is libcuda.so.1 on Linux and nvcuda.dll on Windows; the runtime's names differ by release.
    private static int GetInfo(out nuint free, out nuint total) =>
        OperatingSystem.IsWindows() ? GetInfoOnWindows(out free, out total) : GetInfoOnLinux(out free, out total);

    [LibraryImport("libcuda.so.1", EntryPoint = "cuMemGetInfo_v2")]
    private static partial int GetInfoOnLinux(out nuint free, out nuint total);

    [LibraryImport("nvcuda", EntryPoint = "cuMemGetInfo_v2")]
    private static partial int GetInfoOnWindows(out nuint free, out nuint total);
}
