using System.Diagnostics;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>Times of device work: warm-ups, then repetitions with a synchronisation around each.</summary>
internal static class Timing
{
    internal const int WarmUps = 3;
    internal const int Repetitions = 7;

    /// <summary>Least of several runs, in milliseconds.</summary>
    internal static double Least(Device device, Action step, int repetitions = Repetitions) =>
        Several(device, step, repetitions).Min();

    /// <summary>Times of several runs, in milliseconds.</summary>
    internal static double[] Several(Device device, Action step, int repetitions = Repetitions)
    {
        double[] times = new double[repetitions];
        for (int repetition = -WarmUps; repetition < repetitions; repetition++)
        {
            using var scope = NewDisposeScope();
            Synchronize(device);
            long start = Stopwatch.GetTimestamp();
            step();
            Synchronize(device);
            if (repetition >= 0)
                times[repetition] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }
        return times;
    }

    internal static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    internal static void Synchronize(Device device)
    {
        if (device.type == DeviceType.CUDA)
            cuda.synchronize(device);
    }

    /// <summary>GiB in use: on CUDA of the device (libtorch keeps what it once took, so this only grows), on the CPU this process's largest so far.</summary>
    internal static double MemoryGiB(Device device) =>
        (device.type == DeviceType.CUDA ? CudaMemory.UsedBytes(device) ?? 0 : Process.GetCurrentProcess().PeakWorkingSet64)
        / Math.Pow(2, 30);
}
