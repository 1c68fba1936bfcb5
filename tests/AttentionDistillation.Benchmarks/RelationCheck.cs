using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// Every kernel that serves the attention relation on this machine: errors against the definition in float64 beside those of the definition
/// in the same dtype, then times beside the floor, a forward and backward of the library's own attention.
/// </summary>
internal static class RelationCheck
{
    private sealed record Case(
        string Name,
        long Batch,
        long Heads,
        long Queries,
        long Keys,
        long TeacherWidth,
        long Width,
        long[]? Lengths = null,
        bool Causal = false,
        double Size = 1.0,
        double Distance = 0.0
    );

    private static readonly Case[] Cases =
    [
        new("plain", 2, 4, 256, 256, 64, 64),
        new("widths 64 / 32", 2, 4, 200, 200, 64, 32),
        new("widths 32 / 64", 2, 4, 200, 200, 32, 64),
        new("odd widths 20 / 7", 2, 4, 129, 129, 20, 7),
        new("width 96", 1, 2, 130, 130, 96, 96),
        new("causal", 2, 4, 257, 257, 64, 32, Causal: true),
        new("half padded", 2, 4, 512, 512, 64, 64, [512, 3]),
        new("padded, one wholly", 3, 4, 192, 192, 64, 32, [192, 77, 0]),
        new("causal, padded", 3, 4, 192, 192, 64, 32, [192, 77, 0], true),
        new("causal with a past", 2, 4, 100, 192, 64, 32, [192, 150], true),
        new("cross", 2, 4, 100, 300, 64, 64, [300, 40]),
        new("large scores", 2, 4, 256, 256, 64, 64, [256, 100], false, 3),
        new("student near teacher", 2, 4, 256, 256, 64, 64, Distance: 0.1),
        new("long, half padded", 2, 2, 8192, 8192, 64, 64, [8192, 4096]),
    ];

    // B x L of the design's table: 12 heads of 64.
    private static readonly (long Batch, long Length)[] Shapes =
    [
        (32, 128),
        (32, 512),
        (8, 2048),
        (1, 8192),
        (1, 16384),
        (1, 32768),
        (1, 65536),
        (1, 131072),
    ];

    private const int Heads = 12;
    private const int Width = 64;
    private const int WarmUps = 3;
    private const int Repetitions = 5;
    private const int Seed = 20;

    /// <summary>Maps of more elements than this do not fit the naive form's memory.</summary>
    private const long LargestNaive = 1L << 30;

    /// <summary>On the CPU only lengths up to this are run, one sequence each.</summary>
    private const long LongestOnCpu = 2048;

    internal static BenchmarkCommand Command { get; } =
        new(
            "relation-check",
            "[--device cpu|cuda] [--only accuracy|backward|speed] | --one floor|flash|cudnn|fused|blockwise|dense --shape BxL",
            "every form and kernel of the attention relation against float64, then times and memory",
            Run
        );

    internal static int Run(string[] arguments)
    {
        string? Option(string name)
        {
            int at = Array.IndexOf(arguments, name);
            return at >= 0 && at + 1 < arguments.Length ? arguments[at + 1] : null;
        }
        var device = Devices.Resolve(Option("--device"));
        string? only = Option("--only");
        Console.WriteLine($"relation-check on {Devices.Describe(device)}");
        if (Option("--one") is { } one)
        {
            One(one, Option("--shape") ?? "1x2048", device);
            return 0;
        }
        if (only is null or "accuracy")
            foreach (var (kernel, type) in Kernels(device))
            foreach (var call in Cases.Where(call => device.type == DeviceType.CUDA || call.Queries <= 512))
                Guard($"{kernel} {type} {call.Name}", () => Accuracy(kernel, type, call, device));
        if (only is null or "backward")
        {
            FusedRelation.Path = FusedRelation.TransposedPath.Backward;
            var kernel = device.type == DeviceType.CUDA ? AttentionKernel.Flash : AttentionKernel.CpuFlash;
            foreach (var call in Cases.Where(call => call.Queries <= 512))
                Guard($"backward {call.Name}", () => Accuracy(kernel, ScalarType.BFloat16, call, device));
            FusedRelation.Path = FusedRelation.TransposedPath.Forward;
        }
        if (only is null or "speed")
            Speed(device);
        return 0;
    }

    // In order of risk: what fails hard loses only what follows it.
    private static IEnumerable<(AttentionKernel Kernel, ScalarType Type)> Kernels(Device device) =>
        device.type == DeviceType.CUDA
            ?
            [
                (AttentionKernel.MemoryEfficient, ScalarType.Float32),
                (AttentionKernel.Flash, ScalarType.BFloat16),
                (AttentionKernel.MemoryEfficient, ScalarType.BFloat16),
                (AttentionKernel.Flash, ScalarType.Float16),
                (AttentionKernel.CuDnn, ScalarType.BFloat16),
            ]
            :
            [
                (AttentionKernel.CpuFlash, ScalarType.Float64),
                (AttentionKernel.CpuFlash, ScalarType.Float32),
                (AttentionKernel.CpuFlash, ScalarType.BFloat16),
            ];

    private static void Accuracy(AttentionKernel kernel, ScalarType type, Case call, Device device)
    {
        using var scope = NewDisposeScope();
        var inputs = Draw(call, type, device);
        var truth = Truth(inputs.Select(input => input.to(ScalarType.Float64)).ToArray(), call, device);
        var naive = Truth(inputs, call, device);
        var relation = Relation(inputs, call, device);
        var weights = MaskedReductions.RowWeights(
            Valid(relation, call),
            empty(relation.StudentQuery.shape[..3], dtype: relation.Accumulator, device: device),
            RowReduction.Tokens
        );
        var pieces = FusedRelation.Compute(relation, weights, kernel);
        var value = MaskedReductions.Mean(pieces.Rows, Valid(relation, call));
        Tensor[] ours = [value, pieces.QueryGradient!, pieces.KeyGradient!];
        string[] names = ["loss", "dq", "dk"];
        string text = string.Join(
            "  ",
            names.Select(
                (name, part) =>
                {
                    double size = Math.Max(Largest(truth[part]), 1e-30),
                        fused = Largest(ours[part].@double() - truth[part]) / size,
                        plain = Largest(naive[part].@double() - truth[part]) / size;
                    string ratio = plain == 0.0 ? "" : $", x{fused / plain:f2}";
                    return $"{name} {fused:0.0e-0} (naive {plain:0.0e-0}{ratio})";
                }
            )
        );
        Report($"{kernel, -15} {FusedRelation.Path, -8} {type, -9} {call.Name, -20} {text}");
    }

    private static Tensor[] Truth(Tensor[] inputs, Case call, Device device)
    {
        // One sequence and head at a time, so that the float64 maps of long sequences fit.
        using var scope = NewDisposeScope();
        var relation = Relation(inputs, call, device);
        var (query, key) = (relation.StudentQuery.requires_grad_(), relation.StudentKey.requires_grad_());
        var weights = MaskedReductions.RowWeights(
            Valid(relation, call),
            empty(query.shape[..3], dtype: relation.Accumulator, device: device),
            RowReduction.Tokens
        );
        var value = zeros(1, dtype: relation.Accumulator, device: device);
        for (long sequence = 0; sequence < call.Batch; sequence++)
        for (long head = 0; head < call.Heads; head++)
        {
            using var part = NewDisposeScope();
            Tensor Cut(Tensor tensor) => tensor.narrow(0, sequence, 1).narrow(1, head, 1);
            var rows = DenseRelation.KlRows(
                relation with
                {
                    TeacherQuery = Cut(relation.TeacherQuery),
                    TeacherKey = Cut(relation.TeacherKey),
                    StudentQuery = Cut(query),
                    StudentKey = Cut(key),
                    Mask = relation.Mask?.narrow(0, sequence, 1),
                }
            );
            var weight = weights.narrow(0, sequence, 1);
            var loss = where(weight > 0, rows * weight, zeros_like(rows)).sum();
            loss.backward();
            value.add_(loss.detach());
        }
        return
        [
            value.squeeze(0).MoveToOuterDisposeScope(),
            query.grad!.MoveToOuterDisposeScope(),
            key.grad!.MoveToOuterDisposeScope(),
        ];
    }

    private static Tensor[] Draw(Case call, ScalarType type, Device device)
    {
        using var generator = new Generator(Seed, CPU);
        Tensor Normal(long length, long width) =>
            (randn([call.Batch, call.Heads, length, width], dtype: ScalarType.Float32, generator: generator) * call.Size)
                .to(type)
                .to(device);
        var (teacherQuery, teacherKey) = (Normal(call.Queries, call.TeacherWidth), Normal(call.Keys, call.TeacherWidth));
        var (query, key) = (Normal(call.Queries, call.Width), Normal(call.Keys, call.Width));
        return call.Distance == 0.0
            ? [teacherQuery, teacherKey, query, key]
            : [teacherQuery, teacherKey, teacherQuery + query * call.Distance, teacherKey + key * call.Distance];
    }

    private static RelationInputs Relation(Tensor[] inputs, Case call, Device device)
    {
        var mask = call.Lengths is null ? null : (arange(call.Keys).unsqueeze(0) < tensor(call.Lengths).unsqueeze(1)).to(device);
        var options = new AttentionRelationOptions { IsCausal = call.Causal };
        return AttentionRelations.Inputs(inputs[0], inputs[1], inputs[2].detach(), inputs[3].detach(), mask, options);
    }

    private static Tensor? Valid(RelationInputs relation, Case call) =>
        Attention.AttentionMask.CountedQueries(relation.Mask, null, call.Causal, relation.StudentQuery, call.Keys);

    private static double Largest(Tensor tensor) => tensor.abs().max().to(ScalarType.Float64).item<double>();

    private static void Speed(Device device)
    {
        bool onCuda = device.type == DeviceType.CUDA;
        var type = onCuda ? ScalarType.BFloat16 : ScalarType.Float32;
        var shapes = onCuda
            ? Shapes
            : Shapes.Select(shape => (Batch: 1L, shape.Length)).Distinct().Where(shape => shape.Length <= LongestOnCpu).ToArray();
        AttentionKernel[] kernels = onCuda ? [AttentionKernel.Flash, AttentionKernel.CuDnn] : [AttentionKernel.CpuFlash];
        Dictionary<(long, long), double> floors = [];
        foreach (var (batch, length) in shapes)
            Guard(
                $"floor {batch} x {length}",
                () =>
                {
                    double time = Time(batch, length, type, device, Floor);
                    floors[(batch, length)] = time;
                    Report($"{batch, 3} x {length, -6} attention forward + backward {time, 9:f2} ms, {MemoryUsed(device)}");
                }
            );
        foreach (var kernel in kernels)
        foreach (bool padded in (bool[])[false, true])
        foreach (var (batch, length) in shapes)
            Guard(
                $"{kernel} {batch} x {length}",
                () =>
                {
                    AttentionOperators.HalfPrecisionKernel = onCuda ? kernel : AttentionKernel.Flash;
                    double time = Time(
                        batch,
                        length,
                        type,
                        device,
                        tensors => Loss(tensors, RelationForm.Fused, padded ? HalfMask(batch, length, device) : null)
                    );
                    Report(
                        $"{batch, 3} x {length, -6} fused {kernel}{(padded ? ", mask" : "")} {time, 9:f2} ms, "
                            + $"{time / floors.GetValueOrDefault((batch, length), double.NaN):f2} x floor, {MemoryUsed(device)}"
                    );
                }
            );
        var (longBatch, longLength) = shapes.First(shape => shape.Length == LongestOnCpu);
        foreach (var kernel in kernels)
            Pieces(kernel, longBatch, longLength, type, device);
        foreach (var form in (RelationForm[])[RelationForm.Blockwise, RelationForm.Dense])
        foreach (var (batch, length) in shapes.Where(shape => shape.Batch * Heads * shape.Length * shape.Length <= LargestNaive))
            Guard(
                $"{form} {batch} x {length}",
                () =>
                {
                    double time = Time(batch, length, type, device, tensors => Loss(tensors, form, null));
                    Report(
                        $"{batch, 3} x {length, -6} {form} {time, 9:f2} ms, "
                            + $"{time / floors.GetValueOrDefault((batch, length), double.NaN):f2} x floor, {MemoryUsed(device)}"
                    );
                }
            );
    }

    // Where the fused form's time goes: its attention calls alone; what is left of the whole is pointwise work.
    private static void Pieces(AttentionKernel kernel, long batch, long length, ScalarType type, Device device)
    {
        var mask = HalfMask(batch, length, device);
        var bias = AttentionOperators.KeyBias(mask, ScalarType.Float32);
        double scale = 1.0 / Math.Sqrt(Width);
        (string Name, Func<Tensor[], (Tensor, Tensor)> Call)[] calls =
        [
            ("A_s(k_s)", t => AttentionOperators.Forward(t[2], t[3], t[3], null, false, scale, kernel)),
            ("A_s(k_s), mask", t => AttentionOperators.Forward(t[2], t[3], t[3], bias, false, scale, kernel)),
            ("A_t([k_t k_s])", t => AttentionOperators.Forward(t[0], t[1], cat([t[1], t[3]], 3), null, false, scale, kernel)),
            (
                "P' g q",
                t => AttentionOperators.Transposed(t[2], t[3], t[2], bias!.expand(batch, Heads, length), false, scale, kernel)
            ),
        ];
        foreach (var (name, call) in calls)
            Guard(
                $"{kernel} {name}",
                () =>
                {
                    double time = Time(batch, length, type, device, call);
                    Report($"{batch, 3} x {length, -6} {kernel} {name} {time:f2} ms");
                }
            );
    }

    // One form at one shape in a process of its own, so that its peak memory is its own.
    private static void One(string what, string shape, Device device)
    {
        long[] sizes =
        [
            .. shape.Split('x').Select(number => long.Parse(number, System.Globalization.CultureInfo.InvariantCulture)),
        ];
        var type = device.type == DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32;
        Func<Tensor[], Tensor> loss = Floor;
        if (Enum.TryParse(what, true, out AttentionKernel kernel) && kernel is AttentionKernel.Flash or AttentionKernel.CuDnn)
        {
            AttentionOperators.HalfPrecisionKernel = kernel;
            loss = tensors => Loss(tensors, RelationForm.Fused, null);
        }
        else if (Enum.TryParse(what, true, out RelationForm form))
            loss = tensors => Loss(tensors, form, null);
        Time(1, 64, type, device, loss);
        string before = MemoryUsed(device);
        double time = Time(sizes[0], sizes[1], type, device, loss);
        Report($"{shape} {what} {time:f2} ms; before {before}, after {MemoryUsed(device)}");
    }

    private static Tensor Floor(Tensor[] tensors) =>
        nn.functional.scaled_dot_product_attention(tensors[2], tensors[3], tensors[3]).sum(type: ScalarType.Float32);

    private static Tensor Loss(Tensor[] tensors, RelationForm form, Tensor? mask) =>
        AttentionRelations.KlDivergence(tensors[0], tensors[1], tensors[2], tensors[3], mask, new() { Form = form });

    private static Tensor HalfMask(long batch, long length, Device device) =>
        arange(length, device: device).unsqueeze(0).expand(batch, length)
        < tensor(Enumerable.Range(0, (int)batch).Select(row => row % 2 == 0 ? length : length / 2).ToArray(), device: device)
            .unsqueeze(1);

    private static double Time(long batch, long length, ScalarType type, Device device, Func<Tensor[], Tensor> loss) =>
        Least(batch, length, type, device, tensors => loss(tensors).backward());

    private static double Time(long batch, long length, ScalarType type, Device device, Func<Tensor[], (Tensor, Tensor)> call) =>
        Least(batch, length, type, device, tensors => call(tensors));

    // Least of several runs, in milliseconds.
    private static double Least(long batch, long length, ScalarType type, Device device, Action<Tensor[]> step)
    {
        using var scope = NewDisposeScope();
        Seeds.SetGlobal(Seed, "speed");
        Tensor[] tensors = [.. Enumerable.Range(0, 4).Select(_ => randn([batch, Heads, length, Width], type, device))];
        tensors[2].requires_grad_();
        tensors[3].requires_grad_();
        double best = double.PositiveInfinity;
        for (int repetition = 0; repetition < WarmUps + Repetitions; repetition++)
        {
            using var run = NewDisposeScope();
            Synchronize(device);
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            step(tensors);
            Synchronize(device);
            double elapsed = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            tensors[2].grad = null;
            tensors[3].grad = null;
            if (repetition >= WarmUps)
                best = Math.Min(best, elapsed);
        }
        return best;
    }

    private static void Synchronize(Device device)
    {
        if (device.type == DeviceType.CUDA)
            cuda.synchronize(device);
    }

    private static string MemoryUsed(Device device)
    {
        if (device.type != DeviceType.CUDA)
            return $"peak of this process so far {System.Diagnostics.Process.GetCurrentProcess().PeakWorkingSet64 / Math.Pow(2, 30):f2} GiB";
        try
        {
            return $"device memory in use so far {DeviceMemory.UsedBytes() / Math.Pow(2, 30):f2} GiB";
        }
        catch (Exception error) when (error is DllNotFoundException or EntryPointNotFoundException or InvalidOperationException)
        {
            return $"device memory unknown ({error.GetType().Name})";
        }
    }

    private static void Guard(string what, Action action)
    {
        try
        {
            action();
        }
        catch (Exception error)
        {
            Report($"FAILED {what}: {error.GetType().Name}: {error.Message.Split('\n')[0]}");
        }
    }

    private static void Report(string line)
    {
        Console.WriteLine(line);
        Console.Out.Flush();
    }
}
