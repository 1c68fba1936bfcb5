using System.Diagnostics;
using System.Runtime.CompilerServices;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Support;
using TorchSharp;

namespace AttentionDistillation.Tests.Runtime;

/// <summary>A process of its own that loads libtorch, or says why not: which libtorch a process has is settled once.</summary>
internal static class TorchRuntimeChild
{
    private const string Variable = "TORCH_RUNTIME_TEST";

    /// <summary>Load through <see cref="TorchRuntime"/>, compute, and say what is mapped into the process.</summary>
    internal const string Load = "load";

    /// <summary>Use the library as a program does that has not heard of <see cref="TorchRuntime"/>.</summary>
    internal const string Touch = "touch";

    /// <summary>Search as a program built with <c>TorchBackend=system</c> does.</summary>
    internal const string FindSystem = "find";

    /// <summary>What a child printed: the exit code is 0 when libtorch was found, 1 with the error's message when not.</summary>
    internal sealed record Answer(int ExitCode, string Text)
    {
        internal string Folder => Text.Split('\n')[0];
    }

    /// <summary>Runs a child.</summary>
    /// <param name="work">One of the words above.</param>
    /// <param name="libTorch">LIBTORCH; null for none.</param>
    /// <param name="libraryPath">LD_LIBRARY_PATH; null for none.</param>
    /// <param name="programFolder">A copy of the program to run instead of this one.</param>
    internal static Answer Run(string work, string? libTorch = null, string? libraryPath = null, string? programFolder = null)
    {
        var start = TestProgram.With((Variable, work), ("LIBTORCH", libTorch), ("LD_LIBRARY_PATH", libraryPath));
        if (programFolder is not null)
            start.ArgumentList[0] = Path.Combine(programFolder, Path.GetFileName(start.ArgumentList[0]));
        using var child = Process.Start(start)!;
        var errors = child.StandardError.ReadToEndAsync();
        string text = child.StandardOutput.ReadToEnd();
        child.WaitForExit();
        Assert.True(
            child.ExitCode is 0 or 1 && errors.Result.Length == 0,
            $"The child ended with {child.ExitCode}: {errors.Result}"
        );
        return new(child.ExitCode, text.Trim());
    }

#pragma warning disable CA2255 // A child must act before the test framework reads its command line.
    [ModuleInitializer]
    internal static void RunAsChild()
    {
        if (Environment.GetEnvironmentVariable(Variable) is not { } work)
            return;
        try
        {
            Console.WriteLine(Work(work));
            Environment.Exit(0);
        }
        catch (Exception error)
        {
            Console.WriteLine(error is TypeInitializationException { InnerException: { } inner } ? inner.Message : error.Message);
            Environment.Exit(1);
        }
    }
#pragma warning restore CA2255

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static string Work(string work) =>
        work switch
        {
            Load => Loaded(),
            Touch => Described() + Touched(),
            FindSystem => LibTorchFolder.Find("system", TorchRuntime.ExpectedVersion).Folder,
            _ => throw new ArgumentException($"There is no work '{work}'."),
        };

    private static string Loaded()
    {
        TorchRuntime.EnsureLoaded();
        Touched();
        var mapped = File.ReadLines("/proc/self/maps")
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^1])
            .Where(path =>
                path.Contains("libtorch", StringComparison.Ordinal) || path.Contains("libc10", StringComparison.Ordinal)
            )
            .Distinct();
        return string.Join('\n', mapped.Prepend(TorchRuntime.Version).Prepend(TorchRuntime.Folder));
    }

    // Any type of the library will do.
    private static string Described() => Seeds.Derive(1, "child") == 0 ? "?" : "";

    private static string Touched()
    {
        using var ones = torch.ones(2, 2);
        using var product = torch.matmul(ones, ones);
        return product.sum().item<float>() == 8f ? "computed" : throw new InvalidOperationException("1 x 1 + 1 x 1 is not 2.");
    }
}
