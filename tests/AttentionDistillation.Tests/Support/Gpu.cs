using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Support;

/// <summary>The device of the tests of kind Cuda.</summary>
internal static class Gpu
{
    /// <summary>The trait's value: <c>dotnet test --filter Kind=Cuda</c>.</summary>
    internal const string Kind = "Cuda";

    /// <summary>The CUDA device; where there is none the test is skipped, or fails if RESEARCH_DEVICE asks for CUDA.</summary>
    internal static Device Required()
    {
        TorchRuntime.EnsureLoaded();
        bool wanted =
            Environment.GetEnvironmentVariable(RunSettings.DeviceVariable)?.StartsWith("cuda", StringComparison.OrdinalIgnoreCase)
            == true;
        Assert.SkipUnless(
            wanted || cuda.is_available(),
            "There is no CUDA device. On a machine with one: RESEARCH_DEVICE=cuda dotnet test --filter Kind=Cuda"
        );
        return Devices.Resolve("cuda");
    }
}
