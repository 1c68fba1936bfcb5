using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 25-hybrid-distill.</summary>
internal static class HybridDistillGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["hybrid_distill"] = Loss,
            ["progressive_mask"] = Mask,
            ["attention_distance"] = inputs => new Dictionary<string, Tensor>
            {
                ["distance"] = AttentionStatistics.PerHead(
                    ImageAttention.Distance(
                        inputs["attention"],
                        new ImageSize(inputs.Integer("height"), inputs.Integer("width")),
                        inputs.Number("patch", 1.0),
                        inputs.Has("skip") ? inputs.Integer("skip") : 0
                    )
                ),
            },
            ["attention_nmi"] = inputs => new Dictionary<string, Tensor>
            {
                ["nmi"] = AttentionStatistics.PerHead(
                    AttentionStatistics.NormalisedMutualInformation(inputs["attention"], null).unsqueeze(-1)
                ),
            },
        };

    private static Dictionary<string, Tensor> Loss(GoldenInputs inputs)
    {
        var terms = HybridDistill.Loss(
            inputs["mim_q"],
            inputs["mim_k"],
            inputs["cl_features"],
            inputs["student_q"],
            inputs["student_k"],
            inputs["student_features"],
            inputs.Optional("visible"),
            inputs.Optional("proj_w") is { } weight ? (weight, inputs.Optional("proj_b")) : null,
            new HybridDistillOptions
            {
                FeatureWeight = inputs.Number("alpha", 1.0),
                RelationWeight = inputs.Number("beta", 1.0),
                Relation = Enum.Parse<TokenRelationKind>(inputs.Text("kind", "raw"), ignoreCase: true),
                Whitens = inputs.Flag("whiten", true),
            }
        );
        return new()
        {
            ["loss"] = terms.Total,
            ["feature"] = terms[HybridDistill.Feature],
            ["relation"] = terms[HybridDistill.Relation],
        };
    }

    private static Dictionary<string, Tensor> Mask(GoldenInputs inputs)
    {
        var stages = HybridDistill.ProgressiveMask(
            inputs["stage_tokens"].unbind(0),
            [.. inputs.Numbers("drops")!.Select(drop => (int)drop)],
            Enum.Parse<RedundancyRule>(inputs.Text("rule", "greedy"), ignoreCase: true)
        );
        return stages.Select((left, stage) => (left, stage)).ToDictionary(pair => $"visible{pair.stage}", pair => pair.left);
    }
}
