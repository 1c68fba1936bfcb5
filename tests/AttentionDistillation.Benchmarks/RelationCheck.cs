using System.Globalization;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// Every form and kernel of the attention relation on this machine against the definition in float64. The rule: gradients at most twice as wrong
/// as the definition in the same dtype, or exact to a rounding of that dtype.
/// </summary>
internal static class RelationCheck
{
    private const double AllowedRatio = 2.0;
    private const long LongestOnCpu = 512;

    private sealed record Subject(string Name, ScalarType Type, RelationForm Form, Action Prepare);

    internal static BenchmarkCommand Command { get; } =
        new(
            "relation-check",
            "[--device cpu|cuda] [--only KERNEL,...] [--cases NAME,...]",
            "every form and kernel of the relation against float64: errors beside those of the definition in the same dtype",
            Run
        );

    internal static int Run(Arguments arguments)
    {
        var device = Devices.Resolve(arguments["device"]);
        Console.WriteLine($"relation-check on {Devices.Describe(device)}");
        var subjects = Subjects(device).Where(subject => arguments.List("only")?.Contains(subject.Name) ?? true);
        var cases = RelationCase.All.Where(call => arguments.List("cases")?.Contains(call.Name) ?? true).ToArray();
        int broken = 0;
        foreach (var subject in subjects)
        foreach (var call in cases.Where(call => device.type == DeviceType.CUDA || call.Queries <= LongestOnCpu))
        {
            try
            {
                subject.Prepare();
                broken += Compare(subject, call, device) ? 0 : 1;
            }
            catch (Exception error)
            {
                broken++;
                Console.WriteLine($"FAILED {subject.Name} {call.Name}: {error.GetType().Name}: {error.Message}");
            }
            finally
            {
                (TiledRelation.IsEnabled, RelationProgram.Wanted) = (true, RelationProgram.Instructions.Best);
            }
        }
        Console.WriteLine(broken == 0 ? "every gradient keeps the rule" : $"{broken} cases break the rule or failed");
        return broken == 0 ? 0 : 1;
    }

    private static Subject[] Subjects(Device device)
    {
        Subject Of(string name, ScalarType type, RelationForm form) =>
            new($"{name}-{type}".ToLowerInvariant(), type, form, () => { });
        Subject Tiled(ScalarType type, RelationProgram.Instructions instructions) =>
            new(
                $"tiled-{instructions}-{type}".ToLowerInvariant(),
                type,
                RelationForm.Fused,
                () => RelationProgram.Wanted = instructions
            );
        Subject Library(ScalarType type, AttentionKernel kernel) =>
            new(
                $"library-{kernel}-{type}".ToLowerInvariant(),
                type,
                RelationForm.Fused,
                () => (TiledRelation.IsEnabled, AttentionOperators.HalfPrecisionKernel) = (false, kernel)
            );
        return device.type == DeviceType.CUDA
            ?
            [
                Tiled(ScalarType.BFloat16, RelationProgram.Instructions.Warp),
                Tiled(ScalarType.Float16, RelationProgram.Instructions.Warp),
                Tiled(ScalarType.BFloat16, RelationProgram.Instructions.WarpGroup),
                Tiled(ScalarType.Float16, RelationProgram.Instructions.WarpGroup),
                Of("auto", ScalarType.Float32, RelationForm.Auto),
                Of("fused", ScalarType.Float32, RelationForm.Fused),
                Of("blockwise", ScalarType.Float32, RelationForm.Blockwise),
                Of("blockwise", ScalarType.BFloat16, RelationForm.Blockwise),
                Library(ScalarType.BFloat16, AttentionKernel.CuDnn),
                Library(ScalarType.BFloat16, AttentionKernel.Flash),
            ]
            :
            [
                Of("fused", ScalarType.Float32, RelationForm.Fused),
                Of("blockwise", ScalarType.Float32, RelationForm.Blockwise),
                Of("fused", ScalarType.BFloat16, RelationForm.Fused),
                Of("blockwise", ScalarType.BFloat16, RelationForm.Blockwise),
                Of("fused", ScalarType.Float64, RelationForm.Fused),
            ];
    }

    private static bool Compare(Subject subject, RelationCase call, Device device)
    {
        using var scope = NewDisposeScope();
        var inputs = call.Draw(subject.Type, device);
        var truth = call.Definition([.. inputs.Select(input => input.to(ScalarType.Float64))], device);
        var naive = call.Definition(inputs, device);
        var ours = call.Step(inputs, subject.Form, device);
        bool kept = true;
        var parts = new List<string>();
        foreach (var (name, part) in new[] { ("loss", 0), ("dq", 1), ("dk", 2) })
        {
            double size = Math.Max(Largest(truth[part]), 1e-30),
                mine = Largest(ours[part].@double() - truth[part]) / size,
                theirs = Largest(naive[part].@double() - truth[part]) / size;
            bool holds = mine <= (AllowedRatio * theirs) + Rounding(subject.Type);
            kept &= holds || part == 0;
            string ratio = theirs == 0.0 ? "" : string.Create(CultureInfo.InvariantCulture, $", x{mine / theirs:f2}");
            parts.Add(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{name} {mine:0.0e-0} (naive {theirs:0.0e-0}{ratio}){(holds ? "" : " OVER")}"
                )
            );
        }
        string instructions =
            device.type == DeviceType.CUDA && TiledRelation.IsEnabled && Refused(inputs, call, device) is { } refusal
                ? $"  [not tiled: {refusal}]"
                : "";
        Console.WriteLine($"{subject.Name, -24} {call.Name, -24} {string.Join("  ", parts)}{instructions}");
        Console.Out.Flush();
        return kept;
    }

    private static string? Refused(Tensor[] inputs, RelationCase call, Device device) =>
        TiledRelation.Refusal(
            AttentionRelations.Inputs(
                inputs[0],
                inputs[1],
                inputs[2],
                inputs[3],
                call.Mask(device),
                call.Options(RelationForm.Fused)
            )
        );

    // Half a unit of the last place of the largest entry.
    private static double Rounding(ScalarType type) =>
        type switch
        {
            ScalarType.BFloat16 => Math.Pow(2, -9),
            ScalarType.Float16 => Math.Pow(2, -12),
            ScalarType.Float32 => Math.Pow(2, -24),
            _ => 1e-13,
        };

    private static double Largest(Tensor tensor) => tensor.abs().max().to(ScalarType.Float64).item<double>();
}
