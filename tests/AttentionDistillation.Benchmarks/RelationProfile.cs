using System.Globalization;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>Where the time of one relation goes: each kernel alone, the pointwise rest, and what the processor takes to ask for it all.</summary>
internal static class RelationProfile
{
    /// <summary>L x S x D products of a pass, each two operations an element.</summary>
    private const int RowProducts = 4;
    private const int ColumnProducts = 3;

    internal static BenchmarkCommand Command { get; } =
        new("relation-profile", "[--shapes BxL,...]", "where the time of one relation goes, call by call", Run);

    internal static int Run(Arguments arguments)
    {
        var device = Devices.Resolve(arguments["device"] ?? "cuda");
        if (device.type != DeviceType.CUDA)
        {
            Console.Error.WriteLine("relation-profile looks at the CUDA kernels: it needs a CUDA device.");
            return 1;
        }
        Console.WriteLine($"relation-profile on {Devices.Describe(device)}");
        foreach (
            var instructions in (RelationProgram.Instructions[])
                [RelationProgram.Instructions.WarpGroup, RelationProgram.Instructions.Warp]
        )
        foreach (var shape in arguments.Shapes([new(32, 128), new(32, 512), new(8, 2048), new(1, 8192), new(1, 32768)]))
        {
            RelationProgram.Wanted = instructions;
            Profile(shape, device);
        }
        return 0;
    }

    private static void Profile(RelationShape shape, Device device)
    {
        using var scope = NewDisposeScope();
        var tensors = RelationTimes.Inputs(shape, device);
        var relation = AttentionRelations.Inputs(
            tensors[0],
            tensors[1],
            tensors[2],
            tensors[3],
            null,
            AttentionRelationOptions.Default
        );
        var entry = RelationProgram.For(relation);
        Console.WriteLine($"{shape} {RelationProgram.Wanted}: {entry.Refusal ?? $"served by {entry.Instructions}"}");
        if (entry.Kernels is not { } kernels)
            return;
        foreach (string kernel in (string[])["rows", "columns"])
        {
            var (registers, spilled) = kernels.Program.Resources(
                kernel,
                kernels.Definitions,
                device,
                TiledRelation.SharedBytes(RelationShape.Width, RelationShape.Width, kernel == "columns")
            );
            Console.WriteLine($"  {kernel}: {registers} registers, {spilled} bytes spilled");
        }
        var weights = MaskedReductions.RowWeights(
            null,
            empty(tensors[2].shape[..3], dtype: ScalarType.Float32, device: device),
            RowReduction.Tokens
        );
        double rowsOnly = Timing.Least(device, () => TiledRelation.Compute(relation, null, false)),
            rows = Timing.Least(device, () => TiledRelation.Compute(kernels, relation, weights, false, overColumns: false)),
            both = Timing.Least(device, () => TiledRelation.Compute(relation, weights, false));
        var step = RelationTimes.Step("fused", shape, tensors, device);
        double forward = Timing.Least(device, () => step()),
            whole = RelationTimes.Time("fused", shape, device),
            floor = RelationTimes.Time("floor", shape, device);
        double product = 2.0 * shape.MapElements * RelationShape.Width;
        Line("value alone", rowsOnly, 2 * product);
        Line("rows: value and query gradient", rows, RowProducts * product);
        Line("columns: key gradient", both - rows, ColumnProducts * product);
        Line("rest of the forward: weights, mean, graph", forward - both);
        Line("backward: gradients times the loss's", whole - forward);
        Line("whole", whole, (RowProducts + ColumnProducts) * product);
        Line("attention forward and backward", floor, 7 * product);
        Line("whole / attention", whole / floor);
        // Nothing is waited for here: what is left is the processor's share.
        Timing.Synchronize(device);
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        using (NewDisposeScope())
            step().backward();
        double asked = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        Timing.Synchronize(device);
        Line("time to ask for all of it (runs ahead of the device)", asked);
    }

    private static void Line(string what, double milliseconds, double operations = 0) =>
        Console.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"  {what, -54} {milliseconds, 8:f3}{(operations > 0 ? $" ms, {operations / milliseconds / 1e9:f0} TFLOP/s" : "")}"
            )
        );
}
