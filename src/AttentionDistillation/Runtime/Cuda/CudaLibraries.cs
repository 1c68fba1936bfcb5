using System.Runtime.InteropServices;

namespace AttentionDistillation.Runtime.Cuda;

/// <summary>NVIDIA's driver and run-time compiler, found by name when they are first needed; absent on machines without them.</summary>
internal static class CudaLibraries
{
    /// <summary>Major versions of the compiler's library that CUDA builds of libtorch have come with, newest first.</summary>
    private static readonly int[] CompilerVersions = [13, 12, 11];

    private static readonly Lazy<nint> Driver = new(() =>
        NativeLibrary.TryLoad(OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1", out nint library) ? library : 0
    );

    private static readonly Lazy<nint> Compiler = new(FindCompiler);

    /// <summary>True when both libraries are there.</summary>
    internal static bool Present => Driver.Value != 0 && Compiler.Value != 0;

    /// <summary>A function of the driver.</summary>
    internal static nint OfDriver(string name) => NativeLibrary.GetExport(Driver.Value, name);

    /// <summary>A function of the run-time compiler.</summary>
    internal static nint OfCompiler(string name) => NativeLibrary.GetExport(Compiler.Value, name);

    private static nint FindCompiler()
    {
        foreach (int version in CompilerVersions)
            if (
                NativeLibrary.TryLoad(
                    OperatingSystem.IsWindows() ? $"nvrtc64_{version}0_0.dll" : $"libnvrtc.so.{version}",
                    out nint library
                )
            )
                return library;
        // libtorch's own archives carry it under a name with a hash, a Python's PyTorch in packages beside it; "alt" and "builtins" are its parts.
        string pattern = OperatingSystem.IsWindows() ? "nvrtc64_*.dll" : "libnvrtc*.so*";
        string packages = Path.GetFullPath(Path.Combine(TorchRuntime.Folder, "..", "..", "nvidia"));
        List<string> folders = [TorchRuntime.Folder];
        if (Directory.Exists(packages))
            folders.AddRange(Directory.EnumerateDirectories(packages).Order().Select(package => Path.Combine(package, "lib")));
        foreach (
            string file in folders.Where(Directory.Exists).SelectMany(folder => Directory.EnumerateFiles(folder, pattern).Order())
        )
            if (
                !file.Contains("builtins", StringComparison.Ordinal)
                && !file.Contains("alt", StringComparison.Ordinal)
                && NativeLibrary.TryLoad(file, out nint library)
            )
                return library;
        return 0;
    }
}
