using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>
/// Statistics of attention maps. Functions on rows return [B, H, L] in float64 with NaN where a row does not count (a padded query, or a row that
/// may see nothing); <see cref="PerHead"/> averages what counts. All take the map [B, H, L, S] of <see cref="AttentionState.Probabilities"/>.
/// </summary>
public static class AttentionStatistics
{
    // Entropy of the keys, in nats, below which they count as one key.
    private const double LeastKeyEntropy = 1e-12;

    /// <summary>Shannon entropy of each row in nats, [B, H, L]: 0 for a one-hot row, log S for a uniform one.</summary>
    /// <param name="probabilities">[B, H, L, S].</param>
    /// <param name="queryMask">bool [B, L], true = real query; null when none is padded.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Entropy(Tensor probabilities, Tensor? queryMask)
    {
        using var scope = NewDisposeScope();
        var map = Exact(probabilities);
        return OnlyCounted(xlogy(map, map).sum(-1).neg(), map, queryMask).MoveToOuterDisposeScope();
    }

    /// <summary>Entropy divided by the log of the number of keys the row may see, [B, H, L], between 0 and 1; 0 where it may see one key.</summary>
    /// <param name="probabilities">[B, H, L, S].</param>
    /// <param name="queryMask">bool [B, L], or null.</param>
    /// <param name="keyMask">bool [B, S], true = real key; null when none is padded.</param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor NormalisedEntropy(Tensor probabilities, Tensor? queryMask, Tensor? keyMask, bool isCausal = false)
    {
        Shapes.Require(probabilities, "[B, H, L, S]");
        if (keyMask is not null)
            Shapes.RequireExact(keyMask, [probabilities.size(0), probabilities.size(3)]);
        using var scope = NewDisposeScope();
        var entropy = Entropy(probabilities, queryMask);
        long keys = probabilities.size(3);
        var allowed = AttentionMask.Allowed(keyMask, isCausal, probabilities.size(2), keys, probabilities.device);
        var seen = allowed is null
            ? full([1], keys, dtype: ScalarType.Float64, device: probabilities.device)
            : allowed.sum(-1).to(ScalarType.Float64);
        // One key: the entropy is 0 and so is its bound; dividing by log 2 keeps the 0.
        return (entropy / seen.clamp_min(2).log()).MoveToOuterDisposeScope();
    }

    /// <summary>Mean attention distance of each row in tokens, [B, H, L]: sum over keys of p |i + S - L - j| (as for ViTs in Dosovitskiy et al. 2021, in one dimension).</summary>
    /// <param name="probabilities">[B, H, L, S]; query i stands at key position i + S - L.</param>
    /// <param name="queryMask">bool [B, L], or null.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor MeanDistance(Tensor probabilities, Tensor? queryMask)
    {
        using var scope = NewDisposeScope();
        var map = Exact(probabilities);
        return OnlyCounted((map * Offsets(map).abs()).sum(-1), map, queryMask).MoveToOuterDisposeScope();
    }

    /// <summary>Share of each row's attention that falls on chosen keys, [B, H, L]: special tokens, sinks, key objects.</summary>
    /// <param name="probabilities">[B, H, L, S].</param>
    /// <param name="positions">bool [B, S], true = chosen key.</param>
    /// <param name="queryMask">bool [B, L], or null.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor ShareAt(Tensor probabilities, Tensor positions, Tensor? queryMask)
    {
        Shapes.Require(probabilities, "[B, H, L, S]");
        Shapes.RequireExact(positions, [probabilities.size(0), probabilities.size(3)]);
        using var scope = NewDisposeScope();
        var map = Exact(probabilities);
        var share = map.masked_fill(positions.logical_not().unsqueeze(1).unsqueeze(1), 0.0).sum(-1);
        return OnlyCounted(share, map, queryMask).MoveToOuterDisposeScope();
    }

    /// <summary>Share of each row's attention on the key at a fixed offset, [B, H, L]: 0 the token itself, -1 the previous one. NaN where there is no such key.</summary>
    /// <param name="probabilities">[B, H, L, S]; query i stands at key position i + S - L.</param>
    /// <param name="offset">Key position minus query position.</param>
    /// <param name="queryMask">bool [B, L], or null.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor ShareAtOffset(Tensor probabilities, long offset, Tensor? queryMask)
    {
        using var scope = NewDisposeScope();
        var map = Exact(probabilities);
        var chosen = Offsets(map) == offset;
        var share = map.masked_fill(chosen.logical_not(), 0.0).sum(-1).masked_fill(chosen.any(-1).logical_not(), double.NaN);
        return OnlyCounted(share, map, queryMask).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Normalised mutual information of queries and keys, [B, H]: with p(q) uniform over the rows that count and p(k|q) the map,
    /// I(q; k) / sqrt(H(q) H(k)). 0 when all queries attend alike (attention collapse), 1 when each attends to a key of its own.
    /// Park et al. 2023, "What Do Self-Supervised Vision Transformers Learn?", section 2. NaN where no row counts.
    /// </summary>
    /// <param name="probabilities">[B, H, L, S].</param>
    /// <param name="queryMask">bool [B, L], or null.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor NormalisedMutualInformation(Tensor probabilities, Tensor? queryMask)
    {
        using var scope = NewDisposeScope();
        var map = Exact(probabilities);
        var counted = Counted(map, queryMask);
        var rows = counted.sum(-1).to(ScalarType.Float64);
        var joint = map.masked_fill(counted.logical_not().unsqueeze(-1), 0.0) / rows.unsqueeze(-1).unsqueeze(-1);
        // Rows of a map in low precision sum to 1 only nearly; p(q) is what they sum to.
        var (queries, keys) = (joint.sum(-1), joint.sum(-2));
        var queryEntropy = xlogy(queries, queries).sum(-1).neg();
        var keyEntropy = xlogy(keys, keys).sum(-1).neg();
        var bound = (queryEntropy * keyEntropy).clamp_min(0).sqrt();
        var information = (queryEntropy + keyEntropy + xlogy(joint, joint).sum([-2, -1])).clamp_min(0);
        // One query, or one key for all (up to rounding): nothing to be informed about.
        var informed = (bound > 0).logical_and(keyEntropy >= LeastKeyEntropy);
        var share = where(informed, information / bound, zeros_like(bound));
        return share.masked_fill(rows == 0, double.NaN).MoveToOuterDisposeScope();
    }

    /// <summary>Mean per head, [H], of the rows that count (those that are not NaN); NaN where none does.</summary>
    /// <param name="rows">[B, H, L], or [B, H, 1] for figures of whole maps.</param>
    public static Tensor PerHead(Tensor rows)
    {
        Shapes.Require(rows, "[B, H, L]");
        using var scope = NewDisposeScope();
        var absent = rows.isnan();
        var counted = absent.logical_not().sum([0, 2]).to(rows.dtype);
        return (rows.masked_fill(absent, 0.0).sum([0, 2]) / counted).MoveToOuterDisposeScope();
    }

    /// <summary>The map in float64: log-sums of float16 rows are useless, and statistics are cheap.</summary>
    private static Tensor Exact(Tensor probabilities)
    {
        Shapes.Require(probabilities, "[B, H, L, S]");
        return probabilities.detach().to(ScalarType.Float64);
    }

    private static Tensor Offsets(Tensor map)
    {
        long queries = map.size(2),
            keys = map.size(3);
        var query = arange(queries, dtype: ScalarType.Float64, device: map.device).unsqueeze(1) + (keys - queries);
        return arange(keys, dtype: ScalarType.Float64, device: map.device).unsqueeze(0) - query;
    }

    private static Tensor OnlyCounted(Tensor rows, Tensor map, Tensor? queryMask) =>
        rows.masked_fill(Counted(map, queryMask).logical_not(), double.NaN);

    private static Tensor Counted(Tensor map, Tensor? queryMask)
    {
        var nonEmpty = map.sum(-1) > 0;
        if (queryMask is null)
            return nonEmpty;
        Shapes.RequireExact(queryMask, [map.size(0), map.size(2)]);
        return nonEmpty.logical_and(queryMask.unsqueeze(1));
    }
}
