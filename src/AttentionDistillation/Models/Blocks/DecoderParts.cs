using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>What a decoder is made of, built from its family's configuration.</summary>
internal sealed record DecoderParts(
    IReadOnlyList<DecoderLayer> Layers,
    nn.Module<Tensor, Tensor> Norm,
    RotaryPositions? Rotary,
    Embedding? Positions,
    double EmbeddingDropout
)
{
    /// <summary>The names of queries, keys and values in checkpoints of rotary models.</summary>
    private static readonly string[] QueryKeyValue = ["q_proj", "k_proj", "v_proj"];

    private const string OutputProjection = "o_proj";

    /// <summary>Builds the parts; the weights are drawn in the order of the layers.</summary>
    public static DecoderParts Of(DecoderConfig config, SeededLayers make) =>
        config switch
        {
            RotaryDecoderConfig rotary => OfRotary(rotary, make),
            Gpt2Config gpt2 => OfGpt2(gpt2, make),
            _ => throw new NotSupportedException($"No decoder is known for {config.GetType().Name}."),
        };

    private static DecoderParts OfRotary(RotaryDecoderConfig config, SeededLayers make)
    {
        var biases = config.Biases;
        var layers = Enumerable
            .Range(0, config.Layers)
            .Select(number => new DecoderLayer(
                Norm(),
                new GroupedQueryAttention(
                    new AttentionShape(
                        config.HiddenSize,
                        config.Heads,
                        config.KeyHeads,
                        config.HeadSize,
                        1.0 / Math.Sqrt(config.HeadSize),
                        config.WindowOf(number),
                        config.AttentionDropout
                    ),
                    number,
                    QueryKeyValue,
                    OutputProjection,
                    (biases.Input, biases.Output),
                    make
                ),
                Norm(),
                new GatedFeedForward(
                    config.HiddenSize,
                    config.IntermediateSize,
                    config.HiddenActivation,
                    biases.FeedForward,
                    make
                ),
                0.0
            ))
            .ToArray();
        return new DecoderParts(
            layers,
            Norm(),
            new RotaryPositions(config.Rotary, config.HeadSize, config.MaximumPositions),
            null,
            0.0
        );

        RootMeanSquareNorm Norm() => new(config.HiddenSize, config.NormEpsilon, make);
    }

    private static DecoderParts OfGpt2(Gpt2Config config, SeededLayers make)
    {
        var positions = make.Embedding(config.MaximumPositions, config.HiddenSize);
        var layers = Enumerable
            .Range(0, config.Layers)
            .Select(number =>
            {
                var attention = new GroupedQueryAttention(
                    new AttentionShape(
                        config.HiddenSize,
                        config.Heads,
                        config.Heads,
                        config.HeadSize,
                        config.ScaleOf(number),
                        null,
                        config.AttentionDropout
                    ),
                    number,
                    ["c_attn"],
                    "c_proj",
                    (true, true),
                    make
                );
                var feedForward = new PlainFeedForward(
                    config.HiddenSize,
                    config.InnerSize,
                    config.HiddenActivation,
                    ("c_fc", "c_proj"),
                    make
                );
                ShrinkResidual(attention.Output, config.Layers);
                ShrinkResidual(feedForward.Outer, config.Layers);
                return new DecoderLayer(Norm(), attention, Norm(), feedForward, config.ResidualDropout);
            })
            .ToArray();
        return new DecoderParts(layers, Norm(), null, positions, config.EmbeddingDropout);

        LayerNorm Norm() => make.LayerNorm(config.HiddenSize, config.NormEpsilon);
    }

    // Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3: weights that write into the residual stream start
    // smaller by the root of the number of them.
    private static void ShrinkResidual(JointLinear layer, int layers)
    {
        using var guard = no_grad();
        layer.Weight.mul_(1.0 / Math.Sqrt(2.0 * layers));
    }
}
