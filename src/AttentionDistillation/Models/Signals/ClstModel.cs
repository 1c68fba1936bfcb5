using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Signals;

/// <summary>
/// ClST, a hierarchy of transformer blocks with convolutions for bursts: each stage embeds by a convolution of step 2, then attends with convolutional
/// projections, applies spatial-channel attention, and feeds forward; mean over the places, norm, linear scores.
/// </summary>
/// <remarks>
/// After the words of the paper's abstract (arXiv 2312.17446); equations and sizes were not seen, so the composition is this library's (†). Attention
/// layer n is block n; hidden state n the tokens before block n, the last one those before the mean. In keys, place j stands for token j · KeyStride.
/// </remarks>
public sealed class ClstModel : SignalModel
{
    /// <summary>The last block's channel gate [B, C]; with <see cref="SpatialChannelAttention.Gate"/> alone.</summary>
    public const string ChannelGate = "channel_gate";

    /// <summary>The last block's position gate [B, l]; with <see cref="SpatialChannelAttention.Gate"/> alone.</summary>
    public const string PositionGate = "position_gate";

    /// <summary>The last block's map of channels [B, H, d, d]; with <see cref="SpatialChannelAttention.Dual"/> alone.</summary>
    public const string ChannelAttention = "channel_attention";

    private readonly ModuleList<SequenceConvolutionNorm> embeddings;
    private readonly ModuleList<ClstBlock> blocks;
    private readonly LayerNorm norm;
    private readonly Linear classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and switches.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what.</exception>
    public ClstModel(ClstConfig config, long seed)
        : base(Describe(config))
    {
        Config = config;
        var layers = new SeededLayers(seed, 1 / Math.Sqrt(config.Widths[^1]));
        var embeddingLayers = new List<SequenceConvolutionNorm>();
        var blockLayers = new List<ClstBlock>();
        for (int stage = 0; stage < config.Widths.Count; stage++)
        {
            long input = stage == 0 ? 2 : config.Widths[stage - 1];
            embeddingLayers.Add(
                new(input, config.Widths[stage], config.EmbeddingKernels[stage], layers, stride: 2, activation: "gelu")
            );
            for (int number = 0; number < config.Blocks[stage]; number++)
                blockLayers.Add(new(config, stage, layers, blockLayers.Count));
        }
        embeddings = new ModuleList<SequenceConvolutionNorm>([.. embeddingLayers]);
        blocks = new ModuleList<ClstBlock>([.. blockLayers]);
        norm = layers.LayerNorm(config.Widths[^1], 1e-5);
        classifier = layers.Linear(config.Widths[^1], config.Classes);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public ClstConfig Config { get; }

    private protected override Tensor Compute(Tensor signals, ForwardTrace? trace)
    {
        var tokens = signals.transpose(1, 2);
        int block = 0;
        for (int stage = 0; stage < Config.Widths.Count; stage++)
        {
            tokens = embeddings[stage].call(tokens.transpose(1, 2)).transpose(1, 2);
            for (int number = 0; number < Config.Blocks[stage]; number++, block++)
            {
                trace?.RecordHidden(block, tokens.alias());
                if (trace is { RunsToTheEnd: false } && block > trace.LastLayerNeeded)
                    return Nothing(signals);
                bool isLast = block == blocks.Count - 1 && trace?.RunsToTheEnd == true;
                tokens = isLast ? blocks[block].Run(tokens, trace, isLast) : blocks[block].call(tokens, trace);
                if (trace?.StopsAfterAttentionInputs(block) == true)
                    return Nothing(signals);
            }
        }
        trace?.RecordHidden(block, tokens.alias());
        if (trace is { RunsToTheEnd: false })
            return Nothing(signals);
        var pooled = norm.call(tokens.mean([1L]));
        if (trace?.WantsFeature(PooledFeatures) == true)
            trace.RecordFeature(PooledFeatures, pooled.alias());
        return classifier.Project(pooled);
    }

    private static TraceCapabilities Describe(ClstConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        string[] features = config.Psca switch
        {
            SpatialChannelAttention.Gate => [PooledFeatures, ChannelGate, PositionGate],
            SpatialChannelAttention.Dual => [PooledFeatures, ChannelAttention],
            _ => [PooledFeatures],
        };
        return new TraceCapabilities(nameof(ClstModel), config.Blocks.Sum(), features);
    }
}

/// <summary>One block: x + gate(attention(LN x)), for the dual reading x + dual(LN x) after it, x + feed-forward(LN x).</summary>
internal sealed class ClstBlock : nn.Module<Tensor, ForwardTrace?, Tensor>
{
    private readonly LayerNorm attentionNorm;
    private readonly ConvolutionalAttention? convolutional;
    private readonly MultiHeadAttention? linear;
    private readonly SpatialChannelGate? gate;
    private readonly LayerNorm? dualNorm;
    private readonly DualAttentionLayer? dual;
    private readonly LayerNorm feedForwardNorm;
    private readonly FeedForward feedForward;
    private readonly int layer;

    public ClstBlock(ClstConfig config, int stage, SeededLayers layers, int layer)
        : base(nameof(ClstBlock))
    {
        long width = config.Widths[stage],
            heads = config.Heads[stage];
        this.layer = layer;
        attentionNorm = layers.LayerNorm(width, 1e-5);
        if (config.ConvolutionalProjection)
            convolutional = new(width, heads, config.ProjectionKernel, config.KeyStride, layers, layer);
        else
            linear = new(width, heads, layers, layer, hasBias: false, outputHasBias: true);
        if (config.Psca == SpatialChannelAttention.Gate)
            gate = new(width, config.GateReduction, config.GateKernel, layers);
        if (config.Psca == SpatialChannelAttention.Dual)
        {
            dualNorm = layers.LayerNorm(width, 1e-5);
            dual = new(width, heads, layers);
        }
        feedForwardNorm = layers.LayerNorm(width, 1e-5);
        feedForward = new(width, width * config.FeedForwardRatio, "gelu", layers);
        RegisterComponents();
    }

    public override Tensor forward(Tensor tokens, ForwardTrace? trace) => Run(tokens, trace, isLast: false);

    /// <summary>[B, l, C] to [B, l, C]; empty ([0]) when the trace stops after the attention inputs.</summary>
    public Tensor Run(Tensor tokens, ForwardTrace? trace, bool isLast)
    {
        using var scope = NewDisposeScope();
        var normalised = attentionNorm.call(tokens);
        var attended = convolutional is not null
            ? convolutional.call(normalised, trace)
            : linear!.call(normalised, null, null, trace);
        if (trace?.WantsAttention(layer) == true)
            trace.Attention(layer).MoveToOuterDisposeScope();
        if (trace?.StopsAfterAttentionInputs(layer) == true)
            return attended.MoveToOuterDisposeScope();
        // What nobody wants recorded goes through the layers' own calls, which those who watch layers see.
        if (gate is not null && Wants(ClstModel.ChannelGate, ClstModel.PositionGate))
        {
            var (gated, channel, position) = gate.Apply(attended);
            attended = gated;
            Record(ClstModel.ChannelGate, channel);
            Record(ClstModel.PositionGate, position);
        }
        else if (gate is not null)
            attended = gate.call(attended);
        var middle = tokens + attended;
        if (dual is not null && Wants(ClstModel.ChannelAttention))
        {
            var (mixed, channels) = dual.Apply(dualNorm!.call(middle));
            middle += mixed;
            Record(ClstModel.ChannelAttention, channels);
        }
        else if (dual is not null)
            middle += dual.call(dualNorm!.call(middle));
        return (middle + feedForward.call(feedForwardNorm.call(middle))).MoveToOuterDisposeScope();

        bool Wants(params string[] names) => isLast && names.Any(name => trace?.WantsFeature(name) == true);
        void Record(string name, Tensor value)
        {
            if (Wants(name))
                trace!.RecordFeature(name, value.MoveToOuterDisposeScope());
        }
    }
}

/// <summary>The weights of <see cref="GateAttention"/>, for tokens [B, l, C].</summary>
internal sealed class SpatialChannelGate : nn.Module<Tensor, Tensor>, IOwnProducts
{
    private readonly Linear reduce;
    private readonly Linear expand;
    private readonly Parameter spatial;

    public SpatialChannelGate(long width, long reduction, long kernel, SeededLayers layers)
        : base(nameof(SpatialChannelGate))
    {
        long inner = Math.Max(1, width / reduction);
        reduce = layers.Linear(width, inner, hasBias: false);
        expand = layers.Linear(inner, width, hasBias: false);
        spatial = layers.NormalParameter(Math.Sqrt(1.0 / (2 * kernel)), 1, 2, kernel);
        RegisterComponents();
    }

    public long MultiplyAdds(Tensor output) =>
        output.size(0) * (4 * reduce.weight!.numel() + output.size(1) * (spatial.numel() + 2 * output.size(2)));

    public override Tensor forward(Tensor tokens)
    {
        using var scope = NewDisposeScope();
        return Apply(tokens).Output.MoveToOuterDisposeScope();
    }

    public (Tensor Output, Tensor Channel, Tensor Position) Apply(Tensor tokens)
    {
        var (output, channel, position) = GateAttention.Apply(tokens.transpose(1, 2), reduce.weight!, expand.weight!, spatial);
        return (output.transpose(1, 2), channel, position);
    }
}

/// <summary>The weights of <see cref="DualAttention"/>.</summary>
internal sealed class DualAttentionLayer : nn.Module<Tensor, Tensor>, IOwnProducts
{
    private readonly Linear query;
    private readonly Linear key;
    private readonly Linear value;
    private readonly Linear output;
    private readonly long heads;

    public DualAttentionLayer(long width, long heads, SeededLayers layers)
        : base(nameof(DualAttentionLayer))
    {
        this.heads = heads;
        query = layers.Linear(width, width, hasBias: false);
        key = layers.Linear(width, width, hasBias: false);
        value = layers.Linear(width, width, hasBias: false);
        output = layers.Linear(width, width);
        RegisterComponents();
    }

    // Four projections, the map of places and its use, the map of channels and its use.
    public long MultiplyAdds(Tensor result)
    {
        long places = result.size(1),
            width = result.size(2);
        return result.size(0) * places * width * (4 * width + 2 * places + 2 * width / heads);
    }

    public override Tensor forward(Tensor tokens)
    {
        using var scope = NewDisposeScope();
        return Apply(tokens).Output.MoveToOuterDisposeScope();
    }

    public (Tensor Output, Tensor Channels) Apply(Tensor tokens)
    {
        var (mixed, _, channels) = DualAttention.Apply(
            tokens,
            query.weight!,
            key.weight!,
            value.weight!,
            output.weight!,
            output.bias,
            heads
        );
        return (mixed, channels);
    }
}
