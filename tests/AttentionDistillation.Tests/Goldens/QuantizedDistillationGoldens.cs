using AttentionDistillation.Methods;
using AttentionDistillation.Models.Quantization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 23-quantized-distillation.</summary>
internal static class QuantizedDistillationGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["uniform_quantize"] = Quantize,
            ["quantize_gradient"] = Gradient,
            ["learned_points"] = Points,
            ["quantile_points"] = Quantiles,
            ["quantized_kd_loss"] = Loss,
            ["assign_points"] = Assign,
            ["huffman_bits"] = Huffman,
            ["compression"] = Compression,
            ["quantized_step"] = Step,
        };

    private static int? Bucket(GoldenInputs inputs) => inputs.Has("bucket") ? inputs.Integer("bucket") : null;

    private static Dictionary<string, Tensor> Quantize(GoldenInputs inputs)
    {
        var found = BucketedQuantization.Quantize(
            inputs["weight"],
            inputs.Integer("levels"),
            Bucket(inputs),
            inputs.Optional("draws")
        );
        return new()
        {
            ["quantized"] = found.Quantized,
            ["codes"] = found.Codes,
            ["alpha"] = found.Scale,
            ["beta"] = found.Offset,
        };
    }

    private static Dictionary<string, Tensor> Gradient(GoldenInputs inputs) =>
        new()
        {
            ["grad_weight"] = BucketedQuantization.Gradient(
                inputs["weight"],
                inputs["upstream"],
                inputs.Integer("levels"),
                Bucket(inputs),
                Enum.Parse<QuantizationGradient>(inputs.Text("style", "identity"), ignoreCase: true)
            ),
        };

    private static Dictionary<string, Tensor> Points(GoldenInputs inputs)
    {
        var (quantized, index) = BucketedQuantization.ToPoints(inputs["weight"], inputs["points"], Bucket(inputs));
        return new()
        {
            ["loss"] = (quantized * inputs["probe"]).sum(),
            ["quantized"] = quantized,
            ["index"] = index,
        };
    }

    private static Dictionary<string, Tensor> Quantiles(GoldenInputs inputs) =>
        new() { ["points"] = BucketedQuantization.QuantilePoints(inputs["weight"], inputs.Integer("count"), Bucket(inputs)) };

    private static Dictionary<string, Tensor> Loss(GoldenInputs inputs)
    {
        var terms = QuantizedDistillation.Loss(
            inputs["student"],
            inputs["teacher"],
            inputs["labels"],
            inputs.Number("tau", 2.0),
            inputs.Number("kd_weight", 0.7),
            Enum.Parse<ElementMean>(inputs.Text("mean_over", "batch"), ignoreCase: true)
        );
        return new()
        {
            ["loss"] = terms.Total,
            ["kl"] = terms["divergence"],
            ["ce"] = terms["labels"],
        };
    }

    private static Dictionary<string, Tensor> Assign(GoldenInputs inputs)
    {
        int[] points = QuantizationSize.AssignPoints(
            [.. inputs["norms"].to(ScalarType.Float64).data<double>()],
            [.. inputs["counts"].to(ScalarType.Int64).data<long>().Select(count => (int)count)]
        );
        return new() { ["points"] = tensor(points.Select(count => (long)count).ToArray()) };
    }

    private static Dictionary<string, Tensor> Huffman(GoldenInputs inputs) =>
        new() { ["bits"] = tensor(QuantizationSize.HuffmanBits([.. inputs["counts"].to(ScalarType.Int64).data<long>()])) };

    private static Dictionary<string, Tensor> Compression(GoldenInputs inputs) =>
        new() { ["ratio"] = tensor(QuantizationSize.Compression(inputs.Integer("bits"), inputs.Integer("bucket"))) };

    private static Dictionary<string, Tensor> Step(GoldenInputs inputs)
    {
        var weight = new Parameter(inputs["weight"].detach().clone());
        var training = new QuantizedDistillation([weight], inputs.Integer("levels"), Bucket(inputs));
        double loss = training.Backward(() =>
            QuantizedDistillation
                .Loss(
                    nn.functional.linear(inputs["x"], weight),
                    inputs["teacher"],
                    inputs["labels"],
                    inputs.Number("tau", 2.0),
                    inputs.Number("kd_weight", 0.7),
                    // A step is the official code's, which divides by samples times classes.
                    Enum.Parse<ElementMean>(inputs.Text("mean_over", "elements"), ignoreCase: true)
                )
                .Total
        );
        return new()
        {
            ["step_loss"] = tensor(loss),
            ["next_weight"] = weight.detach() - inputs.Number("lr")!.Value * weight.grad!,
        };
    }
}
