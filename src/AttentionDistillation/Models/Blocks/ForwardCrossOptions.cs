using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Which cross tokens the blocks of a stage attend to.</summary>
public enum CrossTokenSource
{
    /// <summary>None: plain blocks.</summary>
    None,

    /// <summary>Those of the stage's earlier blocks (FcaFormer).</summary>
    EarlierBlocks,

    /// <summary>As many, merged from the block's own input: a control that brings no information of earlier blocks.</summary>
    SameBlock,
}

/// <summary>Sizes and options of a <see cref="ForwardCrossBlock"/>.</summary>
public sealed record ForwardCrossOptions
{
    /// <summary>C.</summary>
    public required long Width { get; init; }

    /// <summary>H.</summary>
    public required long Heads { get; init; }

    /// <summary>The grid of N tokens.</summary>
    public required ImageSize Grid { get; init; }

    /// <summary>Inner width of the feed-forward block.</summary>
    public required long InnerWidth { get; init; }

    /// <summary>Which cross tokens blocks attend to.</summary>
    public CrossTokenSource Source { get; init; } = CrossTokenSource.EarlierBlocks;

    /// <summary>How many earlier blocks a block sees at most (12 in the authors' code, which is all of them).</summary>
    public int Keep { get; init; } = 12;

    /// <summary>Whether each slot has a learned scale; false fixes it at 1.</summary>
    public bool LearnsScale { get; init; } = true;

    /// <summary>Whether tokens are enhanced by a depthwise convolution between attention and feed-forward block.</summary>
    public bool Enhances { get; init; } = true;

    /// <summary>Step of the merging kernel; 1 keeps every token.</summary>
    public long MergeStride { get; init; } = CrossTokens.MergeStride;

    /// <summary>Whether the feed-forward block has a norm of its own after the block's, as in the authors' code.</summary>
    public bool NormalisesTwice { get; init; } = true;

    /// <summary>Initial layer scale of both branches: 1e-6 in the paper, which needs long schedules.</summary>
    public double LayerScale { get; init; } = 1e-6;

    /// <summary>Stochastic depth of the branches.</summary>
    public double DropPath { get; init; }

    /// <summary>How many blocks' cross tokens the block of a number sees.</summary>
    /// <param name="number">The block's number within its stage, from 0.</param>
    public int Sources(int number) => Source == CrossTokenSource.None ? 0 : Math.Min(number, Keep);
}

/// <summary>What a block computes with, by the names of the paper's parts.</summary>
public sealed record ForwardCrossWeights
{
    /// <summary>LN before attention: weight and bias, [C].</summary>
    public required (Tensor Weight, Tensor Bias) Norm { get; init; }

    /// <summary>Queries, keys, values: [3 C, C] and [3 C].</summary>
    public required (Tensor Weight, Tensor Bias) Qkv { get; init; }

    /// <summary>The attention's output: [C, C] and [C].</summary>
    public required (Tensor Weight, Tensor Bias) Output { get; init; }

    /// <summary>B, what the distances (|dy|, |dx|) of tokens add to their scores, [1, H, N, N] (see <see cref="BiasedAttention.ScoresOf"/>).</summary>
    public required Tensor PlaceScores { get; init; }

    /// <summary>a, [M, 1], one scale a slot; null for a fixed 1.</summary>
    public Tensor? Scale { get; init; }

    /// <summary>LN' of scaled cross tokens; null in a block without.</summary>
    public (Tensor Weight, Tensor Bias)? CrossNorm { get; init; }

    /// <summary>e, [H, 1, M]; null in a block without cross tokens.</summary>
    public Tensor? SlotBiases { get; init; }

    /// <summary>γ₁ and γ₂, [C] each.</summary>
    public required (Tensor Attention, Tensor FeedForward) LayerScales { get; init; }

    /// <summary>Depthwise kernel [C, 1, 3, 3] of the enhancement and the normalisation after it; null for none.</summary>
    public (Tensor Kernel, BatchNormTensors Norm)? Enhancement { get; init; }

    /// <summary>LN before the feed-forward block.</summary>
    public required (Tensor Weight, Tensor Bias) FeedForwardNorm { get; init; }

    /// <summary>The second LN, with which the feed-forward block itself begins; null for none.</summary>
    public (Tensor Weight, Tensor Bias)? SecondNorm { get; init; }

    /// <summary>The wide linear layer.</summary>
    public required (Tensor Weight, Tensor Bias) Inner { get; init; }

    /// <summary>The linear layer back.</summary>
    public required (Tensor Weight, Tensor Bias) Outer { get; init; }

    /// <summary>Depthwise kernel [C, 1, 7, 7] that merges tokens for later blocks; null in a stage's last block.</summary>
    public Tensor? Merge { get; init; }
}
