using System.Globalization;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// The definition and our form in turns on the CPU, so that other load of the machine meets both alike: the median of the ratios of neighbours.
/// Memory is what a process of its own needs beyond its inputs.
/// </summary>
internal static class RelationOnCpu
{
    private const int Length = 2048;
    private const int Pairs = 7;

    internal static BenchmarkCommand Command { get; } =
        new(
            "relation-cpu",
            "[--length N] [--pairs N]",
            "the definition and our form in turns on the CPU: ratio of times, and of memory",
            Run
        );

    internal static int Run(Arguments arguments)
    {
        int length = arguments.Number("length", Length);
        var shape = new RelationShape(1, length);
        if (arguments["memory"] is { } form)
        {
            Console.WriteLine(Memory(Enum.Parse<RelationForm>(form, true), shape).ToString(CultureInfo.InvariantCulture));
            return 0;
        }
        Console.WriteLine(
            $"relation-cpu on {Devices.Describe(CPU)}, 1 x {length}, {RelationShape.Heads} heads of {RelationShape.Width}, float32"
        );
        using var scope = NewDisposeScope();
        var tensors = RelationTimes.Inputs(shape, CPU);
        var forms = new[] { RelationForm.Dense, RelationForm.Auto };
        foreach (var one in forms)
            Milliseconds(one, tensors);
        var times = Enumerable
            .Range(0, arguments.Number("pairs", Pairs))
            .Select(_ => forms.Select(one => Milliseconds(one, tensors)).ToArray())
            .ToArray();
        double[] memory =
        [
            .. forms.Select(one =>
                double.Parse(
                    Children.Self(
                        "relation-cpu",
                        "--memory",
                        one.ToString(),
                        "--length",
                        length.ToString(CultureInfo.InvariantCulture)
                    )[0],
                    CultureInfo.InvariantCulture
                )
            ),
        ];
        Line($"definition {Timing.Median(times.Select(pair => pair[0])):f0} ms, {memory[0]:f0} MiB beyond the inputs");
        Line($"ours       {Timing.Median(times.Select(pair => pair[1])):f0} ms, {memory[1]:f0} MiB beyond the inputs");
        Line(
            $"{Timing.Median(times.Select(pair => pair[0] / pair[1])):f2} x faster (median of {times.Length} neighbours), {memory[0] / memory[1]:f1} x less memory"
        );
        return 0;
    }

    private static double Milliseconds(RelationForm form, Tensor[] tensors)
    {
        using var scope = NewDisposeScope();
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        Step(form, tensors);
        return System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    private static void Step(RelationForm form, Tensor[] tensors)
    {
        AttentionRelations.KlDivergence(tensors[0], tensors[1], tensors[2], tensors[3], null, new() { Form = form }).backward();
        (tensors[2].grad, tensors[3].grad) = (null, null);
    }

    // MiB by which the largest working set grows; a short call first loads what any call needs.
    private static double Memory(RelationForm form, RelationShape shape)
    {
        using var scope = NewDisposeScope();
        Step(form, RelationTimes.Inputs(new(1, 64), CPU));
        var tensors = RelationTimes.Inputs(shape, CPU);
        double before = Timing.MemoryGiB(CPU);
        Step(form, tensors);
        return Math.Max((Timing.MemoryGiB(CPU) - before) * 1024, 1);
    }

    private static void Line(FormattableString text) => Console.WriteLine(text.ToString(CultureInfo.InvariantCulture));
}
