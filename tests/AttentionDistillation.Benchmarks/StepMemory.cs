using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// The memory that a step's tensors take, as libtorch's allocator hands out and keeps it: with its reserve switched off it gives every tensor back to
/// the driver at once, which another thread then asks all the time. Such steps are slow, so they are no part of a timed run.
/// </summary>
internal static class StepMemory
{
    private const string NoReserve = "PYTORCH_NO_CUDA_MEMORY_CACHING";
    private const int Steps = 3;

    /// <summary>Why it cannot be measured; null when it can.</summary>
    internal static string? Refusal(Device device) =>
        device.type != DeviceType.CUDA ? "memory is measured on CUDA."
        : Environment.GetEnvironmentVariable(NoReserve) != "1"
            ? $"memory needs libtorch without its reserve of memory: set {NoReserve}=1 before the program starts."
        : null;

    /// <summary>Bytes above what the driver counted before the step's models were prepared for it, at the highest moment of a few steps.</summary>
    internal static long Measure(StepModels models, StepShape shape, double? clipNorm)
    {
        long before = Used(models.Device);
        using var trained = models.Begin(clipNorm);
        using var batch = shape.Draw(models.Vocabulary, 0).To(models.Device);
        long highest = 0;
        using var stop = new CancellationTokenSource();
        var watch = new Thread(() =>
        {
            using var context = zeros(1, device: models.Device); // gives the thread the device's context
            while (!stop.IsCancellationRequested)
                highest = Math.Max(highest, Used(models.Device));
        });
        watch.Start();
        for (int step = 0; step < Steps; step++)
            trained.Step(batch, null);
        MiniLmStep.Synchronize(models.Device);
        stop.Cancel();
        watch.Join();
        return highest - before;
    }

    private static long Used(Device device) =>
        CudaMemory.UsedBytes(device)
        ?? throw new InvalidOperationException("The NVIDIA driver does not tell how much memory is in use.");
}
