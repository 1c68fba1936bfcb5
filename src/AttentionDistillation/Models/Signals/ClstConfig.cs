namespace AttentionDistillation.Models.Signals;

/// <summary>Which reading of "parallel spatial-channel attention" a <see cref="ClstModel"/> has.</summary>
public enum SpatialChannelAttention
{
    /// <summary>None.</summary>
    None,

    /// <summary>Gates of channels and places on what attention gives (<see cref="Attention.GateAttention"/>).</summary>
    Gate,

    /// <summary>A second attention over places and over channels (<see cref="Attention.DualAttention"/>), after the first, with a residual path of its own.</summary>
    Dual,
}

/// <summary>Sizes and switches of a <see cref="ClstModel"/>. The defaults are this library's small teacher (†: the paper's sizes were not seen).</summary>
public sealed record ClstConfig
{
    /// <summary>Number of classes.</summary>
    public int Classes { get; init; } = 8;

    /// <summary>Width of each stage.</summary>
    public IReadOnlyList<long> Widths { get; init; } = [32, 64];

    /// <summary>Blocks of each stage.</summary>
    public IReadOnlyList<int> Blocks { get; init; } = [1, 2];

    /// <summary>Heads of each stage.</summary>
    public IReadOnlyList<long> Heads { get; init; } = [2, 4];

    /// <summary>Places of the kernel of each stage's embedding, odd; each embedding has the step 2.</summary>
    public IReadOnlyList<long> EmbeddingKernels { get; init; } = [7, 3];

    /// <summary>Queries, keys and values by convolution; false for linear ones, keys then at every place.</summary>
    public bool ConvolutionalProjection { get; init; } = true;

    /// <summary>Places of the projections' kernels, odd.</summary>
    public long ProjectionKernel { get; init; } = 3;

    /// <summary>Step of keys and values.</summary>
    public long KeyStride { get; init; } = 2;

    /// <summary>Parallel spatial-channel attention.</summary>
    public SpatialChannelAttention Psca { get; init; } = SpatialChannelAttention.Gate;

    /// <summary>Channels over those between the two layers of the channel gate.</summary>
    public long GateReduction { get; init; } = 4;

    /// <summary>Places of the position gate's kernel, odd.</summary>
    public long GateKernel { get; init; } = 7;

    /// <summary>Inner width of the feed-forward blocks over the stage's width.</summary>
    public long FeedForwardRatio { get; init; } = 2;

    /// <summary>Checks the sizes.</summary>
    /// <exception cref="ArgumentException">A size is out of its range; the message names it.</exception>
    public void Validate()
    {
        int stages = Widths.Count;
        if (stages == 0 || Blocks.Count != stages || Heads.Count != stages || EmbeddingKernels.Count != stages)
            throw new ArgumentException(
                $"Widths, Blocks, Heads and EmbeddingKernels need one number a stage, at least one, but have {stages}, {Blocks.Count}, {Heads.Count} and {EmbeddingKernels.Count}."
            );
        for (int stage = 0; stage < stages; stage++)
        {
            if (Blocks[stage] < 1 || Widths[stage] < 1)
                throw new ArgumentException($"Stage {stage} needs a width and blocks of 1 or more.");
            if (Heads[stage] < 1 || Widths[stage] % Heads[stage] != 0)
                throw new ArgumentException(
                    $"The heads must divide the width, but stage {stage} has {Heads[stage]} heads and the width {Widths[stage]}."
                );
        }
        if (EmbeddingKernels.Append(ProjectionKernel).Append(GateKernel).Any(kernel => kernel < 1 || kernel % 2 == 0))
            throw new ArgumentException("All kernels must be odd, so that sequences keep their middle.");
        if (Classes < 2 || KeyStride < 1 || FeedForwardRatio < 1 || GateReduction < 1)
            throw new ArgumentException("Classes must be 2 or more; KeyStride, FeedForwardRatio and GateReduction 1 or more.");
    }
}
