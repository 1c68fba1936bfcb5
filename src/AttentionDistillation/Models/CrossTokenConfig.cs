using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>A stage of a <see cref="CrossTokenTransformer"/>.</summary>
/// <param name="Width">C.</param>
/// <param name="Depth">Number of blocks.</param>
/// <param name="Heads">H of its attention blocks; null for a stage of convolutional blocks.</param>
public sealed record CrossTokenStage(long Width, int Depth, long? Heads);

/// <summary>Sizes and options of a <see cref="CrossTokenTransformer"/>. The defaults are a small plain model for images of 32 x 32.</summary>
public sealed record CrossTokenConfig
{
    internal const double NormEpsilon = 1e-5;

    /// <summary>Pixels of the images.</summary>
    public ImageSize ImageSize { get; init; } = 32;

    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>Side of a patch; null for a convolutional stem of <see cref="StemConvolutions"/> steps of 2.</summary>
    public long? Patch { get; init; } = 4;

    /// <summary>3 x 3 convolutions with stride 2 in the stem (2 in the paper).</summary>
    public int StemConvolutions { get; init; } = 2;

    /// <summary>The stages; between them the grid's sides are halved.</summary>
    public IReadOnlyList<CrossTokenStage> Stages { get; init; } = [new(48, 4, 4)];

    /// <summary>Inner width of the attention blocks' feed-forward part over C.</summary>
    public double FeedForwardRatio { get; init; } = 4;

    /// <summary>Number of classes.</summary>
    public int Classes { get; init; } = 12;

    /// <summary>Which cross tokens attention blocks see.</summary>
    public CrossTokenSource Source { get; init; } = CrossTokenSource.EarlierBlocks;

    /// <summary>How many earlier blocks a block sees at most (12 in the authors' code).</summary>
    public int Keep { get; init; } = 12;

    /// <summary>Whether cross-token slots have a learned scale.</summary>
    public bool LearnsScale { get; init; } = true;

    /// <summary>Whether tokens are enhanced by a depthwise convolution.</summary>
    public bool Enhances { get; init; } = true;

    /// <summary>Step of the merging kernel; 1 keeps every token.</summary>
    public long MergeStride { get; init; } = CrossTokens.MergeStride;

    /// <summary>Whether there are two norms before the feed-forward part, as in the authors' code.</summary>
    public bool NormalisesTwice { get; init; } = true;

    /// <summary>Initial layer scale of all branches.</summary>
    public double LayerScale { get; init; } = 1e-6;

    /// <summary>Standard deviation of the initial weights of linear layers and patches.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>Attention blocks in all.</summary>
    public int AttentionBlocks => Stages.Where(stage => stage.Heads is not null).Sum(stage => stage.Depth);

    /// <summary>The grid of a stage, sides halved and rounded up from stage to stage.</summary>
    /// <param name="stage">From 0.</param>
    public ImageSize GridOf(int stage)
    {
        var grid = Patch is { } patch ? ImageSize.Whole(patch) : ImageSize;
        int halvings = stage + (Patch is null ? StemConvolutions : 0);
        for (int step = 0; step < halvings; step++)
            grid = new((grid.Height + 1) / 2, (grid.Width + 1) / 2);
        return grid;
    }

    /// <summary>Sizes and options of a stage's attention blocks.</summary>
    /// <param name="stage">From 0.</param>
    public ForwardCrossOptions BlockOptions(int stage) =>
        new()
        {
            Width = Stages[stage].Width,
            Heads = Stages[stage].Heads ?? 1,
            Grid = GridOf(stage),
            InnerWidth = (long)Math.Round(Stages[stage].Width * FeedForwardRatio),
            Source = Source,
            Keep = Keep,
            LearnsScale = LearnsScale,
            Enhances = Enhances,
            MergeStride = MergeStride,
            NormalisesTwice = NormalisesTwice,
            LayerScale = LayerScale,
        };

    /// <summary>Checks the sizes.</summary>
    /// <exception cref="ArgumentException">A size is out of its range; the message names it.</exception>
    public void Validate()
    {
        if (Stages.Count == 0 || Stages.Any(stage => stage.Width < 2 || stage.Depth < 1))
            throw new ArgumentException("Give at least one stage, each of width 2 or more and depth 1 or more.");
        if (AttentionBlocks == 0)
            throw new ArgumentException("No stage has heads. Give at least one stage of attention blocks.");
        foreach (var stage in Stages)
            if (stage.Heads is { } heads && (heads < 1 || stage.Width % heads != 0))
                throw new ArgumentException(
                    $"A stage's heads must divide its width, but there are {heads} heads and the width is {stage.Width}."
                );
        if (Patch is { } patch && (patch < 1 || ImageSize.Height % patch != 0 || ImageSize.Width % patch != 0))
            throw new ArgumentException($"A patch of {patch} does not divide images of {ImageSize}.");
        if (Patch is null && StemConvolutions < 1)
            throw new ArgumentException($"StemConvolutions is {StemConvolutions}. It must be 1 or more, or give a patch.");
        if (GridOf(Stages.Count - 1).Area < 1)
            throw new ArgumentException($"Images of {ImageSize} are too small for {Stages.Count} stages.");
        if (Channels < 1 || Classes < 2 || Keep < 0 || MergeStride < 1)
            throw new ArgumentException(
                $"Channels ({Channels}) and MergeStride ({MergeStride}) must be 1 or more, Classes ({Classes}) 2 or more, Keep ({Keep}) 0 or more."
            );
        if (!(FeedForwardRatio > 0) || !(InitializerRange > 0) || !double.IsFinite(LayerScale))
            throw new ArgumentException("FeedForwardRatio and InitializerRange must be above 0, LayerScale a number.");
    }
}
