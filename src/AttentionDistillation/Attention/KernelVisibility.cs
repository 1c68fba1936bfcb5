using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Which keys a query may see, as libtorch's attention kernels want to be told: a causal flag, or a mask.</summary>
/// <param name="Allowed">bool broadcastable to [B, H, L, S], true = may be seen, every row with at least one; null when the flag says all.</param>
/// <param name="IsCausal">The kernel's causal flag (it aligns the first query with the first key, so L = S).</param>
public sealed record KernelVisibility(Tensor? Allowed, bool IsCausal)
{
    /// <summary>The cheapest form for a call. A row that may see nothing (a padded query) sees itself, or all keys of a call that is not causal.</summary>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded.</param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L; then L is at most S.</param>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <param name="window">Keys that a query sees at most, its own included; null for all.</param>
    /// <param name="device">Where the mask lives.</param>
    /// <exception cref="NotSupportedException">A causal call has more queries than keys.</exception>
    public static KernelVisibility Of(Tensor? mask, bool isCausal, long queries, long keys, long? window, Device device)
    {
        if (isCausal && queries > keys)
            throw new NotSupportedException(
                $"A causal call with {queries} queries and {keys} keys has rows that see nothing. Leave out the first {queries - keys} queries."
            );
        bool windowed = window < keys;
        if (mask is null && !windowed)
        {
            if (!isCausal || queries == 1)
                return new KernelVisibility(null, false);
            if (queries == keys)
                return new KernelVisibility(null, true);
        }
        using var scope = NewDisposeScope();
        var allowed = AttentionMask.Allowed(mask, isCausal, queries, keys, device, windowed ? window : null)!;
        if (mask is not null)
            allowed = allowed.logical_or(
                isCausal ? Diagonal(queries, keys, device) : allowed.any(-1, keepdim: true).logical_not()
            );
        return new KernelVisibility(allowed.MoveToOuterDisposeScope(), false);
    }

    /// <summary>The form for a recorded call.</summary>
    public static KernelVisibility Of(AttentionState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        return Of(state.Mask, state.IsCausal, state.Query.size(2), state.Key.size(2), state.Window, state.Query.device);
    }

    private static Tensor Diagonal(long queries, long keys, Device device) =>
        ones(queries, keys, dtype: ScalarType.Bool, device: device).tril(keys - queries).triu(keys - queries);
}
