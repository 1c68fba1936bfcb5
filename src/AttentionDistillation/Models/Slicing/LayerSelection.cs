namespace AttentionDistillation.Models.Slicing;

/// <summary>Which layers of a deeper model a shallower one takes, numbered from 0 and in the deeper model's order.</summary>
public static class LayerSelection
{
    /// <summary>
    /// Layers floor(i x layers / depth) for i = 0 ... depth - 1, as AutoDistil's elastic depth takes them (12 to 9: 0 1 2 4 5 6 8 9 10; arXiv
    /// 2201.12507, released code, which evaluates i / (depth / layers) in double precision).
    /// </summary>
    /// <param name="layers">Layers of the deeper model.</param>
    /// <param name="depth">Layers to take, at most <paramref name="layers"/>.</param>
    /// <exception cref="ArgumentException">The depth is not between 1 and the number of layers.</exception>
    public static int[] EvenlySpaced(int layers, int depth)
    {
        RequireDepth(layers, depth);
        double share = (double)depth / layers;
        return [.. Enumerable.Range(0, depth).Select(number => Math.Min(layers - 1, (int)Math.Floor(number / share)))];
    }

    /// <summary>Every stride-th layer, from <paramref name="first"/> on: with stride 2 the usual student of half the depth.</summary>
    /// <exception cref="ArgumentException">The stride or the first layer is out of its range.</exception>
    public static int[] EveryNth(int layers, int stride = 2, int first = 0)
    {
        if (stride < 1 || first < 0 || first >= layers)
            throw new ArgumentException(
                $"The stride must be at least 1 and the first layer one of 0 to {layers - 1}, but they are {stride} and {first}."
            );
        return [.. Enumerable.Range(0, layers).Where(layer => layer >= first && (layer - first) % stride == 0)];
    }

    /// <summary>The layers of a 12-layer teacher that DistilBERT's released script starts its 6-layer student from (†).</summary>
    public static IReadOnlyList<int> DistilBert { get; } = [0, 2, 4, 7, 9, 11];

    /// <summary>The layers of the highest scores, in their original order; of equal scores the earlier layer is kept.</summary>
    /// <param name="scores">A score a layer.</param>
    /// <param name="keep">How many to keep.</param>
    /// <exception cref="ArgumentException">There are fewer layers than are to be kept.</exception>
    public static int[] Highest(IReadOnlyList<double> scores, int keep)
    {
        ArgumentNullException.ThrowIfNull(scores);
        RequireDepth(scores.Count, keep);
        return [.. ImportanceRanking.Descending(scores).Take(keep).Order()];
    }

    private static void RequireDepth(int layers, int depth)
    {
        if (depth < 1 || depth > layers)
            throw new ArgumentException($"Of {layers} layers 1 to {layers} can be kept, but {depth} were asked for.");
    }
}
