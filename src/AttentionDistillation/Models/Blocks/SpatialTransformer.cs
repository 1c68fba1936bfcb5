using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>What every stage and block of a latent-diffusion U-Net gets besides its image.</summary>
/// <param name="Time">The time's vector (and what is added to it), [B, time width].</param>
/// <param name="Context">The prompt's states, [B, S, context width]; null for a model without prompt.</param>
/// <param name="Mask">bool [B, S], true = real token; null when nothing is padded.</param>
/// <param name="Trace">Records what it wants.</param>
public sealed record DenoiserInputs(Tensor Time, Tensor? Context, Tensor? Mask, ForwardTrace? Trace);

/// <summary>
/// A pre-norm transformer block on image tokens: self-attention, cross-attention to the prompt, gated feed-forward
/// (<c>BasicTransformerBlock</c> in diffusers). Attention layers are numbered self first; hidden state k + 1 of a trace is the residual stream
/// after attention layer k, the feed-forward included where it is the block's last.
/// </summary>
public sealed class PromptedTransformerBlock : nn.Module<Tensor, DenoiserInputs, Tensor>
{
    private const double Epsilon = 1e-5;
    private const long FeedForwardFactor = 4;

    private readonly LayerNorm selfNorm;
    private readonly ConditionedAttention selfAttention;
    private readonly LayerNorm? crossNorm;
    private readonly ConditionedAttention? crossAttention;
    private readonly LayerNorm feedForwardNorm;
    private readonly GegluFeedForward feedForward;

    /// <summary>Builds a block.</summary>
    /// <param name="width">C.</param>
    /// <param name="heads">H.</param>
    /// <param name="contextWidth">Width of the prompt's states; null for a block without cross-attention.</param>
    /// <param name="firstLayer">Number of its first attention layer.</param>
    /// <param name="layers">Makes the weights.</param>
    public PromptedTransformerBlock(long width, long heads, long? contextWidth, int firstLayer, SeededLayers layers)
        : base(nameof(PromptedTransformerBlock))
    {
        ArgumentNullException.ThrowIfNull(layers);
        selfNorm = layers.LayerNorm(width, Epsilon);
        selfAttention = new ConditionedAttention(width, heads, layers, firstLayer);
        if (contextWidth is not null)
        {
            crossNorm = layers.LayerNorm(width, Epsilon);
            crossAttention = new ConditionedAttention(width, heads, layers, firstLayer + 1, contextWidth);
        }
        feedForwardNorm = layers.LayerNorm(width, Epsilon);
        feedForward = new GegluFeedForward(width, FeedForwardFactor * width, layers);
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
        var context = selfAttention.ContextSource is { } source ? selfNorm.call(source(hidden)) : null;
        hidden = hidden + selfAttention.call(selfNorm.call(hidden), context, null, trace);
        if (crossAttention is not null)
        {
            trace?.RecordHidden(selfAttention.Layer + 1, hidden);
            hidden = hidden + crossAttention.call(crossNorm!.call(hidden), inputs.Context, inputs.Mask, trace);
        }
        hidden = hidden + feedForward.call(feedForwardNorm.call(hidden));
        trace?.RecordHidden((crossAttention ?? selfAttention).Layer + 1, hidden);
        trace?.MoveOut(scope);
        return hidden.MoveToOuterDisposeScope();
    }
}

/// <summary>Transformer blocks on the pixels of a feature map, between two projections, added to it (<c>Transformer2DModel</c> in diffusers).</summary>
public sealed class SpatialTransformer : nn.Module<Tensor, DenoiserInputs, Tensor>
{
    private const double Epsilon = 1e-6;

    private readonly GroupNorm norm;
    private readonly nn.Module<Tensor, Tensor> projectIn;
    private readonly ModuleList<PromptedTransformerBlock> blocks;
    private readonly nn.Module<Tensor, Tensor> projectOut;

    /// <summary>Builds the blocks.</summary>
    /// <param name="channels">C.</param>
    /// <param name="heads">H.</param>
    /// <param name="depth">Number of blocks.</param>
    /// <param name="contextWidth">Width of the prompt's states; null for blocks without cross-attention.</param>
    /// <param name="groups">Groups of the norm.</param>
    /// <param name="isLinear">Whether the projections are linear layers on tokens (SD 2, SDXL) or 1 x 1 convolutions (SD 1); the same map.</param>
    /// <param name="firstLayer">Number of its first attention layer.</param>
    /// <param name="layers">Makes the weights.</param>
    public SpatialTransformer(
        long channels,
        long heads,
        int depth,
        long? contextWidth,
        long groups,
        bool isLinear,
        int firstLayer,
        SeededLayers layers
    )
        : base(nameof(SpatialTransformer))
    {
        ArgumentNullException.ThrowIfNull(layers);
        int attentions = contextWidth is null ? 1 : 2;
        norm = layers.GroupNorm(groups, channels, Epsilon);
        projectIn = isLinear ? layers.Linear(channels, channels) : layers.Convolution(channels, channels, 1);
        blocks = new ModuleList<PromptedTransformerBlock>([
            .. Enumerable
                .Range(0, depth)
                .Select(number => new PromptedTransformerBlock(
                    channels,
                    heads,
                    contextWidth,
                    firstLayer + attentions * number,
                    layers
                )),
        ]);
        projectOut = isLinear ? layers.Linear(channels, channels) : layers.Convolution(channels, channels, 1);
        RegisterComponents();
    }

    /// <summary>Its blocks.</summary>
    public IEnumerable<PromptedTransformerBlock> Blocks => blocks;

    /// <summary>[B, C, H, W] to [B, C, H, W].</summary>
    public override Tensor forward(Tensor image, DenoiserInputs inputs)
    {
        using var scope = NewDisposeScope();
        var (height, width) = (image.size(2), image.size(3));
        var hidden = norm.call(image);
        hidden = projectIn is Linear into ? into.Project(Tokens(hidden)) : Tokens(projectIn.call(hidden));
        foreach (var block in blocks)
            hidden = block.call(hidden, inputs);
        hidden = projectOut is Linear back
            ? Pixels(back.Project(hidden), height, width)
            : projectOut.call(Pixels(hidden, height, width));
        inputs.Trace?.MoveOut(scope);
        return (image + hidden).MoveToOuterDisposeScope();
    }

    /// <summary>[B, C, H, W] to tokens [B, H W, C], row by row.</summary>
    internal static Tensor Tokens(Tensor image) => image.flatten(2).transpose(1, 2);

    private static Tensor Pixels(Tensor tokens, long height, long width) =>
        tokens.transpose(1, 2).reshape(tokens.size(0), tokens.size(2), height, width);
}
