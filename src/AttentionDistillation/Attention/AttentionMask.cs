using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>What a query may see: padding and causal masks, in one place.</summary>
public static class AttentionMask
{
    /// <summary>Which (query, key) pairs are allowed, bool broadcastable to [B, H, L, S]; null when all are.</summary>
    /// <param name="mask">bool [B, S], true = real key, or null.</param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L.</param>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <param name="device">Where the result lives.</param>
    /// <param name="window">Keys that a query of a causal call sees at most: its own and those just before; null for all.</param>
    public static Tensor? Allowed(Tensor? mask, bool isCausal, long queries, long keys, Device device, long? window = null)
    {
        if (mask is null && !isCausal)
            return null;
        using var scope = NewDisposeScope();
        Tensor? allowed = mask?.unsqueeze(1).unsqueeze(1);
        if (isCausal)
        {
            var seen = ones(queries, keys, dtype: ScalarType.Bool, device: device).tril(keys - queries);
            if (window is { } width && width < keys)
                seen = seen.triu(keys - queries - width + 1);
            allowed = allowed is null ? seen : allowed.logical_and(seen);
        }
        return allowed!.MoveToOuterDisposeScope();
    }

    /// <summary>The keys that some rows of a causal call may not see, bool [length, S]: key j is later than query i's place i + S - L.</summary>
    /// <param name="start">The first of the rows.</param>
    /// <param name="length">How many rows.</param>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <param name="device">Where the result lives.</param>
    public static Tensor Later(long start, long length, long queries, long keys, Device device) =>
        ones(length, keys, dtype: ScalarType.Bool, device: device).triu(start + keys - queries + 1);

    /// <summary>Which queries count in a mean over rows: the real ones that see a key at all.</summary>
    /// <param name="mask">bool [B, S], true = real key, or null. Where L = S and no query mask is given it masks the queries too.</param>
    /// <param name="queryMask">bool [B, L], true = real query, or null.</param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L.</param>
    /// <param name="query">[B, H, L, D]: gives sizes and device.</param>
    /// <param name="keys">S.</param>
    /// <returns>bool [B, L]; null when all queries count.</returns>
    public static Tensor? CountedQueries(Tensor? mask, Tensor? queryMask, bool isCausal, Tensor query, long keys)
    {
        long queries = query.size(2),
            early = isCausal ? queries - keys : 0; // this many queries of a causal call come before the first key
        if (early <= 0 && (mask is null || (queryMask is null && queries == keys)))
            return (queryMask ?? mask)?.alias();
        using var scope = NewDisposeScope();
        Tensor counted;
        if (isCausal)
        {
            var real = mask ?? ones(query.size(0), keys, dtype: ScalarType.Bool, device: query.device);
            var sees = real.cumsum(-1) > 0; // at key j: a real key up to j
            counted =
                early > 0
                    ? cat([zeros(query.size(0), early, dtype: ScalarType.Bool, device: query.device), sees], 1)
                    : sees.narrow(1, -early, queries);
        }
        else
            counted = mask!.any(-1, true).expand(mask.size(0), queries);
        return (queryMask is null ? counted : counted.logical_and(queryMask)).MoveToOuterDisposeScope();
    }

    /// <summary>Scores [B, H, L, S] with -inf where a query may not see a key.</summary>
    public static Tensor Apply(Tensor scores, Tensor? mask, bool isCausal, long? window = null)
    {
        using var scope = NewDisposeScope();
        var allowed = Allowed(mask, isCausal, scores.size(-2), scores.size(-1), scores.device, window);
        var masked = allowed is null ? scores.alias() : scores.masked_fill(allowed.logical_not(), double.NegativeInfinity);
        return masked.MoveToOuterDisposeScope();
    }

    /// <summary>Key or value heads repeated to the number of query heads (grouped-query attention); the same tensor when they agree.</summary>
    public static Tensor RepeatHeads(Tensor keyOrValue, long heads) =>
        keyOrValue.size(1) == heads ? keyOrValue.alias() : keyOrValue.repeat_interleave(heads / keyOrValue.size(1), 1);
}
