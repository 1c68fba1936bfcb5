using AttentionDistillation.Runtime;
using TorchSharp;

namespace AttentionDistillation.Tests.Runtime;

[Collection(FastPathsCollection.Name)]
public class HostMemoryTests
{
    [Theory]
    [InlineData(256)]
    [InlineData(32)] // small enough for the allocator to keep it between two uses
    public void ATensorOfSoManyBytesIsSeenAgain(int mebibytes)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Only Linux says how much memory a process held at most.");
        void Work()
        {
            using var tensor = torch.ones(mebibytes * 1024L * 1024 / 4);
        }
        Work();
        long?[] peaks = [.. Enumerable.Range(0, 6).Select(_ => HostMemory.PeakBytes(Work))];
        Assert.SkipWhen(peaks[0] is null, "This system does not let a process reset its high-water mark.");
        // The garbage collector may give memory back meanwhile, which hides a part: not every time.
        Assert.Contains(peaks[1..], peak => peak > mebibytes * 1024L * 1024 * 0.8);
        Assert.Contains(peaks, peak => peak < mebibytes * 1024L * 1024 * 1.5);
    }
}
