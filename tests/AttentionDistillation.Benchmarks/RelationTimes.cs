using System.Globalization;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>One form of the relation over shapes, in a process of its own, so that the memory it takes is its own.</summary>
internal static class RelationTimes
{
    /// <summary>Maps of more elements than this do not fit the definition's memory.</summary>
    private const double LargestDense = 1.1e9;
    private const int Seed = 20;

    /// <summary>What can be timed; the first is what all others are compared with.</summary>
    internal static string[] Forms { get; } = ["floor", "fused", "padded", "causal", "warp", "library", "blockwise", "dense"];

    internal static BenchmarkCommand Command { get; } =
        new(
            "relation-times",
            "--what floor|fused|padded|causal|warp|library|blockwise|dense [--shapes BxL,...] [--device cpu|cuda]",
            "one form over shapes: least of several times, memory",
            Run
        );

    internal static int Run(Arguments arguments)
    {
        string what = arguments["what"] ?? "fused";
        if (!Forms.Contains(what))
            throw new ArgumentException($"There is nothing called '{what}' to time. Use one of: {string.Join(", ", Forms)}.");
        var device = Devices.Resolve(arguments["device"]);
        bool onCuda = device.type == DeviceType.CUDA;
        TiledRelation.IsEnabled = what != "library";
        RelationProgram.Wanted = what == "warp" ? RelationProgram.Instructions.Warp : RelationProgram.Instructions.Best;
        Time(what, new(1, 64), device);
        double before = Timing.MemoryGiB(device);
        foreach (var shape in arguments.Shapes(onCuda ? RelationShape.OnDevice : RelationShape.OnCpu))
        {
            if (what is "blockwise" or "dense" && shape.MapElements > LargestDense)
                continue;
            try
            {
                double time = Time(what, shape, device);
                Console.WriteLine(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"ours {what} B={shape.Batch} L={shape.Length} {time:f3} ms peak {Timing.MemoryGiB(device) - before:f2} GiB"
                    )
                );
            }
            catch (Exception error)
            {
                Console.WriteLine($"FAILED ours {what} {shape}: {error.GetType().Name}: {error.Message.Split('\n')[0]}");
            }
            Console.Out.Flush();
        }
        return 0;
    }

    /// <summary>Least time of a forward and backward, milliseconds.</summary>
    internal static double Time(string what, RelationShape shape, Device device)
    {
        using var scope = NewDisposeScope();
        var tensors = Inputs(shape, device);
        var step = Step(what, shape, tensors, device);
        return Timing.Least(
            device,
            () =>
            {
                step().backward();
                (tensors[2].grad, tensors[3].grad) = (null, null);
            }
        );
    }

    /// <summary>Teacher's queries and keys, student's queries and keys [B, 12, L, 64]: bfloat16 on CUDA, float32 on the CPU.</summary>
    internal static Tensor[] Inputs(RelationShape shape, Device device)
    {
        Seeds.SetGlobal(Seed, "speed");
        var type = device.type == DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32;
        Tensor[] tensors =
        [
            .. Enumerable
                .Range(0, 4)
                .Select(_ => randn([shape.Batch, RelationShape.Heads, shape.Length, RelationShape.Width], type, device)),
        ];
        tensors[2].requires_grad_();
        tensors[3].requires_grad_();
        return tensors;
    }

    /// <summary>The loss of a form as a function of the student's tensors.</summary>
    internal static Func<Tensor> Step(string what, RelationShape shape, Tensor[] tensors, Device device)
    {
        if (what == "floor")
            return () =>
                nn.functional.scaled_dot_product_attention(tensors[2], tensors[3], tensors[3]).sum(type: ScalarType.Float32);
        var options = new AttentionRelationOptions
        {
            IsCausal = what == "causal",
            Form = what switch
            {
                "blockwise" => RelationForm.Blockwise,
                "dense" => RelationForm.Dense,
                _ => device.type == DeviceType.CUDA ? RelationForm.Fused : RelationForm.Auto,
            },
        };
        var mask = what == "padded" ? Mask(shape, device) : null;
        return () => AttentionRelations.KlDivergence(tensors[0], tensors[1], tensors[2], tensors[3], mask, options);
    }

    // Every second sequence is half as long; one alone is three quarters of its length.
    private static Tensor Mask(RelationShape shape, Device device)
    {
        long[] lengths =
        [
            .. Enumerable
                .Range(0, (int)shape.Batch)
                .Select(row =>
                    shape.Batch == 1 ? shape.Length * 3 / 4
                    : row % 2 == 0 ? shape.Length
                    : shape.Length / 2
                ),
        ];
        return arange(shape.Length, device: device).unsqueeze(0) < tensor(lengths, device: device).unsqueeze(1);
    }
}
