using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>Sizes and options of a <see cref="SegmentationUNet"/>.</summary>
public sealed record SegmentationUNetConfig
{
    /// <summary>Channels of each level, from the image's size down; the last is the bottleneck.</summary>
    public IReadOnlyList<long> Widths { get; init; } = [16, 32, 64, 128];

    /// <summary>3 x 3 convolutions of a level, on the way down and on the way up.</summary>
    public int Convolutions { get; init; } = 2;

    /// <summary>Transformer layers over all places of the bottleneck; 0 for none.</summary>
    public int BottleneckLayers { get; init; }

    /// <summary>Heads of those layers; divides the last width.</summary>
    public long BottleneckHeads { get; init; } = 4;

    /// <summary>Inner width of those layers' feed-forward blocks over the last width.</summary>
    public double BottleneckRatio { get; init; } = 4.0;

    /// <summary>Name of the activation (see <see cref="Activation"/>).</summary>
    public string Activation { get; init; } = "relu";

    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>Classes of a pixel.</summary>
    public long Classes { get; init; } = 2;

    /// <summary>Epsilon of the layer normalisations of the bottleneck.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Standard deviation of the initial weights of the bottleneck's linear layers and of the classifier.</summary>
    public double InitializerRange { get; init; } = 0.02;

    internal void Validate()
    {
        ConfigCheck.Positive(this, Widths.Count, nameof(Widths));
        foreach (long width in Widths)
            ConfigCheck.Positive(this, width, nameof(Widths));
        ConfigCheck.Positive(this, Convolutions, nameof(Convolutions));
        ConfigCheck.NotNegative(this, BottleneckLayers, nameof(BottleneckLayers));
        ConfigCheck.Positive(this, BottleneckHeads, nameof(BottleneckHeads));
        ConfigCheck.AboveZero(this, BottleneckRatio, nameof(BottleneckRatio));
        ConfigCheck.Positive(this, Channels, nameof(Channels));
        ConfigCheck.Positive(this, Classes, nameof(Classes));
        ConfigCheck.AboveZero(this, NormEpsilon, nameof(NormEpsilon));
        ConfigCheck.NotNegative(this, InitializerRange, nameof(InitializerRange));
        _ = Blocks.Activation.Find(Activation);
        if (BottleneckLayers > 0 && Widths[^1] % BottleneckHeads != 0)
            throw ConfigCheck.Wrong(
                this,
                nameof(BottleneckHeads),
                BottleneckHeads,
                $"a divisor of the last of {nameof(Widths)}, {Widths[^1]}"
            );
    }
}

/// <summary>
/// A U-Net for segmentation: levels of convolutions with batch norm, halved by maxima on the way down, doubled bilinearly on the way up and joined
/// with the way down's maps; optionally Transformer layers at the bottleneck. Its output is scores per pixel, [B, classes, height, width].
/// </summary>
/// <remarks>
/// <para>Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015, figure 1, with padded convolutions.</para>
/// <para>
/// With n levels, hidden states 0 to n - 1 are the maps of the way down (n - 1 is the bottleneck), n to 2 n - 2 those of the way up, the image's size
/// last. The features <c>down1</c> ... and <c>up1</c> ... hold the same by level, 1 at the image's size. Attention layers are those of the bottleneck.
/// </para>
/// </remarks>
public sealed class SegmentationUNet : ImageModel
{
    private readonly ModuleList<ConvolutionLevel> down;
    private readonly ModuleList<ConvolutionLevel> up;
    private readonly ModuleList<PreNormLayer> bottleneck;
    private readonly Conv2d classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public SegmentationUNet(SegmentationUNetConfig config, long seed)
        : base(Describe(config), config.Channels)
    {
        Config = config;
        var layers = new SeededLayers(seed, config.InitializerRange);
        int levels = config.Widths.Count;
        down = new ModuleList<ConvolutionLevel>([
            .. Enumerable
                .Range(0, levels)
                .Select(level => new ConvolutionLevel(
                    level == 0 ? config.Channels : config.Widths[level - 1],
                    config.Widths[level],
                    config,
                    layers
                )),
        ]);
        var options = new PreNormOptions
        {
            Width = config.Widths[^1],
            Heads = config.BottleneckHeads,
            InnerWidth = (long)(config.Widths[^1] * config.BottleneckRatio),
            Layers = config.BottleneckLayers,
            Activation = "gelu",
            NormEpsilon = config.NormEpsilon,
        };
        bottleneck = new ModuleList<PreNormLayer>([
            .. Enumerable.Range(0, config.BottleneckLayers).Select(number => new PreNormLayer(options, layers, number)),
        ]);
        up = new ModuleList<ConvolutionLevel>([
            .. Enumerable
                .Range(0, levels - 1)
                .Select(level => new ConvolutionLevel(
                    config.Widths[level] + config.Widths[level + 1],
                    config.Widths[level],
                    config,
                    layers
                )),
        ]);
        classifier = layers.ImageConvolution(
            config.Widths[0],
            config.Classes,
            1,
            hasBias: true,
            standardDeviation: config.InitializerRange
        );
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public SegmentationUNetConfig Config { get; }

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        int levels = down.Count;
        long side = 1L << (levels - 1);
        if (images.size(2) < side || images.size(3) < side)
            throw new ArgumentException(
                $"The images are {images.size(2)} x {images.size(3)}, too small to be halved {levels - 1} times. Give images of {side} x {side} or more, or fewer levels.",
                nameof(images)
            );
        bool whole = trace is null || trace.RunsToTheEnd;
        int last = whole ? 2 * levels - 2 : Math.Max(trace!.LastHiddenWanted, trace.LastAttentionWanted >= 0 ? levels - 1 : -1);
        var maps = new Tensor[levels];
        for (int level = 0; level < levels && level <= last; level++)
        {
            maps[level] = down[level].call(level == 0 ? images : nn.functional.max_pool2d(maps[level - 1], 2));
            if (level == levels - 1)
                maps[level] = Attend(maps[level], trace);
            Record(trace, level, $"down{level + 1}", maps[level]);
        }
        var map = last >= levels - 1 ? maps[^1] : images;
        for (int level = levels - 2; level >= 0 && 2 * levels - 2 - level <= last; level--)
        {
            var skip = maps[level];
            var doubled = nn.functional.interpolate(
                map,
                [skip.size(2), skip.size(3)],
                mode: InterpolationMode.Bilinear,
                align_corners: false
            );
            map = up[level].call(cat([skip, doubled], 1));
            Record(trace, 2 * levels - 2 - level, $"up{level + 1}", map);
        }
        return whole ? ImageLayout.Convolve(classifier, map) : Nothing(images);
    }

    private Tensor Attend(Tensor map, ForwardTrace? trace)
    {
        if (bottleneck.Count == 0)
            return map;
        var tokens = map.flatten(2).transpose(1, 2);
        foreach (var layer in bottleneck)
            tokens = layer.call(tokens, null, trace);
        return tokens.transpose(1, 2).reshape(map.shape);
    }

    private static void Record(ForwardTrace? trace, int state, string name, Tensor map)
    {
        trace?.RecordHidden(state, map);
        if (trace?.WantsFeature(name) == true)
            trace.RecordFeature(name, map.alias());
    }

    private static TraceCapabilities Describe(SegmentationUNetConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        int levels = config.Widths.Count;
        return new TraceCapabilities(
            nameof(SegmentationUNet),
            config.BottleneckLayers,
            [
                .. Enumerable.Range(1, levels).Select(level => $"down{level}"),
                .. Enumerable.Range(1, levels - 1).Select(level => $"up{level}"),
            ]
        )
        {
            LastHiddenState = 2 * levels - 2,
            Heads = config.BottleneckLayers > 0 ? (int)config.BottleneckHeads : 0,
        };
    }
}

/// <summary>The convolutions of one level of a U-Net.</summary>
public sealed class ConvolutionLevel : nn.Module<Tensor, Tensor>
{
    private readonly ModuleList<ConvolutionNorm> convolutions;

    /// <summary>Builds the convolutions.</summary>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out.</param>
    /// <param name="config">Options.</param>
    /// <param name="layers">Makes the weights.</param>
    public ConvolutionLevel(long input, long output, SegmentationUNetConfig config, SeededLayers layers)
        : base(nameof(ConvolutionLevel))
    {
        ArgumentNullException.ThrowIfNull(config);
        convolutions = new ModuleList<ConvolutionNorm>([
            .. Enumerable
                .Range(0, config.Convolutions)
                .Select(number => new ConvolutionNorm(
                    number == 0 ? input : output,
                    output,
                    3,
                    layers,
                    activation: config.Activation
                )),
        ]);
        RegisterComponents();
    }

    /// <summary>[B, input, height, width] to [B, output, height, width].</summary>
    public override Tensor forward(Tensor map)
    {
        using var scope = NewDisposeScope();
        var current = map;
        foreach (var convolution in convolutions)
            current = convolution.call(current);
        return current.MoveToOuterDisposeScope();
    }
}
