using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models.Quantization;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 23-quantized-distillation.</summary>
internal static class QuantizedDistillationGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["uniform_quantize"] = UniformQuantize,
            ["quantize_gradient"] = QuantizeGradient,
            ["learned_points"] = LearnedPoints,
            ["quantile_points"] = QuantilePoints,
            ["quantized_kd_loss"] = Loss,
            ["assign_points"] = AssignPoints,
            ["huffman_bits"] = Huffman,
            ["compression"] = Compression,
            ["quantized_step"] = Step,
        };

    private static int? Bucket(GoldenInputs inputs) => inputs.Has("bucket") ? inputs.Integer("bucket") : null;

    private static QuantizationOptions Options(GoldenInputs inputs) =>
        new()
        {
            Levels = inputs.Integer("levels"),
            Bucket = Bucket(inputs),
            Gradient = inputs.Text("style", "identity") switch
            {
                "identity" => QuantizationGradient.Identity,
                "truncated" => QuantizationGradient.Truncated,
                "scaled" => QuantizationGradient.Scaled,
                var other => throw new NotSupportedException($"Unknown style '{other}'."),
            },
        };

    private static Dictionary<string, Tensor> UniformQuantize(GoldenInputs inputs)
    {
        var found = UniformQuantizer.Quantize(inputs["weight"], Options(inputs), inputs.Optional("draws"));
        return new()
        {
            ["quantized"] = found.Values,
            ["codes"] = found.Codes,
            ["alpha"] = found.Alpha,
            ["beta"] = found.Beta,
        };
    }

    private static Dictionary<string, Tensor> QuantizeGradient(GoldenInputs inputs)
    {
        var weight = inputs["weight"].detach().clone().requires_grad_();
        (UniformQuantizer.StraightThrough(weight, Options(inputs)) * inputs["upstream"]).sum().backward();
        return new() { ["grad_weight"] = weight.grad! };
    }

    private static Dictionary<string, Tensor> LearnedPoints(GoldenInputs inputs)
    {
        var (values, index) = LearnedLevels.Quantize(inputs["weight"], inputs["points"], Bucket(inputs));
        return new()
        {
            ["quantized"] = values,
            ["index"] = index,
            ["loss"] = (values * inputs["probe"]).sum(),
        };
    }

    private static Dictionary<string, Tensor> QuantilePoints(GoldenInputs inputs) =>
        new() { ["points"] = LearnedLevels.Quantiles(inputs["weight"], inputs.Integer("count"), Bucket(inputs)) };

    private static QuantizedDistillationOptions LossOptions(GoldenInputs inputs, string mean = "batch") =>
        new()
        {
            Temperature = inputs.Number("tau", 2.0),
            DistillationWeight = inputs.Number("kd_weight", 0.7),
            Reduction = inputs.Text("mean_over", mean) switch
            {
                "batch" => DivergenceReduction.Tokens,
                "elements" => DivergenceReduction.Elements,
                var other => throw new NotSupportedException($"Unknown mean '{other}'."),
            },
        };

    private static Dictionary<string, Tensor> Loss(GoldenInputs inputs)
    {
        var terms = QuantizedDistillation.Loss(inputs["student"], inputs["teacher"], inputs["labels"], LossOptions(inputs));
        return new()
        {
            ["loss"] = terms.Total,
            ["kl"] = terms[QuantizedDistillation.DistillationTerm],
            ["ce"] = terms[QuantizedDistillation.LabelTerm],
        };
    }

    private static Dictionary<string, Tensor> AssignPoints(GoldenInputs inputs) =>
        new()
        {
            ["points"] = tensor(
                QuantizedDistillation
                    .AssignPoints(
                        [.. inputs["norms"].to(ScalarType.Float64).data<double>()],
                        [.. inputs["counts"].to(ScalarType.Int32).data<int>()]
                    )
                    .Select(count => (long)count)
                    .ToArray()
            ),
        };

    private static Dictionary<string, Tensor> Huffman(GoldenInputs inputs) =>
        new() { ["bits"] = tensor(QuantizedSize.HuffmanBits([.. inputs["counts"].to(ScalarType.Int64).data<long>()])) };

    private static Dictionary<string, Tensor> Compression(GoldenInputs inputs) =>
        new() { ["ratio"] = tensor(QuantizedSize.Compression(inputs.Integer("bits"), inputs.Integer("bucket"))) };

    // The model's own weights are swapped for levels and restored, as in training. A case that does not say so averages over elements, as the official code.
    private static Dictionary<string, Tensor> Step(GoldenInputs inputs)
    {
        var start = inputs["weight"];
        using var model = nn.Linear(start.size(1), start.size(0), hasBias: false, dtype: start.dtype);
        using (no_grad())
            model.weight!.copy_(start);
        using var quantizer = new ModelQuantizer(model, Options(inputs));
        quantizer.Quantize();
        var loss = QuantizedDistillation
            .Loss(model.call(inputs["x"]), inputs["teacher"], inputs["labels"], LossOptions(inputs, "elements"))
            .Total;
        loss.backward();
        quantizer.Restore();
        return new()
        {
            ["step_loss"] = loss,
            ["next_weight"] = model.weight!.detach() - inputs.Number("lr", 0.0) * model.weight.grad!,
        };
    }
}
