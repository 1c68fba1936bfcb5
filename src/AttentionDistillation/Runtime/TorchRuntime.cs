using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;

namespace AttentionDistillation.Runtime;

/// <summary>
/// Finds libtorch and loads it before TorchSharp looks for it, by absolute path and in dependency order, so that another libtorch on the
/// loader's path is never picked up by accident.
/// </summary>
/// <remarks>
/// Search order: the folder named by the environment variable <c>LIBTORCH</c> (a libtorch folder, its <c>lib</c>, or an installed PyTorch),
/// then the program's own folder, then (when built with <c>TorchBackend=system</c>) the folders of <c>LD_LIBRARY_PATH</c>.
/// </remarks>
public static class TorchRuntime
{
    private static readonly Lazy<LoadResult> Loaded = new(Load);

    private sealed record LoadResult(nint LibTorchSharp, string? Folder, string? Version, TorchRuntimeException? Failure);

    /// <summary>The backend this library was built for: <c>cpu</c>, <c>cuda</c> or <c>system</c>.</summary>
    public static string Backend { get; } = Metadata("TorchBackend");

    /// <summary>The libtorch version TorchSharp was built against, for example <c>2.10.0</c>.</summary>
    public static string ExpectedVersion { get; } = Metadata("LibTorchVersion");

    /// <summary>The folder libtorch was loaded from.</summary>
    /// <exception cref="TorchRuntimeException">libtorch cannot be loaded; the message names the remedy.</exception>
    public static string Folder
    {
        get
        {
            EnsureLoaded();
            return Loaded.Value.Folder!;
        }
    }

    /// <summary>The version of the libtorch in use, where its folder tells (otherwise the version TorchSharp was built against).</summary>
    /// <exception cref="TorchRuntimeException">libtorch cannot be loaded; the message names the remedy.</exception>
    public static string Version
    {
        get
        {
            EnsureLoaded();
            return Loaded.Value.Version ?? ExpectedVersion;
        }
    }

    /// <summary>An exported function of TorchSharp's native bridge, for the few that TorchSharp keeps to itself.</summary>
    /// <exception cref="TorchRuntimeException">libtorch cannot be loaded; the message names the remedy.</exception>
    internal static nint BridgeFunction(string name)
    {
        EnsureLoaded();
        return NativeLibrary.GetExport(Loaded.Value.LibTorchSharp, name);
    }

    /// <summary>Loads libtorch if that has not happened yet.</summary>
    /// <exception cref="TorchRuntimeException">It cannot be found or loaded, or is of another version; the message names the remedy.</exception>
    public static void EnsureLoaded()
    {
        if (Loaded.Value.Failure is { } failure)
            throw failure;
    }

#pragma warning disable CA2255 // The one use a library has for it: TorchSharp must find our libtorch whichever type a program touches first.
    [ModuleInitializer]
    internal static void Initialise()
    {
        NativeLibrary.SetDllImportResolver(typeof(torch).Assembly, (name, _, _) => name == "LibTorchSharp" ? LibTorchSharp() : 0);
        _ = Loaded.Value;
    }
#pragma warning restore CA2255

    // TorchSharp's own search must not go on where ours failed: it would take a libtorch other than the one asked for, or end in a loader's trace.
    private static nint LibTorchSharp()
    {
        EnsureLoaded();
        return Loaded.Value.LibTorchSharp;
    }

    private static LoadResult Load()
    {
        try
        {
            var (folder, version) = LibTorchFolder.Find(Backend, ExpectedVersion);
            foreach (string library in LibTorchFolder.LibrariesInOrder(folder))
                LoadOne(library, folder);
            string bridge = Path.Combine(AppContext.BaseDirectory, LibTorchFolder.FileName("LibTorchSharp"));
            if (!File.Exists(bridge))
                bridge = Path.Combine(
                    Path.GetDirectoryName(typeof(TorchRuntime).Assembly.Location) ?? "",
                    LibTorchFolder.FileName("LibTorchSharp")
                );
            return new LoadResult(LoadOne(bridge, folder), folder, version, null);
        }
        catch (TorchRuntimeException failure)
        {
            return new LoadResult(0, null, null, failure);
        }
    }

    private static nint LoadOne(string library, string folder)
    {
        try
        {
            return NativeLibrary.Load(library);
        }
        catch (Exception error) when (error is DllNotFoundException or BadImageFormatException)
        {
            // .NET's own sentence comes first, then what the system's loader said.
            string[] lines = error.Message.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
            string reason = lines[Math.Min(1, lines.Length - 1)].TrimEnd('.');
            throw new TorchRuntimeException(
                $"libtorch in '{folder}' does not load: {reason}. This build expects libtorch {ExpectedVersion} ({Backend}). "
                    + LibTorchFolder.Remedy,
                error
            );
        }
    }

    private static string Metadata(string key) =>
        typeof(TorchRuntime)
            .Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
            .FirstOrDefault(attribute => attribute.Key == key)
            ?.Value
        ?? "";
}

/// <summary>libtorch is missing, of another version, or does not load. The message says what to do.</summary>
public sealed class TorchRuntimeException(string message, Exception? inner = null) : Exception(message, inner);
