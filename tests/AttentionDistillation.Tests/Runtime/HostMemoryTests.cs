using AttentionDistillation.Runtime;
using TorchSharp;

namespace AttentionDistillation.Tests.Runtime;

[Collection(FastPathsCollection.Name)]
public class HostMemoryTests
{
    [Theory]
    [InlineData(64)]
    [InlineData(24)] // small enough for the allocator to keep it between two uses
    public void ATensorOfSoManyBytesIsSeenEveryTime(int mebibytes)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Only Linux says how much memory a process held at most.");
        void Work()
        {
            using var tensor = torch.ones(mebibytes * 1024L * 1024 / 4);
        }
        Work();
        long?[] peaks = [HostMemory.PeakBytes(Work), HostMemory.PeakBytes(Work)];
        Assert.SkipWhen(peaks[0] is null, "This system does not let a process reset its high-water mark.");
        // Other tests run beside this one and allocate, too: at least the tensor, and the tensor is freed at the end.
        Assert.All(peaks, peak => Assert.True(peak > mebibytes * 1024L * 1024 * 0.8, $"{peak} bytes"));
    }
}
