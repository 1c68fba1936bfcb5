using System.Text;
using AttentionDistillation.Runtime;
using TorchSharp;

namespace AttentionDistillation.Tests.Runtime;

/// <summary>Which libtorch a process takes, and what it says when there is none to take; each case in a process of its own.</summary>
public sealed class TorchSearchTests : IDisposable
{
    private const string LinuxOnly = "Names of libraries, LD_LIBRARY_PATH and /proc are Linux's.";
    private readonly string folder;

    public TorchSearchTests()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), LinuxOnly);
        folder = Directory.CreateTempSubdirectory("libtorch-").FullName;
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void ADecoyOnTheLibraryPathIsNotPickedUp()
    {
        string decoy = Garbage(
            "decoy",
            "libtorch_cpu.so",
            "libc10.so",
            "libtorch.so",
            "libtorch_global_deps.so",
            "libLibTorchSharp.so"
        );
        var answer = TorchRuntimeChild.Run(TorchRuntimeChild.Load, LibTorchOfThisRun(), decoy);
        Assert.Equal(0, answer.ExitCode);
        Assert.DoesNotContain(decoy, answer.Text, StringComparison.Ordinal);
        Assert.Equal("computed", TorchRuntimeChild.Run(TorchRuntimeChild.Touch, LibTorchOfThisRun(), decoy).Text);
    }

    [Theory]
    [InlineData(TorchRuntimeChild.Load)]
    [InlineData(TorchRuntimeChild.Touch)]
    public void ANamedFolderWithoutLibtorchIsNamed(string work)
    {
        string nothing = Path.Combine(folder, "nothing");
        foreach (bool exists in (bool[])[false, true])
        {
            if (exists)
                Directory.CreateDirectory(nothing);
            MustBeOneMessage(
                TorchRuntimeChild.Run(work, nothing),
                $"LIBTORCH is '{nothing}', but there is no libtorch_cpu.so in it or in its lib folder."
            );
        }
    }

    [Fact]
    public void AnotherVersionIsNamed()
    {
        string torch = Path.GetDirectoryName(Garbage("torch/lib", "libtorch_cpu.so", "libc10.so"))!;
        File.WriteAllText(Path.Combine(torch, "version.py"), "__version__ = '2.4.0+cu121'\n");
        MustBeOneMessage(
            TorchRuntimeChild.Run(TorchRuntimeChild.Load, torch),
            $"libtorch in '{torch}/lib' is 2.4.0+cu121; this build works with 2.10 to 2.11."
        );
    }

    [Fact]
    public void ADamagedLibraryIsNamed()
    {
        string torch = Garbage("torch", "libtorch_cpu.so", "libc10.so");
        MustBeOneMessage(
            TorchRuntimeChild.Run(TorchRuntimeChild.Load, torch),
            $"libtorch in '{torch}' does not load: {torch}/libc10.so"
        );
    }

    [Fact]
    public void TheRealFolderMayBeNamedItself()
    {
        string real = RealFolder();
        var answer = TorchRuntimeChild.Run(TorchRuntimeChild.Load, real);
        Assert.Equal((0, real), (answer.ExitCode, answer.Folder));
        Assert.Contains(Path.Combine(real, "libtorch_cpu.so"), answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void AVirtualEnvironmentMayBeNamed()
    {
        string package = Path.Combine(folder, "venv", "lib", "python3.12", "site-packages", "torch");
        Directory.CreateDirectory(package);
        File.CreateSymbolicLink(Path.Combine(package, "lib"), RealFolder());
        File.WriteAllText(Path.Combine(package, "version.py"), "__version__ = '2.10.0+cpu'\n");
        var answer = TorchRuntimeChild.Run(TorchRuntimeChild.Load, Path.Combine(folder, "venv"));
        Assert.Equal((0, Path.Combine(package, "lib")), (answer.ExitCode, answer.Folder));
        Assert.Equal("2.10.0+cpu", answer.Text.Split('\n')[1]);
    }

    [Fact]
    public void AProgramWithoutItsLibtorchSaysSo()
    {
        Assert.SkipWhen(TorchRuntime.Backend == "system", "A build for the system's libtorch has none beside the program.");
        string program = ProgramWithoutLibTorch();
        MustBeOneMessage(
            TorchRuntimeChild.Run(TorchRuntimeChild.Load, programFolder: program),
            $"libtorch {TorchRuntime.ExpectedVersion} ({TorchRuntime.Backend}) is not beside the program in '{program}/'."
        );
    }

    [Fact]
    public void TheSystemsLibtorchIsNamedOrLiesOnTheLibraryPath()
    {
        string program = ProgramWithoutLibTorch();
        MustBeOneMessage(
            TorchRuntimeChild.Run(TorchRuntimeChild.FindSystem, programFolder: program),
            "This build uses an existing libtorch (TorchBackend=system), but LIBTORCH is not set."
        );
        string second = Garbage("second", "libtorch_cpu.so"),
            third = Garbage("third", "libtorch_cpu.so");
        string path = $"{Path.Combine(folder, "missing")}:{second}:{third}";
        Assert.Equal(second, TorchRuntimeChild.Run(TorchRuntimeChild.FindSystem, null, path, program).Folder);
        Assert.Equal(third, TorchRuntimeChild.Run(TorchRuntimeChild.FindSystem, third, path, program).Folder);
    }

    [Fact]
    public void ThePackagesLibraryIsUntouchedAndTheCopyDiffersInTheOneWeakNeed()
    {
        string packages =
            Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        string original = Path.Combine(
            packages,
            "torchsharp",
            typeof(torch).Assembly.GetName().Version!.ToString(3),
            "runtimes",
            "linux-x64",
            "native",
            "libLibTorchSharp.so"
        );
        Assert.SkipUnless(File.Exists(original), $"There is no package cache at '{packages}'.");
        byte[] before = File.ReadAllBytes(original),
            after = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "libLibTorchSharp.so"));
        Assert.Equal(before.Length, after.Length);
        int[] changed = [.. Enumerable.Range(0, before.Length).Where(at => before[at] != after[at])];
        // An Elf64_Vernaux is the hash of the version's name (4 bytes), then the flags (2 bytes): 0 is a strong need, 2 a weak one.
        int flags = Assert.Single(changed);
        Assert.Equal(((byte)0, (byte)2), (before[flags], after[flags]));
        Assert.Equal(ElfHash("GLIBCXX_3.4.32"), BitConverter.ToUInt32(before, flags - 4));
    }

    // One line of one sentence on what is wrong, then the remedy; not a loader's trace.
    private static void MustBeOneMessage(TorchRuntimeChild.Answer answer, string start)
    {
        Assert.Equal(1, answer.ExitCode);
        Assert.StartsWith(start, answer.Text, StringComparison.Ordinal);
        Assert.EndsWith(LibTorchFolder.Remedy, answer.Text, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', answer.Text);
    }

    private string Garbage(string name, params string[] libraries)
    {
        string target = Path.Combine(folder, name);
        Directory.CreateDirectory(target);
        foreach (string library in libraries)
            File.WriteAllText(Path.Combine(target, library), "no library");
        return target;
    }

    // What this very run was told to use; a child must be told the same.
    private static string? LibTorchOfThisRun() => Environment.GetEnvironmentVariable("LIBTORCH");

    // Where the link beside this program leads: the package cache.
    private static string RealFolder()
    {
        string library = Path.Combine(TorchRuntime.Folder, "libtorch_cpu.so");
        return Path.GetDirectoryName(File.ResolveLinkTarget(library, returnFinalTarget: true)?.FullName ?? library)!;
    }

    private string ProgramWithoutLibTorch()
    {
        string program = Path.Combine(folder, "program");
        Directory.CreateDirectory(program);
        foreach (string pattern in (string[])["*.dll", "*.json", "libLibTorchSharp.so"])
        foreach (string file in Directory.GetFiles(AppContext.BaseDirectory, pattern))
            File.Copy(file, Path.Combine(program, Path.GetFileName(file)));
        return program;
    }

    // System V ABI, "Symbol Table Hash Function".
    private static uint ElfHash(string name)
    {
        uint hash = 0;
        foreach (byte letter in Encoding.ASCII.GetBytes(name))
        {
            hash = (hash << 4) + letter;
            uint high = hash & 0xf0000000;
            hash = (hash ^ (high >> 24)) & ~high;
        }
        return hash;
    }
}
