using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models.Blocks;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 28-omniscene.</summary>
internal static class OmniSceneGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["text_alignment"] = inputs =>
            {
                var (loss, cosine) = OmniScene.TextAlignment(
                    inputs["instances"],
                    inputs["text"],
                    inputs["match"],
                    inputs.Optional("valid"),
                    inputs["proj_w"],
                    inputs.Optional("proj_b"),
                    inputs.Text("kind", "cosine") == "cosine" ? TextAlignmentKind.Cosine : TextAlignmentKind.Contrast,
                    inputs.Number("tau", OmniScene.ContrastTemperature)
                );
                return new Dictionary<string, Tensor> { ["loss"] = loss, ["cosine"] = cosine };
            },
            ["condition_aggregation"] = inputs =>
            {
                var weights = new ConditionWeights(
                    (inputs["norm_w"], inputs["norm_b"]),
                    inputs["wq"],
                    inputs["wk"],
                    inputs["wv"],
                    (inputs["wo"], inputs["bo"])
                );
                var state = ConditionAggregation.State(
                    inputs["queries"],
                    inputs["tokens"],
                    inputs.Optional("mask"),
                    weights,
                    inputs.Integer("heads")
                );
                var output = ConditionAggregation.Apply(inputs["queries"], state, weights.Output);
                return new Dictionary<string, Tensor>
                {
                    ["output"] = output,
                    ["attention"] = state.Probabilities(),
                    ["loss"] = (output * inputs["probe"]).sum(),
                };
            },
            ["hierarchical_fusion"] = Fusion,
            ["caption_distillation"] = inputs =>
            {
                var terms = OmniScene.CaptionLoss(
                    inputs.Optional("teacher"),
                    inputs["student"],
                    inputs["target"],
                    inputs["mask"],
                    inputs.Number("kl_weight", 0),
                    inputs.Number("tau", 1)
                );
                var outputs = new Dictionary<string, Tensor> { ["loss"] = terms.Total, ["ce"] = terms[OmniScene.Words] };
                if (inputs.Optional("teacher") is not null)
                    outputs["kl"] = terms[OmniScene.Distribution];
                return outputs;
            },
            ["trajectory_errors"] = inputs =>
            {
                var errors = TrajectoryErrors.Of(
                    inputs["predicted"],
                    inputs["truth"],
                    inputs["obstacles"],
                    inputs.Number("radius", 0)
                );
                return new Dictionary<string, Tensor>
                {
                    ["l2"] = tensor(errors.Distance.ToArray()),
                    ["l2_running"] = tensor(errors.RunningDistance.ToArray()),
                    ["collision"] = tensor(errors.Collision, ScalarType.Float64),
                };
            },
        };

    private static Dictionary<string, Tensor> Fusion(GoldenInputs inputs)
    {
        var current = inputs["geometry"];
        var gates = new List<Tensor>();
        for (long level = 0; level < inputs["visual"].size(0); level++)
        {
            var found = HierarchicalFusion.Level(
                current,
                inputs["visual"][level],
                inputs["text"][level],
                (inputs["gate_w"][level], inputs["gate_b"][level]),
                (inputs["mix_w"][level], inputs["mix_b"][level]),
                inputs.Optional("present"),
                inputs.Number("tau", 1)
            );
            current = found.Base;
            gates.Add(found.Gates);
        }
        return new()
        {
            ["output"] = current,
            ["gates"] = stack([.. gates]),
            ["share"] = stack([.. gates.Select(level => HierarchicalFusion.Share(level))]),
            ["gate_entropy"] = stack([.. gates.Select(level => HierarchicalFusion.Entropy(level))]),
            ["loss"] = (current * inputs["probe"]).sum(),
        };
    }
}
