using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A block of FcaFormer: attention over its own tokens and the cross tokens of earlier blocks, token merging for later blocks, token enhancement, and a
/// feed-forward block, with layer scale.
/// </summary>
/// <remarks>
/// x ← x + γ₁ ⊙ attention(LN(x), LN'(a · cross)); cross tokens ← merge(x); x ← enhance(x); x ← x + γ₂ ⊙ feed-forward(LN(x)). Zhang et al., 2023, section 3
/// and the authors' code (two norms in a row before the feed-forward block).
/// </remarks>
public sealed class ForwardCrossBlock : nn.Module<Tensor, Tensor?, ForwardTrace?, (Tensor Tokens, Tensor? Merged)>
{
    private const double NormEpsilon = 1e-5;

    private readonly LayerNorm norm;
    private readonly Linear qkv;
    private readonly Linear output;
    private readonly Parameter offsetBiases;
    private readonly Tensor offsets;
    private readonly Parameter? scale;
    private readonly LayerNorm? crossNorm;
    private readonly Parameter? slotBiases;
    private readonly Parameter attentionScale;
    private readonly Parameter feedForwardScale;
    private readonly Conv2d? enhancement;
    private readonly BatchNorm2d? enhancementNorm;
    private readonly LayerNorm feedForwardNorm;
    private readonly LayerNorm? secondNorm;
    private readonly Linear inner;
    private readonly Linear outer;
    private readonly Conv2d? merge;
    private readonly ModuleList<Conv2d>? ownMerges;
    private readonly DropPath dropPath;
    private readonly ForwardCrossOptions options;
    private readonly int layer;

    /// <summary>Builds a block.</summary>
    /// <param name="options">Sizes and options.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="layer">The attention layer's number in the model, from 0, under which a trace records the call.</param>
    /// <param name="number">The block's number within its stage, from 0.</param>
    /// <param name="isLast">Whether it is its stage's last block, which merges nothing.</param>
    /// <exception cref="ArgumentException">The heads do not divide the width.</exception>
    public ForwardCrossBlock(ForwardCrossOptions options, SeededLayers layers, int layer, int number, bool isLast)
        : base(nameof(ForwardCrossBlock))
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(layers);
        if (options.Heads < 1 || options.Width % options.Heads != 0)
            throw new ArgumentException(
                $"The number of heads must divide the width, but there are {options.Heads} heads and the width is {options.Width}."
            );
        (this.options, this.layer) = (options, layer);
        long width = options.Width,
            merged = CrossTokens.MergedGrid(options.Grid, options.MergeStride).Area;
        Slots = options.Sources(number) * merged;
        norm = layers.LayerNorm(width, NormEpsilon);
        qkv = layers.Linear(width, 3 * width);
        output = layers.Linear(width, width);
        var (numbers, count) = PositionOffsets.Absolute(options.Grid);
        offsetBiases = layers.ZeroParameter(options.Heads, count);
        offsets = tensor(numbers, dtype: ScalarType.Int64, device: layers.Device).DetachFromDisposeScope();
        if (Slots > 0)
        {
            scale = options.LearnsScale ? Constant(layers, 1.0, Slots, 1) : null;
            crossNorm = layers.LayerNorm(width, NormEpsilon);
            slotBiases = layers.ZeroParameter(options.Heads, 1, Slots);
        }
        attentionScale = Constant(layers, options.LayerScale, width);
        feedForwardScale = Constant(layers, options.LayerScale, width);
        if (options.Enhances)
        {
            enhancement = layers.ImageConvolution(width, width, 3, groups: width);
            enhancementNorm = layers.BatchNorm(width);
        }
        feedForwardNorm = layers.LayerNorm(width, NormEpsilon);
        secondNorm = options.NormalisesTwice ? layers.LayerNorm(width, NormEpsilon) : null;
        inner = layers.Linear(width, options.InnerWidth);
        outer = layers.Linear(options.InnerWidth, width);
        Conv2d Merging() => layers.ImageConvolution(width, width, CrossTokens.MergeKernel, options.MergeStride, groups: width);
        if (options.Source == CrossTokenSource.EarlierBlocks && !isLast && options.Keep > 0)
            merge = Merging();
        if (options.Source == CrossTokenSource.SameBlock && Slots > 0)
            ownMerges = new ModuleList<Conv2d>([.. Enumerable.Range(0, options.Sources(number)).Select(_ => Merging())]);
        dropPath = new DropPath(options.DropPath);
        RegisterComponents();
    }

    /// <summary>M, the number of cross tokens that the block attends to.</summary>
    public long Slots { get; }

    /// <summary>a, [M, 1], the learned scales of the slots; null where there are none.</summary>
    public Parameter? Scale => scale;

    /// <summary>e, [H, 1, M], the learned biases of the slots; null where there are none.</summary>
    public Parameter? SlotBiases => slotBiases;

    /// <summary>Runs the block.</summary>
    /// <param name="tokens">[B, N, C].</param>
    /// <param name="cross">[B, M, C], the cross tokens of earlier blocks, oldest first; null for none.</param>
    /// <param name="trace">Records the attention call if it wants it; null for none.</param>
    /// <returns>The tokens, [B, N, C], and the cross tokens that the block leaves, [B, merged, C], or null.</returns>
    /// <exception cref="ArgumentException">The number of cross tokens is not <see cref="Slots"/>.</exception>
    public override (Tensor Tokens, Tensor? Merged) forward(Tensor tokens, Tensor? cross, ForwardTrace? trace)
    {
        using var scope = NewDisposeScope();
        if (ownMerges is not null)
            cross = cat(
                [.. ownMerges.Select(own => CrossTokens.Merge(tokens, options.Grid, own.weight, options.MergeStride))],
                1
            );
        if ((cross?.size(1) ?? 0) != Slots)
            throw new ArgumentException(
                $"The block attends to {Slots} cross tokens, but was given {cross?.size(1) ?? 0}. Slots have learned scales and biases: give those of the same earlier blocks and the same grid ({options.Grid}).",
                nameof(cross)
            );
        var (next, merged, state) = Compute(
            tokens,
            cross,
            options.Grid,
            options.Heads,
            Weights(),
            options.MergeStride,
            training,
            dropPath.call
        );
        if (trace?.WantsAttention(layer) == true)
        {
            trace.RecordAttention(layer, state);
            BiasedAttention.MoveOut(state);
        }
        return (next.MoveToOuterDisposeScope(), merged?.MoveToOuterDisposeScope());
    }

    /// <summary>The block under given weights.</summary>
    /// <param name="tokens">[B, N, C].</param>
    /// <param name="cross">[B, M, C], oldest first, or null.</param>
    /// <param name="grid">The grid of N tokens.</param>
    /// <param name="heads">H.</param>
    /// <param name="weights">The weights.</param>
    /// <param name="mergeStride">Step of the merging kernel.</param>
    /// <param name="training">Whether batch norms learn.</param>
    /// <param name="drop">Done to each branch before it is added (stochastic depth); null for nothing.</param>
    /// <returns>Tokens, cross tokens for later blocks (or null), and the attention call.</returns>
    public static (Tensor Tokens, Tensor? Merged, AttentionState State) Compute(
        Tensor tokens,
        Tensor? cross,
        ImageSize grid,
        long heads,
        ForwardCrossWeights weights,
        long mergeStride = CrossTokens.MergeStride,
        bool training = false,
        Func<Tensor, Tensor>? drop = null
    )
    {
        ArgumentNullException.ThrowIfNull(weights);
        using var scope = NewDisposeScope();
        drop ??= branch => branch;
        var (attended, state) = Attend(tokens, cross, heads, weights);
        var middle = tokens + drop(attended * weights.LayerScales.Attention);
        var merged = weights.Merge is null ? null : CrossTokens.Merge(middle, grid, weights.Merge, mergeStride);
        if (weights.Enhancement is { } enhancement)
            middle = CrossTokens.Enhance(middle, grid, enhancement.Kernel, enhancement.Norm, training);
        var branch = Normalise(middle, weights.FeedForwardNorm);
        if (weights.SecondNorm is { } second)
            branch = Normalise(branch, second);
        var wide = nn.functional.gelu(LinearProduct.Of(branch, weights.Inner.Weight, weights.Inner.Bias));
        branch = LinearProduct.Of(wide, weights.Outer.Weight, weights.Outer.Bias);
        var next = middle + drop(branch * weights.LayerScales.FeedForward);
        BiasedAttention.MoveOut(state);
        return (next.MoveToOuterDisposeScope(), merged?.MoveToOuterDisposeScope(), state);
    }

    /// <summary>Runs a stage: every block gets the cross tokens that the last blocks before it left, oldest first.</summary>
    /// <param name="tokens">[B, N, C].</param>
    /// <param name="keep">How many blocks' cross tokens are kept.</param>
    /// <param name="blocks">From tokens and cross tokens (or null) to tokens and new cross tokens (or null).</param>
    /// <returns>[B, N, C].</returns>
    public static Tensor RunStage(
        Tensor tokens,
        int keep,
        IEnumerable<Func<Tensor, Tensor?, (Tensor Tokens, Tensor? Merged)>> blocks
    )
    {
        ArgumentNullException.ThrowIfNull(blocks);
        using var scope = NewDisposeScope();
        var left = new Queue<Tensor>();
        var current = tokens.alias();
        foreach (var block in blocks)
        {
            var (next, merged) = block(current, left.Count > 0 ? cat([.. left], 1) : null);
            current = next;
            if (merged is null)
                continue;
            left.Enqueue(merged);
            if (left.Count > keep)
                left.Dequeue();
        }
        return current.MoveToOuterDisposeScope();
    }

    /// <summary>Forward cross attention alone: the norms, the scaling of cross tokens, one softmax over both, the output projection.</summary>
    /// <param name="tokens">[B, N, C].</param>
    /// <param name="cross">[B, M, C], oldest first, or null.</param>
    /// <param name="heads">H.</param>
    /// <param name="weights">The weights.</param>
    /// <returns>The branch before layer scale, [B, N, C], and the attention call.</returns>
    public static (Tensor Output, AttentionState State) Attend(
        Tensor tokens,
        Tensor? cross,
        long heads,
        ForwardCrossWeights weights
    )
    {
        ArgumentNullException.ThrowIfNull(weights);
        using var scope = NewDisposeScope();
        Tensor? calibrated = null;
        if (cross is not null)
        {
            var crossNorm =
                weights.CrossNorm
                ?? throw new ArgumentException("There are cross tokens, but the weights have no norm for them.", nameof(weights));
            calibrated = CrossTokens.Calibrate(cross, weights.Scale, crossNorm.Weight, crossNorm.Bias, NormEpsilon);
        }
        var state = CrossTokens.State(
            Normalise(tokens, weights.Norm),
            calibrated,
            weights.Qkv.Weight,
            weights.Qkv.Bias,
            heads,
            weights.PlaceScores,
            cross is null ? null : weights.SlotBiases
        );
        var mixed = LinearProduct.Of(BiasedAttention.Mix(state), weights.Output.Weight, weights.Output.Bias);
        BiasedAttention.MoveOut(state);
        return (mixed.MoveToOuterDisposeScope(), state);
    }

    private ForwardCrossWeights Weights() =>
        new()
        {
            Norm = Of(norm),
            Qkv = Of(qkv),
            Output = Of(output),
            PlaceScores = offsetBiases.index_select(1, offsets).view(1, options.Heads, options.Grid.Area, options.Grid.Area),
            Scale = scale,
            CrossNorm = crossNorm is null ? null : Of(crossNorm),
            SlotBiases = slotBiases,
            LayerScales = (attentionScale, feedForwardScale),
            Enhancement =
                enhancement is null || enhancementNorm is null
                    ? null
                    : (
                        enhancement.weight,
                        new BatchNormTensors(
                            enhancementNorm.weight,
                            enhancementNorm.bias!,
                            enhancementNorm.running_mean!,
                            enhancementNorm.running_var!
                        )
                    ),
            FeedForwardNorm = Of(feedForwardNorm),
            SecondNorm = secondNorm is null ? null : Of(secondNorm),
            Inner = Of(inner),
            Outer = Of(outer),
            Merge = merge?.weight,
        };

    private static (Tensor, Tensor) Of(LayerNorm layer) => (layer.weight!, layer.bias!);

    private static (Tensor, Tensor) Of(Linear layer) => (layer.weight!, layer.bias!);

    private static Tensor Normalise(Tensor tokens, (Tensor Weight, Tensor Bias) norm) =>
        nn.functional.layer_norm(tokens, [tokens.size(-1)], norm.Weight, norm.Bias, NormEpsilon);

    private static Parameter Constant(SeededLayers layers, double value, params long[] shape)
    {
        var parameter = layers.ZeroParameter(shape);
        using var guard = no_grad();
        parameter.fill_(value);
        return parameter;
    }
}
