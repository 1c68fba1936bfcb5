using AttentionDistillation.Runtime;
using TorchSharp;

namespace AttentionDistillation.Tests.Runtime;

public sealed class TorchRuntimeTests
{
    [Fact]
    public void LibtorchIsLoadedFromTheFolderItNames()
    {
        TorchRuntime.EnsureLoaded();
        Assert.True(Directory.Exists(TorchRuntime.Folder));
        Assert.Contains(TorchRuntime.Backend, (string[])["cpu", "cuda", "system"]);
        using var one = torch.ones(1);
        Assert.Equal(1f, one.ToSingle());
    }

    [Fact]
    public void OneLibtorchIsInTheProcess()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "What is loaded into the process is read from Linux's /proc.");
        TorchRuntime.EnsureLoaded();
        string[] mapped =
        [
            .. File.ReadLines("/proc/self/maps")
                .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^1])
                .Where(path => Path.GetFileName(path).StartsWith("libtorch_cpu.so", StringComparison.Ordinal))
                .Distinct(),
        ];
        Assert.Single(mapped);
    }

    [Fact]
    public void TheVersionFitsTorchSharp() =>
        Assert.StartsWith(TorchRuntime.ExpectedVersion.Split('.')[0] + ".", TorchRuntime.Version, StringComparison.Ordinal);
}
