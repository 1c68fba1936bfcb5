using AttentionDistillation.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 02-leaf.</summary>
internal static class LeafGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["leaf_sensitivity"] = Sensitivity,
            ["leaf_token_sensitivity"] = TokenSensitivity,
            ["leaf_confounders"] = Confounders,
            ["leaf_prune"] = Prune,
            ["leaf_kd"] = LogitLoss,
            ["leaf"] = Loss,
            ["leaf_hidden"] = HiddenLoss,
        };

    private static LeafOptions Options(GoldenInputs inputs) =>
        new()
        {
            Temperature = inputs.Number("temperature", 1.0),
            IsShifted = inputs.Flag("shifted", false),
            OriginalWeight = inputs.Number("lam", 0.5),
            OmitsTeacherEntropy = inputs.Flag("entropy", false),
        };

    private static Dictionary<string, Tensor> Sensitivity(GoldenInputs inputs)
    {
        var (raw, normalized) = LeafSensitivity.OfSpan(inputs["grads"], inputs.Integer("start"), inputs.Integer("end"));
        return new() { ["raw"] = raw, ["normalized"] = normalized };
    }

    private static Dictionary<string, Tensor> TokenSensitivity(GoldenInputs inputs)
    {
        Tensor Model(Tensor embeddings)
        {
            var (query, key, value) = (
                matmul(embeddings, inputs["wq"]),
                matmul(embeddings, inputs["wk"]),
                matmul(embeddings, inputs["wv"])
            );
            var mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_casual: true);
            return matmul(embeddings + matmul(mixed, inputs["wo"]), inputs["unembed"]);
        }

        var (losses, gradients) = LeafSensitivity.Gradients(Model, inputs["embeds"].unsqueeze(0), inputs["labels"].unsqueeze(0));
        var (raw, normalized) = LeafSensitivity.OfSpan(gradients[0], inputs.Integer("start"), inputs.Integer("end"));
        return new()
        {
            ["loss"] = losses[0],
            ["grad"] = gradients[0],
            ["raw"] = raw,
            ["normalized"] = normalized,
        };
    }

    private static Dictionary<string, Tensor> Confounders(GoldenInputs inputs)
    {
        var found = LeafConfounders.Detect(
            inputs["student_norms"],
            inputs["teacher_norms"],
            inputs.Optional("protected"),
            inputs.Number("ratio") ?? 0.05,
            inputs.Number("cap", LeafConfounders.DefaultCap)
        );
        return new()
        {
            ["diff"] = tensor([.. found.Difference]),
            ["threshold"] = tensor(found.Threshold),
            ["flagged"] = found.FlagTensor(),
            ["span"] = found.RunTensor(),
        };
    }

    private static Dictionary<string, Tensor> Prune(GoldenInputs inputs)
    {
        var strategy = inputs.Text("strategy", "span") switch
        {
            "span" => LeafPruningStrategy.Span,
            "collective" => LeafPruningStrategy.Collective,
            var other => throw new NotSupportedException($"Unknown strategy '{other}'."),
        };
        var variants = LeafPruning.Variants(
            [.. inputs["tokens"].data<long>()],
            LeafConfounders.Given([.. inputs["flagged"].data<bool>()]),
            strategy
        );
        int longest = variants.Max(variant => variant.Length);
        return new()
        {
            ["lengths"] = tensor([.. variants.Select(variant => (long)variant.Length)]),
            ["variants"] = tensor([
                    .. variants.SelectMany(variant => variant.Concat(Enumerable.Repeat(-1L, longest - variant.Length))),
                ])
                .view(variants.Count, longest),
        };
    }

    private static Dictionary<string, Tensor> LogitLoss(GoldenInputs inputs) =>
        new() { ["loss"] = Leaf.LogitLoss(inputs["teacher"], inputs["student"], inputs.Optional("label_mask"), Options(inputs)) };

    private static Dictionary<string, Tensor> Loss(GoldenInputs inputs)
    {
        var terms = Leaf.Loss(
            inputs["teacher"],
            inputs["student"],
            inputs.Optional("mask"),
            inputs["teacher_cf"],
            inputs["student_cf"],
            inputs.Optional("mask_cf"),
            Options(inputs)
        );
        return new()
        {
            ["original"] = terms["original"],
            ["counterfactual"] = terms["counterfactual"],
            ["loss"] = terms.Total,
        };
    }

    private static Dictionary<string, Tensor> HiddenLoss(GoldenInputs inputs) =>
        new()
        {
            ["loss"] = Leaf.HiddenLoss(
                inputs["teacher"],
                inputs["student"],
                inputs.Optional("label_mask"),
                inputs.Number("beta", Leaf.HiddenWeight)
            ),
        };
}
