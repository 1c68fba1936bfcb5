using System.Diagnostics;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>The operators of a step alone, at the step's own sizes: which of them are far from the device's bandwidth or arithmetic.</summary>
internal static class StepParts
{
    private const int WarmUps = 3;
    private const int Repetitions = 8;

    /// <summary>Calls between two waits, so that what is measured is the device and not the launch.</summary>
    private const int Calls = 4;

    internal static void Run(StepReport report, StepShape shape, BertConfig teacher, BertConfig student, Device device)
    {
        if (shape.Padded)
            return;
        foreach (
            var (who, config, learns) in ((string, BertConfig, bool)[])[("teacher", teacher, false), ("student", student, true)]
        )
            report.Guard($"{shape} operators of the {who}", () => Layer(report, shape, who, config, learns, device));
        report.Guard($"{shape} tables", () => Tables(report, shape, student, device));
    }

    private static void Layer(StepReport report, StepShape shape, string who, BertConfig config, bool learns, Device device)
    {
        using var scope = NewDisposeScope();
        long tokens = shape.Tokens,
            c = config.HiddenSize,
            inner = config.IntermediateSize;
        double element = 2; // bytes of bfloat16
        Tensor Random(params long[] sizes) => randn(sizes, ScalarType.BFloat16, device).requires_grad_(learns);
        void Measure(string name, double bytes, double operations, Tensor[] inputs, Func<Tensor> forward)
        {
            report.Operator(shape, $"{who} {name}", Time(device, () => forward().Dispose()), bytes, operations);
            if (!learns)
                return;
            var gradient = ones_like(forward().detach());
            report.Operator(
                shape,
                $"{who} {name} forward + backward",
                Time(
                    device,
                    () =>
                    {
                        foreach (var part in autograd.grad([forward()], inputs, [gradient]))
                            part.Dispose();
                    }
                ),
                3 * bytes,
                3 * operations
            );
        }
        var (hidden, wide) = (Random(shape.Batch, shape.Length, c), Random(shape.Batch, shape.Length, inner));
        var other = Random(shape.Batch, shape.Length, c);
        double narrow = tokens * c * element,
            broad = tokens * inner * element;
        foreach (
            var (name, from, to, input) in ((string, long, long, Tensor)[])
                [
                    ("one projection", c, c, hidden),
                    ("query, key, value", c, 3 * c, hidden),
                    ("feed-forward in", c, inner, hidden),
                    ("feed-forward out", inner, c, wide),
                ]
        )
        {
            var (weight, bias) = (Random(to, from), Random(to));
            Measure(
                name,
                tokens * (from + to) * element,
                2.0 * tokens * from * to,
                [input, weight, bias],
                () => LinearProduct.Of(input, weight, bias)
            );
        }
        Measure("GELU", 2 * broad, 0, [wide], () => nn.functional.gelu(wide));
        Measure("addition", 3 * narrow, 0, [hidden, other], () => hidden + other);
        var (scale, shift) = (Random(c), Random(c));
        Measure(
            "layer norm",
            2 * narrow,
            0,
            [hidden, scale, shift],
            () => nn.functional.layer_norm(hidden, [c], scale, shift, 1e-12)
        );
        Measure(
            "addition and layer norm",
            3 * narrow,
            0,
            [hidden, other, scale, shift],
            () => nn.functional.layer_norm(hidden + other, [c], scale, shift, 1e-12)
        );
        Measure(
            "addition and layer norm, one kernel",
            3 * narrow,
            0,
            [hidden, other, scale, shift],
            () => Runtime.ResidualLayerNorm.Apply(hidden, other, scale, shift, 1e-12)
        );
        var projected = Random(shape.Batch, shape.Length, 3 * c);
        Measure(
            "attention on parts of one projection",
            4 * narrow,
            4.0 * tokens * shape.Length * c,
            [projected],
            () =>
            {
                var parts = projected.view(shape.Batch, shape.Length, 3, config.Heads, c / config.Heads).unbind(2);
                return nn.functional.scaled_dot_product_attention(
                    parts[0].transpose(1, 2),
                    parts[1].transpose(1, 2),
                    parts[2].transpose(1, 2)
                );
            }
        );
        if (learns)
        {
            report.Operator(shape, $"{who} bias gradient, inner width", Time(device, () => wide.sum([0, 1]).Dispose()), broad, 0);
            report.Operator(shape, $"{who} bias gradient, C", Time(device, () => hidden.sum([0, 1]).Dispose()), narrow, 0);
        }
    }

    private static void Tables(StepReport report, StepShape shape, BertConfig config, Device device)
    {
        using var scope = NewDisposeScope();
        double bytes = shape.Tokens * config.HiddenSize * 2.0;
        using var batch = shape.Draw(config.VocabularySize, 0);
        var ids = batch.InputIds.to(device);
        foreach (
            var (name, rows, indices) in ((string, long, Tensor)[])
                [
                    ("words", config.VocabularySize, ids),
                    ("words, a quarter one token", config.VocabularySize, where(ids.remainder(4).eq(0), ones_like(ids), ids)),
                    ("segments", config.TokenTypes, zeros_like(ids)),
                ]
        )
        {
            var table = randn([rows, config.HiddenSize], ScalarType.BFloat16, device).requires_grad_();
            using var layer = nn.Embedding(rows, config.HiddenSize, device: device, dtype: ScalarType.BFloat16);
            var weight = layer.weight!;
            var gradient = ones([shape.Batch, shape.Length, config.HiddenSize], ScalarType.BFloat16, device);
            report.Operator(
                shape,
                $"table of {name}, look-up and gradient",
                Time(device, () => autograd.grad([layer.call(indices)], [weight], [gradient])[0].Dispose()),
                3 * bytes,
                0
            );
            report.Operator(
                shape,
                $"table of {name}, accumulated gradient",
                Time(
                    device,
                    () =>
                        autograd
                            .grad([Models.Blocks.AccumulatedLookup.Of(table, indices, null)], [table], [gradient])[0]
                            .Dispose()
                ),
                3 * bytes,
                0
            );
        }
    }

    private static double[] Time(Device device, Action action)
    {
        var times = new List<double>();
        for (int repetition = 0; repetition < WarmUps + Repetitions; repetition++)
        {
            using var scope = NewDisposeScope();
            MiniLmStep.Synchronize(device);
            long start = Stopwatch.GetTimestamp();
            for (int call = 0; call < Calls; call++)
                action();
            MiniLmStep.Synchronize(device);
            if (repetition >= WarmUps)
                times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds / Calls);
        }
        return [.. times];
    }
}
