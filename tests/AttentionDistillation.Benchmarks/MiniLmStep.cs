using System.Diagnostics;
using System.Globalization;
using AttentionDistillation.Models;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// The speed of one whole MiniLM distillation step (teacher forward, student forward, relation losses, backward, AdamW), every fast form switched off
/// once, so that one run on a device tells which defaults pay.
/// </summary>
internal static class MiniLmStep
{
    private const int WarmUps = 5;
    private const int DefaultSteps = 15;

    /// <summary>Steps of the Distiller before its clock starts: its first ones fill libtorch's memory pools.</summary>
    private const int DistillerWarmUps = 10;

    internal sealed record Variant(string Name, Action Set, double? ClipNorm = 1.0);

    /// <summary>
    /// The default first; every other one differs from it in one thing. <c>peer-like</c> clips no gradients, as the PyTorch step that it is compared
    /// with.
    /// </summary>
    private static readonly Variant[] Variants =
    [
        new("default", () => { }),
        new("peer-like", () => { }, null),
        new("separate-projections", () => FastPaths.FusedProjections = false),
        new("no-own-kernels", () => FastPaths.OwnKernels = false),
        new("looked-up-tables", () => FastPaths.DirectTables = false),
        new("accumulated-words", () => FastPaths.WordGradient = TableGradient.Accumulated),
        new("approximate-gelu", () => FastPaths.ApproximateGelu = true),
    ];

    internal static BenchmarkCommand Command { get; } =
        new(
            "minilm-step",
            "[--device cpu|cuda] [--shapes 256x128,64x512,64x512p] [--variant NAME,...] [--steps N] [--only step|sections|distiller|memory|parts] [--csv FILE]",
            "a whole MiniLM step, BERT-base to 6 x 384, in bfloat16: by variant, by section, through the Distiller, by operator; memory (only when asked for) is the peak of the tensors alive, without libtorch's reserve; a p after a shape pads half of its tokens; on the CPU the models are small and only show that all of it runs",
            Run
        );

    internal static int Run(Arguments arguments)
    {
        string? Option(string name) => arguments[name[2..]];
        var device = Devices.Resolve(Option("--device"));
        bool onCuda = device.type == DeviceType.CUDA;
        string[] shapes = (Option("--shapes") ?? (onCuda ? "256x128,64x512,64x512p" : "4x16,4x16p")).Split(',');
        string[] wanted = Option("--variant")?.Split(',') ?? [.. Variants.Select(variant => variant.Name)];
        if (wanted.FirstOrDefault(name => Variants.All(variant => variant.Name != name)) is { } unknown)
        {
            Console.Error.WriteLine(
                $"There is no variant '{unknown}'. There are: {string.Join(", ", Variants.Select(variant => variant.Name))}."
            );
            return 2;
        }
        int steps = int.Parse(
            Option("--steps") ?? DefaultSteps.ToString(CultureInfo.InvariantCulture),
            CultureInfo.InvariantCulture
        );
        string? only = Option("--only");
        bool Does(string part) => only is null || only == part;
        if (only == "memory" && StepMemory.Refusal(device) is { } reason)
        {
            Console.Error.WriteLine(reason);
            return 2;
        }
        using var report = new StepReport(device, Option("--csv"));
        var (teacher, student) = onCuda
            ? (BertConfig.Base, BertConfig.MiniLm6x384)
            : (Small(BertConfig.Base, 3, 48), Small(BertConfig.MiniLm6x384, 2, 24));

        foreach (string text in shapes)
        {
            var shape = StepShape.Parse(text);
            foreach (var variant in Variants.Where(variant => wanted.Contains(variant.Name)))
                report.Guard(
                    $"{shape} {variant.Name}",
                    () =>
                        With(
                            variant,
                            () =>
                            {
                                using var models = new StepModels(teacher, student, device);
                                if (only == "memory")
                                    report.Memory(shape, variant.Name, StepMemory.Measure(models, shape, variant.ClipNorm));
                                if (Does("step"))
                                    report.Step(
                                        shape,
                                        variant.Name,
                                        "step",
                                        models.Cost(shape),
                                        Steps(models, shape, variant, steps)
                                    );
                                if (Does("sections") && variant == Variants[0])
                                    foreach (var (section, times) in Sections(models, shape, variant, steps))
                                        report.Part(shape, variant.Name, section, times);
                            }
                        )
                );
            if (Does("distiller"))
                report.Guard(
                    $"{shape} distiller",
                    () =>
                    {
                        using var models = new StepModels(teacher, student, device);
                        report.Step(
                            shape,
                            Variants[0].Name,
                            "distiller",
                            models.Cost(shape),
                            [models.DistillerMilliseconds(shape, DistillerWarmUps, steps)]
                        );
                    }
                );
            if (Does("parts"))
                StepParts.Run(report, shape, teacher, student, device);
        }
        return report.Failures == 0 ? 0 : 1;
    }

    private static double[] Steps(StepModels models, StepShape shape, Variant variant, int steps)
    {
        using var trained = models.Begin(variant.ClipNorm);
        using var batch = shape.Draw(models.Vocabulary, 0).To(models.Device);
        var times = new List<double>();
        for (int step = 0; step < WarmUps + steps; step++)
        {
            Synchronize(models.Device);
            long start = Stopwatch.GetTimestamp();
            trained.Step(batch, null);
            Synchronize(models.Device);
            times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
        return [.. times.Skip(WarmUps)];
    }

    // A pass of its own: waiting after every section costs what the sections would overlap.
    private static List<(string Section, double[] Times)> Sections(StepModels models, StepShape shape, Variant variant, int steps)
    {
        using var trained = models.Begin(variant.ClipNorm);
        using var batch = shape.Draw(models.Vocabulary, 0).Pinned(models.Device);
        var sections = new List<(string Section, List<double> Times)>();
        for (int step = 0; step < WarmUps + steps; step++)
        {
            Synchronize(models.Device);
            long start = Stopwatch.GetTimestamp();
            void Mark(string section)
            {
                Synchronize(models.Device);
                double elapsed = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
                if (step >= WarmUps)
                {
                    if (sections.FirstOrDefault(known => known.Section == section).Times is not { } times)
                        sections.Add((section, times = []));
                    times.Add(elapsed);
                }
                start = Stopwatch.GetTimestamp();
            }
            using var moved = batch.To(models.Device);
            Mark("data");
            trained.Step(moved, Mark);
        }
        return [.. sections.Select(section => (section.Section, section.Times.ToArray()))];
    }

    private static void With(Variant variant, Action action)
    {
        var (kernels, projections, tables, words, product, approximate) = (
            FastPaths.OwnKernels,
            FastPaths.FusedProjections,
            FastPaths.DirectTables,
            FastPaths.WordGradient,
            FastPaths.GeluInProduct,
            FastPaths.ApproximateGelu
        );
        try
        {
            variant.Set();
            action();
        }
        finally
        {
            (FastPaths.FusedProjections, FastPaths.DirectTables, FastPaths.WordGradient) = (projections, tables, words);
            (FastPaths.OwnKernels, FastPaths.GeluInProduct, FastPaths.ApproximateGelu) = (kernels, product, approximate);
        }
    }

    internal static void Synchronize(Device device)
    {
        if (device.type == DeviceType.CUDA)
            cuda.synchronize(device);
    }

    internal static BertConfig Small(BertConfig config, int layers, long width) =>
        config with
        {
            Layers = layers,
            HiddenSize = width,
            IntermediateSize = 4 * width,
            VocabularySize = 200,
        };
}
