using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>How a hierarchical vision transformer begins.</summary>
public enum HierarchicalStem
{
    /// <summary>Two 3 x 3 convolutions of stride 2 with batch norm, to half the width and the width, an activation between: a quarter of the image.</summary>
    Convolution,

    /// <summary>Patches that do not overlap, and a layer norm.</summary>
    Patches,
}

/// <summary>What lies between two stages; each halves the map.</summary>
public enum HierarchicalDownsampling
{
    /// <summary>1 x 1, depthwise 3 x 3 of stride 2, 1 x 1, each with batch norm (<see cref="ConvolutionDownsampling"/>).</summary>
    Convolution,

    /// <summary>Four neighbours side by side, layer norm, linear (<see cref="Blocks.PatchMerging"/>).</summary>
    PatchMerging,
}

/// <summary>What a stage's blocks are.</summary>
public enum HierarchicalBlock
{
    /// <summary>Attention and feed-forward (<see cref="WindowAttentionBlock"/>).</summary>
    Attention,

    /// <summary>Inverted bottlenecks (<see cref="Blocks.MobileConvolution"/>).</summary>
    MobileConvolution,

    /// <summary>ConvNeXt blocks (<see cref="ConvNextBlock"/>).</summary>
    ConvNext,

    /// <summary>Blocks that the caller brings (see <see cref="HierarchicalVisionTransformer"/>).</summary>
    Custom,
}

/// <summary>One stage of a hierarchical vision transformer: blocks of one width on maps of one size.</summary>
public sealed record HierarchicalStage
{
    /// <summary>What the blocks are.</summary>
    public HierarchicalBlock Block { get; init; } = HierarchicalBlock.Attention;

    /// <summary>How many there are; of a custom stage, how many attention layers it records.</summary>
    public required int Depth { get; init; }

    /// <summary>C.</summary>
    public required long Width { get; init; }

    /// <summary>H of attention blocks; divides <see cref="Width"/>.</summary>
    public long Heads { get; init; } = 1;

    /// <summary>Side of the windows of attention; null for attention over the whole map.</summary>
    public long? Window { get; init; }

    /// <summary>Whether every second block shifts its windows by half a window, as Swin does.</summary>
    public bool ShiftsWindows { get; init; }

    /// <summary>What a learned bias on the scores depends on.</summary>
    public PositionBias Bias { get; init; } = PositionBias.Absolute;

    /// <summary>Kernel of the depthwise convolution between attention and feed-forward; 0 for none.</summary>
    public long LocalKernel { get; init; } = 3;

    /// <summary>Inner width of a block over C.</summary>
    public double Ratio { get; init; } = 4.0;
}

/// <summary>
/// Sizes and options of a hierarchical vision transformer. The defaults of stem, downsampling and head are TinyViT's (Wu et al., "TinyViT: Fast
/// Pretraining Distillation for Small Vision Transformers", 2022).
/// </summary>
public sealed record HierarchicalConfig
{
    /// <summary>The stages, from large maps to small ones.</summary>
    public required IReadOnlyList<HierarchicalStage> Stages { get; init; }

    /// <summary>How it begins.</summary>
    public HierarchicalStem Stem { get; init; } = HierarchicalStem.Convolution;

    /// <summary>Pixels of a patch of <see cref="HierarchicalStem.Patches"/>.</summary>
    public ImageSize PatchSize { get; init; } = 4;

    /// <summary>What lies between two stages.</summary>
    public HierarchicalDownsampling Downsampling { get; init; } = HierarchicalDownsampling.Convolution;

    /// <summary>
    /// Pixels of the images; only attention over whole maps with a learned bias is bound to it, all else takes other sizes, too.
    /// </summary>
    public ImageSize ImageSize { get; init; } = 224;

    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>Whether maps are padded to whole windows before the norm (TinyViT) or after it (Swin).</summary>
    public bool PadsBeforeNorm { get; init; } = true;

    /// <summary>Whether the head's layer norm comes before the mean over places (Swin) or after it (TinyViT).</summary>
    public bool NormalisesBeforeMean { get; init; }

    /// <summary>Name of the activation (see <see cref="Activation"/>).</summary>
    public string HiddenActivation { get; init; } = "gelu";

    /// <summary>Epsilon of the layer normalisations.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Stochastic depth of the last block, from 0 at the first.</summary>
    public double DropPathRate { get; init; }

    /// <summary>Dropout probability of feed-forward outputs.</summary>
    public double HiddenDropout { get; init; }

    /// <summary>Dropout probability of attention weights.</summary>
    public double AttentionDropout { get; init; }

    /// <summary>Where the scales of ConvNeXt blocks start.</summary>
    public double InitialLayerScale { get; init; } = 1e-6;

    /// <summary>Standard deviation of the initial weights of linear layers.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>Names of the classes, in order; 1,000 as of ImageNet.</summary>
    public IReadOnlyList<string> Labels { get; init; } = TextEncoderConfig.DefaultLabels(VisionTransformerConfig.ImageNetClasses);

    /// <summary>TinyViT-5M for images of 224: 5.39 million parameters with 1,000 classes.</summary>
    public static HierarchicalConfig TinyVit5M { get; } = TinyVit([64, 128, 160, 320], 0.0);

    /// <summary>TinyViT-11M for images of 224: 11.00 million parameters with 1,000 classes.</summary>
    public static HierarchicalConfig TinyVit11M { get; } = TinyVit([64, 128, 256, 448], 0.1);

    /// <summary>TinyViT-21M for images of 224: 21.20 million parameters with 1,000 classes.</summary>
    public static HierarchicalConfig TinyVit21M { get; } = TinyVit([96, 192, 384, 576], 0.2);

    /// <summary>Width of every attention head of TinyViT.</summary>
    private const long TinyVitHeadWidth = 32;

    /// <summary>
    /// A TinyViT: a stage of inverted bottlenecks, then three of attention in windows with absolute offset biases and a 3 x 3 convolution.
    /// </summary>
    /// <param name="widths">Of the four stages, those of attention multiples of 32.</param>
    /// <param name="dropPathRate">Stochastic depth of the last block.</param>
    /// <param name="depths">Blocks of the four stages; null means the published 2, 2, 6, 2.</param>
    /// <param name="windows">Sides of the windows of the last three stages; null means 7, 14, 7, for images of 224.</param>
    /// <exception cref="ArgumentException">The lists have other lengths.</exception>
    public static HierarchicalConfig TinyVit(
        IReadOnlyList<long> widths,
        double dropPathRate,
        IReadOnlyList<int>? depths = null,
        IReadOnlyList<long>? windows = null
    )
    {
        ArgumentNullException.ThrowIfNull(widths);
        depths ??= [2, 2, 6, 2];
        windows ??= [7, 14, 7];
        if (widths.Count != depths.Count || widths.Count != windows.Count + 1)
            throw new ArgumentException(
                $"A TinyViT has a width and a depth per stage and a window per stage after the first, but there are {widths.Count} widths, {depths.Count} depths and {windows.Count} windows."
            );
        return new()
        {
            DropPathRate = dropPathRate,
            Stages =
            [
                new()
                {
                    Block = HierarchicalBlock.MobileConvolution,
                    Depth = depths[0],
                    Width = widths[0],
                },
                .. Enumerable
                    .Range(1, widths.Count - 1)
                    .Select(stage => new HierarchicalStage
                    {
                        Depth = depths[stage],
                        Width = widths[stage],
                        Heads = Math.Max(1, widths[stage] / TinyVitHeadWidth),
                        Window = windows[stage - 1],
                    }),
            ],
        };
    }

    /// <summary>The map's height and width in a stage for images of <see cref="ImageSize"/>.</summary>
    /// <param name="stage">From 0.</param>
    public ImageSize GridOf(int stage)
    {
        var grid = Stem == HierarchicalStem.Patches ? ImageSize.Whole(PatchSize) : Halved(Halved(ImageSize));
        for (int i = 0; i < stage; i++)
            grid = Halved(grid);
        return grid;
    }

    private static ImageSize Halved(ImageSize size) => new((size.Height + 1) / 2, (size.Width + 1) / 2);

    internal void Validate()
    {
        ConfigCheck.Positive(this, Stages.Count, nameof(Stages));
        ConfigCheck.Positive(this, ImageSize, nameof(ImageSize));
        ConfigCheck.Positive(this, PatchSize, nameof(PatchSize));
        ConfigCheck.Positive(this, Channels, nameof(Channels));
        ConfigCheck.Positive(this, Labels.Count, nameof(Labels));
        ConfigCheck.AboveZero(this, NormEpsilon, nameof(NormEpsilon));
        ConfigCheck.NotNegative(this, InitializerRange, nameof(InitializerRange));
        ConfigCheck.NotNegative(this, InitialLayerScale, nameof(InitialLayerScale));
        ConfigCheck.Probability(this, DropPathRate, nameof(DropPathRate));
        ConfigCheck.Probability(this, HiddenDropout, nameof(HiddenDropout));
        ConfigCheck.Probability(this, AttentionDropout, nameof(AttentionDropout));
        _ = Activation.Find(HiddenActivation);
        for (int number = 0; number < Stages.Count; number++)
            Validate(Stages[number], number);
        if (Stem == HierarchicalStem.Convolution && Stages[0].Width % 2 != 0)
            throw ConfigCheck.Wrong(
                Stages[0],
                nameof(HierarchicalStage.Width),
                Stages[0].Width,
                "even, for the convolution stem halves it"
            );
        if (GridOf(Stages.Count - 1).Area < 1)
            throw ConfigCheck.Wrong(this, nameof(ImageSize), ImageSize, $"at least one patch of {PatchSize}");
    }

    private static void Validate(HierarchicalStage stage, int number)
    {
        ConfigCheck.Positive(stage, stage.Depth, $"{nameof(stage.Depth)} (stage {number + 1})");
        ConfigCheck.Positive(stage, stage.Width, $"{nameof(stage.Width)} (stage {number + 1})");
        ConfigCheck.AboveZero(stage, stage.Ratio, $"{nameof(stage.Ratio)} (stage {number + 1})");
        if (stage.Block != HierarchicalBlock.Attention)
            return;
        ConfigCheck.Positive(stage, stage.Heads, $"{nameof(stage.Heads)} (stage {number + 1})");
        ConfigCheck.Positive(stage, stage.Window ?? 1, $"{nameof(stage.Window)} (stage {number + 1})");
        if (stage.Width % stage.Heads != 0)
            throw ConfigCheck.Wrong(
                stage,
                $"{nameof(stage.Heads)} (stage {number + 1})",
                stage.Heads,
                $"a divisor of {nameof(stage.Width)} = {stage.Width}"
            );
        if (stage.LocalKernel < 0 || (stage.LocalKernel > 0 && stage.LocalKernel % 2 == 0))
            throw ConfigCheck.Wrong(
                stage,
                $"{nameof(stage.LocalKernel)} (stage {number + 1})",
                stage.LocalKernel,
                "odd, or 0 for none"
            );
        if (stage.ShiftsWindows && stage.Window is null or 1)
            throw ConfigCheck.Wrong(
                stage,
                $"{nameof(stage.ShiftsWindows)} (stage {number + 1})",
                true,
                $"false, unless {nameof(stage.Window)} is 2 or more"
            );
    }
}
