using System.Globalization;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>Prints measurements as lines and writes them as CSV; one that fails is reported and the rest go on.</summary>
internal sealed class StepReport : IDisposable
{
    /// <summary>Dense bfloat16 peak of an H100 SXM, NVIDIA's data sheet.</summary>
    private const double PeakOperationsPerSecond = 989.4e12;

    private readonly Device device;
    private readonly StreamWriter? csv;

    internal StepReport(Device device, string? csvFile)
    {
        this.device = device;
        if (csvFile is not null)
        {
            csv = new StreamWriter(csvFile) { AutoFlush = true };
            csv.WriteLine(
                "program,shape,real_tokens,variant,measure,min_ms,median_ms,tokens_per_second,real_tokens_per_second,teraflop,mfu,memory_gib"
            );
        }
        Console.WriteLine($"minilm-step on {Devices.Describe(device)}");
    }

    internal int Failures { get; private set; }

    internal void Step(StepShape shape, string variant, string measure, double operations, double[] milliseconds)
    {
        var (least, median) = Summary(milliseconds);
        double rate = shape.Tokens / least * 1e3,
            real = shape.RealTokens / least * 1e3;
        double? mfu = device.type == DeviceType.CUDA ? operations / (least / 1e3) / PeakOperationsPerSecond : null;
        double? memory = CudaMemory.UsedBytes(device) / Math.Pow(2, 30);
        Line(
            $"{shape, -8} {variant, -20} {measure, -10} min {least:f2} ms, median {median:f2} ms, {rate / 1e3:f0}k tokens/s"
                + (shape.Padded ? $" ({real / 1e3:f0}k real)" : "")
                + (
                    mfu is { } share
                        ? $", {operations / 1e12:f2} TFLOP, MFU {share:p1}, device memory taken so far {memory:f1} GiB"
                        : ""
                )
        );
        Row(shape, variant, measure, least, median, rate, real, operations / 1e12, mfu, memory);
    }

    /// <summary>Bytes of the tensors alive at once.</summary>
    internal void Memory(StepShape shape, string variant, long peakBytes)
    {
        double peak = peakBytes / Math.Pow(2, 30);
        Line($"{shape, -8} {variant, -20} peak of the tensors alive {peak:f2} GiB");
        Row(shape, variant, "peak memory", null, null, null, null, null, null, peak);
    }

    internal void Part(StepShape shape, string variant, string section, double[] milliseconds)
    {
        var (least, median) = Summary(milliseconds);
        Line($"{shape, -8} {variant, -20}   {section, -20} min {least:f2} ms, median {median:f2} ms");
        Row(shape, variant, section, least, median);
    }

    /// <summary>One operator: its time, what it reads and writes a second, what it computes a second.</summary>
    internal void Operator(StepShape shape, string name, double[] milliseconds, double bytes, double operations)
    {
        var (least, median) = Summary(milliseconds);
        Line(
            $"{shape, -8}   {name, -44} {least:f3} ms, {bytes / least / 1e9:f2} TB/s"
                + (operations > 0 ? $", {operations / least / 1e9:f0} TFLOP/s" : "")
        );
        Row(shape, "operator", name, least, median);
    }

    /// <summary>Runs a measurement, then frees what is left of it, so that the next one starts from the same state.</summary>
    internal void Guard(string what, Action action)
    {
        try
        {
            action();
        }
        catch (Exception error)
        {
            Failures++;
            Line($"FAILED {what}: {error.GetType().Name}: {error.Message.Split('\n')[0]}");
        }
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }

    public void Dispose() => csv?.Dispose();

    private static (double Least, double Median) Summary(double[] values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[0], (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2);
    }

    private void Row(StepShape shape, string variant, string measure, params double?[] numbers)
    {
        const int Columns = 8;
        csv?.WriteLine(
            string.Join(
                ',',
                (string[])
                    [
                        "csharp",
                        shape.ToString(),
                        shape.RealTokens.ToString(CultureInfo.InvariantCulture),
                        variant,
                        measure,
                        .. Enumerable
                            .Range(0, Columns)
                            .Select(i =>
                                i < numbers.Length && numbers[i] is { } number
                                    ? number.ToString("G6", CultureInfo.InvariantCulture)
                                    : ""
                            ),
                    ]
            )
        );
    }

    private static void Line(FormattableString text) => Line(text.ToString(CultureInfo.InvariantCulture));

    private static void Line(string text)
    {
        Console.WriteLine(text);
        Console.Out.Flush();
    }
}
