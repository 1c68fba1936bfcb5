using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Methods;

/// <summary>The shape of a sub-network.</summary>
/// <param name="Layers">Number of layers L.</param>
/// <param name="Heads">Attention heads A; the width of a head is the super-network's.</param>
/// <param name="Hidden">Width of the hidden states H.</param>
/// <param name="Ratio">Feed-forward ratio R: the inner width is the whole part of H x R.</param>
public sealed record SubNetwork(int Layers, int Heads, int Hidden, double Ratio)
{
    /// <summary>Inner width of the feed-forward blocks.</summary>
    public int InnerWidth => (int)(Hidden * Ratio);

    /// <summary>Its sizes as a slice of a super-network.</summary>
    public ElasticShape Shape => new(Layers, Heads, Hidden, InnerWidth);

    /// <summary><c>L12 A9 H544 R3</c>, as the release names its picks.</summary>
    public override string ToString() => FormattableString.Invariant($"L{Layers} A{Heads} H{Hidden} R{Ratio}");
}

/// <summary>What the released cost formulas take as given of the super-network.</summary>
/// <param name="Vocabulary">Rows of the word table.</param>
/// <param name="Positions">Rows of the position table.</param>
/// <param name="Segments">Rows of the segment table.</param>
/// <param name="FullHeads">The super-network's heads: H x A / <paramref name="FullHeads"/> is counted as the attention's width.</param>
public sealed record SubNetworkPricing(int Vocabulary = 30522, int Positions = 512, int Segments = 2, int FullHeads = 12)
{
    /// <summary>That of BERT-base, as released.</summary>
    public static SubNetworkPricing BertBase { get; } = new();

    /// <summary>
    /// Parameters by the released formula. It prices the query, key and value projections at H²A/12 although the slice is H x 64A wide, so it is not
    /// the number of weights a sub-network really has (for that see <c>ModelCost.Parameters</c>).
    /// </summary>
    public double Parameters(SubNetwork network)
    {
        ArgumentNullException.ThrowIfNull(network);
        double h = network.Hidden;
        double r = network.Ratio;
        double norm = 2 * h;
        double attention = h * h + 3 * h * h * network.Heads / FullHeads + 4 * h + norm;
        double feedForward = 2 * h * h * r + h * r + h + norm;
        return h * (Vocabulary + Positions + Segments + 2) + network.Layers * (attention + feedForward) + h * h + norm;
    }

    /// <summary>Multiply-adds of one forward pass over one sequence, by the released formula.</summary>
    /// <param name="network">The sub-network.</param>
    /// <param name="length">Tokens n.</param>
    public double MultiplyAdds(SubNetwork network, int length)
    {
        ArgumentNullException.ThrowIfNull(network);
        double h = network.Hidden,
            n = length,
            share = (double)network.Heads / FullHeads;
        double layer = 3 * n * h * h * share + 2 * n * n * h * share + n * h * h + 2 * n * network.Ratio * h * h;
        return network.Layers * layer + n * h * h + 2 * h;
    }
}

/// <summary>
/// A search space of sub-networks: every combination of the listed sizes, ordered by parameters (AutoDistil, arXiv 2201.12507, section 3.1 and
/// the released configurations).
/// </summary>
public sealed class SubNetworkSpace
{
    private readonly double[] parameters;

    /// <summary>Lists every combination.</summary>
    /// <param name="name">The space's name in tables.</param>
    /// <param name="layers">Choices of L.</param>
    /// <param name="heads">Choices of A.</param>
    /// <param name="hidden">Choices of H.</param>
    /// <param name="ratios">Choices of R.</param>
    /// <param name="pricing">Orders the candidates; null for BERT-base's.</param>
    /// <exception cref="ArgumentException">A list is empty or holds a size below 1.</exception>
    public SubNetworkSpace(
        string name,
        IReadOnlyList<int> layers,
        IReadOnlyList<int> heads,
        IReadOnlyList<int> hidden,
        IReadOnlyList<double> ratios,
        SubNetworkPricing? pricing = null
    )
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        Positive(layers?.Select(size => (double)size), nameof(layers));
        Positive(heads?.Select(size => (double)size), nameof(heads));
        Positive(hidden?.Select(size => (double)size), nameof(hidden));
        Positive(ratios, nameof(ratios));
        Name = name;
        Pricing = pricing ?? SubNetworkPricing.BertBase;
        Candidates = Sorted(
            from l in layers!
            from a in heads!
            from h in hidden!
            from r in ratios
            select new SubNetwork(l, a, h, r)
        );
        parameters = [.. Candidates.Select(Pricing.Parameters)];
    }

    private SubNetworkSpace(string name, SubNetworkPricing pricing, IEnumerable<SubNetwork> candidates)
    {
        (Name, Pricing) = (name, pricing);
        Candidates = Sorted(candidates);
        parameters = [.. Candidates.Select(Pricing.Parameters)];
    }

    /// <summary>The candidates of several spaces in one: what a single super-network for all would train.</summary>
    /// <exception cref="ArgumentException">There is no space.</exception>
    public static SubNetworkSpace Union(string name, params IReadOnlyList<SubNetworkSpace> spaces)
    {
        ArgumentNullException.ThrowIfNull(spaces);
        return spaces.Count == 0
            ? throw new ArgumentException("There is no space to unite.", nameof(spaces))
            : new SubNetworkSpace(name, spaces[0].Pricing, spaces.SelectMany(space => space.Candidates).Distinct());
    }

    /// <summary>A single sub-network, to be trained alone.</summary>
    public static SubNetworkSpace Single(SubNetwork network, SubNetworkPricing? pricing = null)
    {
        ArgumentNullException.ThrowIfNull(network);
        return new SubNetworkSpace($"{network} alone", pricing ?? SubNetworkPricing.BertBase, [network]);
    }

    private static readonly int[] DeepLayers = [9, 10, 11, 12];
    private static readonly int[] FewHeads = [7, 8, 9, 10];
    private static readonly double[] WideRatios = [2.5, 3, 3.5, 4];

    /// <summary>The released base space: 9 to 12 layers and heads, hidden 544 to 640.</summary>
    public static SubNetworkSpace Base { get; } = new("base", DeepLayers, [9, 10, 11, 12], [544, 576, 608, 640], WideRatios);

    /// <summary>The released small space: 9 to 12 layers, 7 to 10 heads, hidden 256 to 352.</summary>
    public static SubNetworkSpace Small { get; } = new("small", DeepLayers, FewHeads, [256, 288, 320, 352], WideRatios);

    /// <summary>The released tiny space: 4 to 7 layers, 7 to 10 heads, hidden 128 to 224.</summary>
    public static SubNetworkSpace Tiny { get; } = new("tiny", [4, 5, 6, 7], FewHeads, [128, 160, 192, 224], [2, 2.5, 3, 3.5]);

    /// <summary>The space's name.</summary>
    public string Name { get; }

    /// <summary>What parameters are counted by.</summary>
    public SubNetworkPricing Pricing { get; }

    /// <summary>Every combination, the smallest first.</summary>
    public IReadOnlyList<SubNetwork> Candidates { get; }

    /// <summary>The parameters of each candidate, ascending.</summary>
    public IReadOnlyList<double> Parameters => parameters;

    /// <summary>The smallest sub-network by parameters.</summary>
    public SubNetwork Smallest => Candidates[0];

    /// <summary>The largest sub-network by parameters.</summary>
    public SubNetwork Largest => Candidates[^1];

    private IReadOnlyList<SubNetwork> Sorted(IEnumerable<SubNetwork> candidates) => [.. candidates.OrderBy(Pricing.Parameters)];

    private static void Positive(IEnumerable<double>? sizes, string name)
    {
        if (sizes is null || !sizes.Any() || sizes.Any(size => !(size > 0)))
            throw new ArgumentException($"The choices of {name} must be one or more sizes above 0.", name);
    }
}

/// <summary>Which sub-networks of a space a training step trains.</summary>
public static class SandwichSampling
{
    /// <summary>Random sub-networks beside the largest and the smallest.</summary>
    public const int RandomDraws = 2;

    /// <summary>
    /// The sandwich rule (Yu and Huang, "Universally Slimmable Networks", 2019; AutoDistil's release): the largest, the smallest, and others.
    /// </summary>
    /// <param name="parameters">Parameters of every candidate, in any order.</param>
    /// <param name="draws">Numbers in the list sorted by parameters without its two ends.</param>
    /// <returns>Candidate numbers: largest, smallest, then the drawn ones in the order drawn.</returns>
    /// <exception cref="ArgumentException">A draw does not exist.</exception>
    public static int[] Choose(IReadOnlyList<double> parameters, IReadOnlyList<long> draws)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(draws);
        if (parameters.Count < 2 || draws.Any(draw => draw < 0 || draw >= parameters.Count - 2))
            throw new ArgumentException(
                $"Of {parameters.Count} candidates the draws 0 to {parameters.Count - 3} lie between smallest and largest, but {string.Join(", ", draws)} were given."
            );
        int[] sorted = [.. Enumerable.Range(0, parameters.Count).OrderBy(number => parameters[number])];
        return [sorted[^1], sorted[0], .. draws.Select(draw => sorted[draw + 1])];
    }

    /// <summary>The draws of a step: uniform, without replacement, a function of seed and step alone, so that every rank draws alike.</summary>
    /// <param name="candidates">Number of candidates, the ends included.</param>
    /// <param name="seed">The seed.</param>
    /// <param name="step">The step's number.</param>
    /// <param name="count">How many to draw; fewer come back when there are no more.</param>
    public static long[] Draws(int candidates, long seed, long step, int count = RandomDraws)
    {
        int inner = Math.Max(0, candidates - 2);
        return [.. Uniform(inner, seed, step, count).Select(number => (long)number)];
    }

    /// <summary>Uniform sampling, the alternative to the sandwich: as many sub-networks, none of them certain.</summary>
    /// <param name="candidates">Number of candidates.</param>
    /// <param name="seed">The seed.</param>
    /// <param name="step">The step's number.</param>
    /// <param name="count">How many to draw without replacement; fewer come back when there are no more.</param>
    public static int[] Uniform(int candidates, long seed, long step, int count = RandomDraws + 2)
    {
        var random = Seeds.Random(seed, $"sub-networks of step {step}");
        int[] numbers = [.. Enumerable.Range(0, candidates)];
        random.Shuffle(numbers);
        return numbers[..Math.Min(count, candidates)];
    }
}
