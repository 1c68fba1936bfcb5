using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A block of a diffusion transformer: self-attention and feed-forward, shifted, scaled and gated by the condition, with cross-attention to a
/// prompt between them where there is one.
/// </summary>
/// <remarks>
/// h += (o + g1) SelfAttention(norm(h) (1 + s1) + b1); h += CrossAttention(norm(h), prompt); h += (o + g2) FeedForward(norm(h) (1 + s2) + b2); the
/// order of the six parts is b1, s1, g1, b2, s2, g2, and o is the gates' offset.
/// </remarks>
public sealed class DiffusionTransformerBlock : nn.Module<Tensor, DenoiserInputs, Tensor>
{
    private const int Parts = 6;

    private readonly AdaptiveModulation modulation;
    private readonly LayerNorm selfNorm;
    private readonly ConditionedAttention selfAttention;
    private readonly LayerNorm? crossNorm;
    private readonly ConditionedAttention? crossAttention;
    private readonly LayerNorm feedForwardNorm;
    private readonly FeedForward feedForward;
    private readonly double gateOffset;

    /// <summary>Builds a block.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="number">The block's number from 0.</param>
    /// <param name="rotary">Rotary positions of self-attention; null for none.</param>
    /// <param name="layers">Makes the weights.</param>
    public DiffusionTransformerBlock(DiffusionTransformerConfig config, int number, AxialRotary? rotary, SeededLayers layers)
        : base(nameof(DiffusionTransformerBlock))
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(layers);
        long width = config.HiddenSize;
        int first = number * (config.ContextWidth is null ? 1 : 2);
        gateOffset = config.GateOffset;
        modulation = new AdaptiveModulation(width, width, Parts, layers);
        selfNorm = layers.LayerNorm(width, config.NormEpsilon, hasWeights: false);
        selfAttention = new ConditionedAttention(width, config.Heads, layers, first, hasBias: true) { Rotary = rotary };
        if (config.ContextWidth is { } contextWidth)
        {
            crossNorm = layers.LayerNorm(width, config.NormEpsilon);
            crossAttention = new ConditionedAttention(width, config.Heads, layers, first + 1, contextWidth, hasBias: true);
        }
        feedForwardNorm = layers.LayerNorm(width, config.FeedForwardNormEpsilon, hasWeights: false);
        feedForward = new FeedForward(width, config.FeedForwardRatio * width, config.FeedForwardActivation, layers);
        RegisterComponents();
    }

    /// <summary>Its attention layers, self first.</summary>
    public IEnumerable<ConditionedAttention> Attentions =>
        crossAttention is null ? [selfAttention] : [selfAttention, crossAttention];

    /// <summary>[B, L, C] to [B, L, C].</summary>
    public override Tensor forward(Tensor hidden, DenoiserInputs inputs)
    {
        using var scope = NewDisposeScope();
        var trace = inputs.Trace;
        var part = modulation.call(inputs.Time);
        Tensor Normed(Tensor tokens) => AdaptiveNorm.Modulate(selfNorm.call(tokens), part[0], part[1]);
        var context = selfAttention.ContextSource is { } source ? Normed(source(hidden)) : null;
        hidden = hidden + Gate(part[2]) * selfAttention.call(Normed(hidden), context, null, trace);
        if (crossAttention is not null)
        {
            trace?.RecordHidden(selfAttention.Layer + 1, hidden);
            hidden = hidden + crossAttention.call(crossNorm!.call(hidden), inputs.Context, inputs.Mask, trace);
        }
        var normed = AdaptiveNorm.Modulate(feedForwardNorm.call(hidden), part[3], part[4]);
        hidden = hidden + Gate(part[5]) * feedForward.call(normed);
        trace?.RecordHidden((crossAttention ?? selfAttention).Layer + 1, hidden);
        trace?.MoveOut(scope);
        return hidden.MoveToOuterDisposeScope();
    }

    private Tensor Gate(Tensor part) => gateOffset == 0 ? part : part + gateOffset;
}
