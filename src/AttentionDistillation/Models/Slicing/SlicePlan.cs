namespace AttentionDistillation.Models.Slicing;

/// <summary>
/// What stays of a model: layers, channels of the residual stream, heads and neurons, each in the order they will have. What is left null stays whole.
/// </summary>
public sealed record SlicePlan
{
    /// <summary>Numbers of the layers that stay.</summary>
    public IReadOnlyList<int>? Layers { get; init; }

    /// <summary>Numbers of the residual stream's channels that stay, the same in all layers.</summary>
    public IReadOnlyList<int>? Channels { get; init; }

    /// <summary>The heads that stay, an entry for each layer that stays; or a single entry for all. Every layer keeps as many.</summary>
    public IReadOnlyList<HeadCut>? Heads { get; init; }

    /// <summary>Neurons of the feed-forward blocks that stay, an entry for each layer that stays; or a single entry for all.</summary>
    public IReadOnlyList<IReadOnlyList<int>>? Neurons { get; init; }

    /// <summary>The first channels, heads and neurons of given layers: the slice that an elastic super-network trains (AutoDistil).</summary>
    /// <param name="layers">The layers; null for all.</param>
    /// <param name="channels">How many channels; null for all.</param>
    /// <param name="heads">How many heads; null for all.</param>
    /// <param name="neurons">How many neurons; null for all.</param>
    public static SlicePlan First(IReadOnlyList<int>? layers, int? channels, int? heads, int? neurons) =>
        new()
        {
            Layers = layers,
            Channels = channels is { } c ? Range(c) : null,
            Heads = heads is { } h ? [HeadCut.Keep(Range(h))] : null,
            Neurons = neurons is { } n ? [Range(n)] : null,
        };

    /// <summary>Whole layers alone.</summary>
    public static SlicePlan OfLayers(IReadOnlyList<int> layers) => new() { Layers = layers };

    private static int[] Range(int count) => [.. Enumerable.Range(0, count)];
}
