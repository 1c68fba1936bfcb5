using AttentionDistillation.Models.Slicing;

namespace AttentionDistillation.Methods;

/// <summary>The sizes a decoder is cut to; what is null stays.</summary>
public sealed record MinitronTarget
{
    /// <summary>Layers that stay.</summary>
    public int? Layers { get; init; }

    /// <summary>Channels of the residual stream that stay.</summary>
    public int? Channels { get; init; }

    /// <summary>Query heads of each layer that stay.</summary>
    public int? Heads { get; init; }

    /// <summary>Neurons of each feed-forward block that stay.</summary>
    public int? Neurons { get; init; }

    /// <summary>Whether cut heads are folded into kept ones.</summary>
    public bool MergesHeads { get; init; }
}

/// <summary>Minitron's choice of what stays (arXiv 2407.14679, section 2): the highest scores of each kind, all cut in one shot.</summary>
public static class MinitronPlan
{
    /// <summary>The plan for <see cref="ModelSlicer"/>.</summary>
    /// <param name="scores">The decoder's scores.</param>
    /// <param name="target">What it is cut to.</param>
    /// <param name="keyHeads">Key heads of the decoder; null when every query head has its own.</param>
    /// <exception cref="ArgumentException">More is to stay than there is.</exception>
    public static SlicePlan Of(DecoderScores scores, MinitronTarget target, int? keyHeads = null)
    {
        ArgumentNullException.ThrowIfNull(scores);
        ArgumentNullException.ThrowIfNull(target);
        int[] layers = LayerSelection.Highest(scores.Layers, target.Layers ?? scores.Layers.Count);
        return new SlicePlan
        {
            Layers = target.Layers is null ? null : layers,
            Channels = target.Channels is { } channels ? Best(scores.Channels, channels) : null,
            Heads = target.Heads is { } heads
                ? [.. layers.Select(layer => HeadCut.Highest(scores.Heads[layer], heads, keyHeads, target.MergesHeads))]
                : null,
            Neurons = target.Neurons is { } neurons ? [.. layers.Select(layer => Best(scores.Neurons[layer], neurons))] : null,
        };
    }

    private static int[] Best(IReadOnlyList<double> scores, int keep) =>
        keep >= 1 && keep <= scores.Count
            ? [.. ImportanceRanking.Descending(scores).Take(keep)]
            : throw new ArgumentException($"Of {scores.Count} parts 1 to {scores.Count} can be kept, but {keep} were asked for.");
}
