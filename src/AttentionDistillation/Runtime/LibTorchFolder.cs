using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace AttentionDistillation.Runtime;

/// <summary>Knows what a libtorch folder looks like: where one may be, which version it holds, which libraries to load in which order.</summary>
internal static partial class LibTorchFolder
{
    /// <summary>TorchSharp's bridge, built for libtorch 2.10, was seen working with these releases; older ones lack symbols it needs.</summary>
    private static readonly Version OldestSupported = new(2, 10);
    private static readonly Version NewestSupported = new(2, 11);

    internal const string Remedy =
        "Remedy: run 'dotnet build' with -p:TorchBackend=cpu to have it downloaded, or build with -p:TorchBackend=system and set LIBTORCH to a folder "
        + "with libtorch 2.10 or 2.11 (for a Python: python3 -c \"import os, torch; print(os.path.dirname(torch.__file__))\").";

    internal static (string Folder, string? Version) Find(string backend, string expectedVersion)
    {
        string? named = Environment.GetEnvironmentVariable("LIBTORCH");
        if (!string.IsNullOrWhiteSpace(named))
        {
            string folder =
                Candidates(named).FirstOrDefault(IsLibTorch)
                ?? throw new TorchRuntimeException(
                    $"LIBTORCH is '{named}', but there is no {FileName("torch_cpu")} in it or in its lib folder. {Remedy}"
                );
            return Checked(folder);
        }
        string own = AppContext.BaseDirectory;
        foreach (string folder in (string[])[own, Path.Combine(own, "runtimes", RuntimeIdentifier, "native")])
            if (IsLibTorch(folder))
                return (folder, expectedVersion);
        if (backend == "system")
        {
            string? found = (Environment.GetEnvironmentVariable("LD_LIBRARY_PATH") ?? "")
                .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
                .FirstOrDefault(IsLibTorch);
            if (found is not null)
                return Checked(found);
            throw new TorchRuntimeException(
                $"This build uses an existing libtorch (TorchBackend=system), but LIBTORCH is not set. {Remedy}"
            );
        }
        throw new TorchRuntimeException($"libtorch {expectedVersion} ({backend}) is not beside the program in '{own}'. {Remedy}");
    }

    /// <summary>The libraries of the folder in an order in which each finds what it needs already loaded.</summary>
    internal static IEnumerable<string> LibrariesInOrder(string folder)
    {
        if (!OperatingSystem.IsWindows())
            foreach (
                string openMp in Directory
                    .EnumerateFiles(folder, "libgomp*.so*")
                    .Concat(Directory.EnumerateFiles(folder, "libomp*.dylib"))
                    .Order()
            )
                yield return openMp;
        foreach (string name in (string[])["c10", "torch_global_deps", "c10_cuda", "torch_cpu", "torch_cuda", "torch"])
        {
            string file = Path.Combine(folder, FileName(name));
            if (File.Exists(file) && !(OperatingSystem.IsWindows() && name == "torch_global_deps"))
                yield return file;
        }
    }

    internal static string FileName(string library) =>
        OperatingSystem.IsWindows() ? library + ".dll"
        : OperatingSystem.IsMacOS() ? $"lib{library}.dylib"
        : $"lib{library}.so";

    private static string RuntimeIdentifier =>
        OperatingSystem.IsWindows() ? (RuntimeInformation.OSArchitecture == Architecture.Arm64 ? "win-arm64" : "win-x64")
        : OperatingSystem.IsMacOS() ? "osx-arm64"
        : "linux-x64";

    private static string[] Candidates(string named) =>
        [
            named,
            Path.Combine(named, "lib"),
            Path.Combine(named, "torch", "lib"),
            Path.Combine(named, "torch"),
            .. SitePackages(named),
        ];

    // A virtual environment: <venv>/lib/python3.x/site-packages/torch/lib
    private static IEnumerable<string> SitePackages(string named)
    {
        string lib = Path.Combine(named, "lib");
        return Directory.Exists(lib)
            ? Directory
                .EnumerateDirectories(lib, "python3*")
                .Select(python => Path.Combine(python, "site-packages", "torch", "lib"))
            : [];
    }

    private static bool IsLibTorch(string folder) => File.Exists(Path.Combine(folder, FileName("torch_cpu")));

    private static (string Folder, string? Version) Checked(string folder)
    {
        folder = Path.GetFullPath(folder);
        string? version = VersionOf(folder);
        if (version is null || !VersionNumber().IsMatch(version))
            return (folder, version);
        var number = System.Version.Parse(VersionNumber().Match(version).Value);
        if (number < OldestSupported || number > NewestSupported)
            throw new TorchRuntimeException(
                $"libtorch in '{folder}' is {version}; this build works with {OldestSupported} to {NewestSupported}. {Remedy}"
            );
        return (folder, version);
    }

    // libtorch archives carry build-version beside lib; PyTorch packages carry version.py there.
    private static string? VersionOf(string folder)
    {
        string parent = Path.GetDirectoryName(folder.TrimEnd(Path.DirectorySeparatorChar)) ?? folder;
        foreach (string root in (string[])[parent, folder])
        {
            string archive = Path.Combine(root, "build-version"),
                python = Path.Combine(root, "version.py");
            if (File.Exists(archive))
                return File.ReadAllText(archive).Trim();
            if (File.Exists(python) && PythonVersion().Match(File.ReadAllText(python)) is { Success: true } match)
                return match.Groups[1].Value;
        }
        return null;
    }

    [GeneratedRegex(@"^\d+\.\d+")]
    private static partial Regex VersionNumber();

    [GeneratedRegex(@"__version__\s*=\s*['""]([^'""]+)['""]")]
    private static partial Regex PythonVersion();
}
