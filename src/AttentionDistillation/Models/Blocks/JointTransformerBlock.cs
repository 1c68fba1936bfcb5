using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>One of the two streams of a joint block: its norms, its projections, its feed-forward.</summary>
internal sealed class JointStream : nn.Module<Tensor, Tensor>
{
    private readonly AdaptiveModulation modulation;
    private readonly LayerNorm norm;
    private readonly LayerNorm? feedForwardNorm;
    private readonly FeedForward? feedForward;
    private readonly bool endsHere;

    /// <param name="config">Sizes.</param>
    /// <param name="endsHere">True for the text of the last block, whose output nobody reads: it gives keys and values alone.</param>
    /// <param name="layers">Makes the weights.</param>
    public JointStream(JointDiffusionTransformerConfig config, bool endsHere, SeededLayers layers)
        : base(nameof(JointStream))
    {
        long width = config.HiddenSize;
        this.endsHere = endsHere;
        modulation = new AdaptiveModulation(width, width, endsHere ? 2 : 6, layers);
        norm = layers.LayerNorm(width, config.NormEpsilon, hasWeights: false);
        if (!endsHere)
        {
            feedForwardNorm = layers.LayerNorm(width, config.NormEpsilon, hasWeights: false);
            feedForward = new FeedForward(width, 4 * width, "gelu_pytorch_tanh", layers);
        }
        RegisterComponents();
    }

    public Tensor[] Modulation(Tensor condition) => modulation.call(condition);

    // The last text stream's two parts come scale first, as in diffusers' continuous norm.
    public Tensor Normed(Tensor hidden, Tensor[] part) =>
        endsHere
            ? AdaptiveNorm.Modulate(norm.call(hidden), part[1], part[0])
            : AdaptiveNorm.Modulate(norm.call(hidden), part[0], part[1]);

    public Tensor Finish(Tensor hidden, Tensor attended, Tensor[] part)
    {
        hidden = hidden + part[2] * attended;
        return hidden + part[5] * call(AdaptiveNorm.Modulate(feedForwardNorm!.call(hidden), part[3], part[4]));
    }

    public override Tensor forward(Tensor normed) => feedForward!.call(normed);
}

/// <summary>
/// A block of two streams, image and text, each with weights of its own, that meet in one attention over the tokens of both (MM-DiT: Esser et al.
/// 2024, section 4, figure 2b).
/// </summary>
public sealed class JointTransformerBlock : nn.Module<Tensor, Tensor, DenoiserInputs, (Tensor Image, Tensor? Text)>
{
    private readonly JointStream image;
    private readonly JointStream text;
    private readonly Linear imageQuery;
    private readonly Linear imageKey;
    private readonly Linear imageValue;
    private readonly Linear imageOutput;
    private readonly Linear textQuery;
    private readonly Linear textKey;
    private readonly Linear textValue;
    private readonly Linear? textOutput;
    private readonly long heads;

    /// <summary>Builds a block.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="number">The block's number from 0, under which a trace records its attention.</param>
    /// <param name="layers">Makes the weights.</param>
    public JointTransformerBlock(JointDiffusionTransformerConfig config, int number, SeededLayers layers)
        : base(nameof(JointTransformerBlock))
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(layers);
        long width = config.HiddenSize;
        bool isLast = number == config.Layers - 1;
        heads = config.Heads;
        Layer = number;
        image = new JointStream(config, false, layers);
        text = new JointStream(config, isLast, layers);
        (imageQuery, imageKey, imageValue) = (
            layers.Linear(width, width),
            layers.Linear(width, width),
            layers.Linear(width, width)
        );
        imageOutput = layers.Linear(width, width);
        (textQuery, textKey, textValue) = (layers.Linear(width, width), layers.Linear(width, width), layers.Linear(width, width));
        textOutput = isLast ? null : layers.Linear(width, width);
        RegisterComponents();
    }

    /// <summary>The number under which a trace records the block's attention.</summary>
    public int Layer { get; }

    /// <summary>
    /// Replaces the mixing of values: gets the joint call, image tokens first, and how many they are, and returns [B, H, L + S, D]; null for plain
    /// attention. With it keys and values of either stream can be injected, subtracted or masked.
    /// </summary>
    public Func<AttentionState, long, Tensor>? Mixing { get; set; }

    /// <summary>Image tokens [B, L, C] and text tokens [B, S, C] to both; the last block gives no text.</summary>
    public override (Tensor Image, Tensor? Text) forward(Tensor imageTokens, Tensor textTokens, DenoiserInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (imagePart, textPart) = (image.Modulation(inputs.Time), text.Modulation(inputs.Time));
        var (ofImage, ofText) = (image.Normed(imageTokens, imagePart), text.Normed(textTokens, textPart));
        long length = imageTokens.size(1);
        var state = new AttentionState(
            Both(imageQuery.Project(ofImage), textQuery.Project(ofText)),
            Both(imageKey.Project(ofImage), textKey.Project(ofText)),
            Both(imageValue.Project(ofImage), textValue.Project(ofText)),
            JointMask(inputs.Mask, length)
        );
        inputs.Trace?.RecordAttention(Layer, state);
        var mixed = (Mixing is { } mixing ? mixing(state, length) : AttentionMixing.Mix(state)).transpose(1, 2).flatten(2);
        var imageResult = image.Finish(imageTokens, imageOutput.Project(mixed.narrow(1, 0, length)), imagePart);
        var textResult = textOutput is null
            ? null
            : text.Finish(textTokens, textOutput.Project(mixed.narrow(1, length, textTokens.size(1))), textPart);
        inputs.Trace?.RecordHidden(Layer + 1, imageResult);
        inputs.Trace?.MoveOut(scope);
        return (imageResult.MoveToOuterDisposeScope(), textResult?.MoveToOuterDisposeScope());
    }

    private Tensor Both(Tensor ofImage, Tensor ofText) => cat([Split(ofImage), Split(ofText)], 2);

    private Tensor Split(Tensor tokens) => tokens.unflatten(2, [heads, tokens.size(2) / heads]).transpose(1, 2);

    private static Tensor? JointMask(Tensor? mask, long length) =>
        mask is null ? null : cat([ones(mask.size(0), length, dtype: ScalarType.Bool, device: mask.device), mask], 1);
}
