using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Sizes and options of a <see cref="WindowAttentionBlock"/>.</summary>
public sealed record WindowBlockOptions
{
    /// <summary>C.</summary>
    public required long Width { get; init; }

    /// <summary>H.</summary>
    public required long Heads { get; init; }

    /// <summary>Side of a window; null for attention over the whole map.</summary>
    public long? Window { get; init; }

    /// <summary>By how much the windows are shifted; 0 for not at all.</summary>
    public long Shift { get; init; }

    /// <summary>The whole map's height and width, which a bias without windows is learned for.</summary>
    public ImageSize Grid { get; init; }

    /// <summary>What a learned bias on the scores depends on.</summary>
    public PositionBias Bias { get; init; }

    /// <summary>
    /// Whether maps are padded to whole windows before the norm, so that padding carries the norm's bias (TinyViT), or after it (Swin). Padding is
    /// seen by attention either way, as in both papers' code.
    /// </summary>
    public bool PadsBeforeNorm { get; init; }

    /// <summary>Kernel of a depthwise convolution with batch norm, without residual, between attention and feed-forward; 0 for none.</summary>
    public long LocalKernel { get; init; }

    /// <summary>Inner width of the feed-forward block over C.</summary>
    public double FeedForwardRatio { get; init; } = 4.0;

    /// <summary>Name of the activation (see <see cref="Blocks.Activation"/>).</summary>
    public string Activation { get; init; } = "gelu";

    /// <summary>Epsilon of the layer normalisations.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Whether the projection of queries, keys and values has biases.</summary>
    public bool QkvBias { get; init; } = true;

    /// <summary>Dropout probability of the feed-forward block's output.</summary>
    public double Dropout { get; init; }

    /// <summary>Dropout probability of attention weights and of the attention's output.</summary>
    public double AttentionDropout { get; init; }

    /// <summary>Stochastic depth of the block's branches.</summary>
    public double DropPath { get; init; }

    /// <summary>Whether stochastic depth acts on the feed-forward branch, too (not in transformers' Swin).</summary>
    public bool DropsFeedForwardPath { get; init; } = true;
}

/// <summary>
/// A block of a hierarchical vision transformer on maps: attention in windows (or over the whole map), a local convolution if there is one, and a
/// feed-forward block.
/// </summary>
public sealed class WindowAttentionBlock : nn.Module<Tensor, ForwardTrace?, Tensor>
{
    private readonly LayerNorm attentionNorm;
    private readonly BiasedAttention attention;
    private readonly ConvolutionNorm? local;
    private readonly LayerNorm feedForwardNorm;
    private readonly FeedForward feedForward;
    private readonly Dropout attentionDropout;
    private readonly Dropout dropout;
    private readonly DropPath dropPath;
    private readonly WindowBlockOptions options;

    /// <summary>Builds a block.</summary>
    /// <param name="options">Sizes and options.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="number">The attention layer's number from 0.</param>
    public WindowAttentionBlock(WindowBlockOptions options, SeededLayers layers, int number)
        : base(nameof(WindowAttentionBlock))
    {
        ArgumentNullException.ThrowIfNull(options);
        this.options = options;
        attentionNorm = layers.LayerNorm(options.Width, options.NormEpsilon);
        attention = new BiasedAttention(
            options.Width,
            options.Heads,
            options.Window ?? options.Grid,
            options.Bias,
            layers,
            number,
            options.AttentionDropout,
            options.QkvBias
        );
        local =
            options.LocalKernel > 0
                ? new ConvolutionNorm(options.Width, options.Width, options.LocalKernel, layers, groups: options.Width)
                : null;
        feedForwardNorm = layers.LayerNorm(options.Width, options.NormEpsilon);
        feedForward = new FeedForward(
            options.Width,
            (long)(options.Width * options.FeedForwardRatio),
            options.Activation,
            layers
        );
        attentionDropout = nn.Dropout(options.AttentionDropout);
        dropout = nn.Dropout(options.Dropout);
        dropPath = new DropPath(options.DropPath);
        RegisterComponents();
    }

    /// <summary>[B, C, height, width] to the same shape.</summary>
    public override Tensor forward(Tensor map, ForwardTrace? trace)
    {
        Shapes.Require(map, "[B, C, height, width]");
        using var scope = NewDisposeScope();
        var places = map.permute(0, 2, 3, 1);
        var attended = attentionDropout.call(
            options.Window is { } window ? InWindows(places, window, trace) : OverAll(places, trace)
        );
        if (trace?.WantsAttention(attention.Layer) == true)
            BiasedAttention.MoveOut(trace.Attention(attention.Layer));
        var middle = places + dropPath.call(attended);
        if (local is not null)
            middle = local.call(middle.permute(0, 3, 1, 2)).permute(0, 2, 3, 1);
        var branch = dropout.call(feedForward.call(feedForwardNorm.call(middle)));
        if (options.DropsFeedForwardPath)
            branch = dropPath.call(branch);
        return (middle + branch).permute(0, 3, 1, 2).MoveToOuterDisposeScope();
    }

    private Tensor OverAll(Tensor places, ForwardTrace? trace)
    {
        var tokens = attentionNorm.call(places).reshape(places.size(0), -1, places.size(3));
        return attention.call(tokens, null, trace).view(places.shape);
    }

    private Tensor InWindows(Tensor places, long window, ForwardTrace? trace)
    {
        var size = new ImageSize(places.size(1), places.size(2));
        var padded = options.PadsBeforeNorm
            ? attentionNorm.call(Windows.Pad(places, window))
            : Windows.Pad(attentionNorm.call(places), window);
        var whole = new ImageSize(padded.size(1), padded.size(2));
        // A map of one window has nothing to shift to.
        long shift = Math.Min(size.Height, size.Width) <= window ? 0 : options.Shift;
        if (shift > 0)
            padded = padded.roll([-shift, -shift], [1, 2]);
        var mask = shift > 0 ? Windows.ShiftMask(whole, window, shift, places.dtype, places.device) : null;
        var mixed = attention.call(Windows.Cut(padded, window), mask, trace);
        if (shift == 0)
            return Windows.Join(mixed, window, size);
        return Windows.Join(mixed, window, whole).roll([shift, shift], [1, 2]).narrow(1, 0, size.Height).narrow(2, 0, size.Width);
    }
}
