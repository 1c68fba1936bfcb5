using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 30-fcaformer.</summary>
internal static class FcaFormerGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["merge_tokens"] = inputs => new Dictionary<string, Tensor>
            {
                ["tokens"] = CrossTokens.Merge(inputs["x"], GridOf(inputs), inputs["merge_w"]),
            },
            ["enhance_tokens"] = inputs => new Dictionary<string, Tensor>
            {
                ["tokens"] = CrossTokens.Enhance(
                    inputs["x"],
                    GridOf(inputs),
                    inputs["local_w"],
                    NormOf(inputs, ""),
                    training: false
                ),
            },
            ["forward_cross_attention"] = ForwardCrossAttention,
            ["fca_stage"] = Stage,
        };

    private static Dictionary<string, Tensor> ForwardCrossAttention(GoldenInputs inputs)
    {
        var weights = AttentionWeights(inputs, "", GridOf(inputs), feedForward: false);
        var (output, state) = ForwardCrossBlock.Attend(inputs["x"], inputs.Optional("cross"), inputs.Integer("heads"), weights);
        return new()
        {
            ["output"] = output,
            ["attention"] = state.Probabilities(),
            ["cross_mass"] = CrossTokens.Mass(state).mean(),
            ["loss"] = (output * inputs["probe"]).sum(),
        };
    }

    private static Dictionary<string, Tensor> Stage(GoldenInputs inputs)
    {
        var grid = GridOf(inputs);
        var outputs = new Dictionary<string, Tensor>();
        var output = ForwardCrossBlock.RunStage(
            inputs["x"],
            inputs.Has("keep") ? inputs.Integer("keep") : 12,
            Enumerable
                .Range(0, inputs.Integer("depth"))
                .Select(block =>
                    (Func<Tensor, Tensor?, (Tensor, Tensor?)>)(
                        (tokens, cross) =>
                        {
                            var weights = AttentionWeights(inputs, $"{block}.", grid, feedForward: true);
                            var (next, merged, state) = ForwardCrossBlock.Compute(
                                tokens,
                                cross,
                                grid,
                                inputs.Integer("heads"),
                                weights
                            );
                            outputs[$"cross_mass{block}"] = CrossTokens.Mass(state).mean().MoveToOuterDisposeScope();
                            return (next, merged);
                        }
                    )
                )
        );
        outputs["output"] = output;
        outputs["loss"] = (output * inputs["probe"]).sum();
        return outputs;
    }

    private static ForwardCrossWeights AttentionWeights(GoldenInputs inputs, string block, ImageSize grid, bool feedForward)
    {
        (Tensor, Tensor) Pair(string name) => (inputs[$"{block}{name}_w"], inputs[$"{block}{name}_b"]);
        // Attention alone uses no feed-forward weights: any tensor stands for them.
        var none = (inputs["x"], inputs["x"]);
        return new()
        {
            Norm = Pair("norm"),
            Qkv = Pair("qkv"),
            Output = Pair("proj"),
            PlaceScores = BiasedAttention.ScoresOf(inputs[block + "biases"], PositionBias.Absolute, grid),
            Scale = inputs.Optional(block + "scale"),
            CrossNorm = inputs.Optional(block + "cross_norm_w") is null ? null : Pair("cross_norm"),
            SlotBiases = inputs.Optional(block + "cross_bias"),
            LayerScales = feedForward ? (inputs[block + "gamma1"], inputs[block + "gamma2"]) : none,
            Enhancement = feedForward ? (inputs[block + "local_w"], NormOf(inputs, block)) : null,
            FeedForwardNorm = feedForward ? Pair("norm2") : none,
            SecondNorm = inputs.Optional(block + "mlp_norm_w") is null ? null : Pair("mlp_norm"),
            Inner = feedForward ? Pair("fc1") : none,
            Outer = feedForward ? Pair("fc2") : none,
            Merge = inputs.Optional(block + "merge_w"),
        };
    }

    private static ImageSize GridOf(GoldenInputs inputs) => new(inputs.Integer("height"), inputs.Integer("width"));

    private static BatchNormTensors NormOf(GoldenInputs inputs, string block) =>
        new(inputs[block + "bn_w"], inputs[block + "bn_b"], inputs[block + "bn_mean"], inputs[block + "bn_var"]);
}
