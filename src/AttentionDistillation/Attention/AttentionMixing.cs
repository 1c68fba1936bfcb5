using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>The output of an attention call by libtorch's fused kernels, no map of L x S built.</summary>
public static class AttentionMixing
{
    /// <summary>softmax(scores) value of a recorded call.</summary>
    /// <param name="state">The call; its mask, causal flag, scale, bias and grouped heads are honoured.</param>
    /// <param name="dropout">Probability with which an attention weight is dropped, from libtorch's global generator; 0 for none.</param>
    /// <param name="allowed">bool, broadcastable to [B, H, L, S]: further pairs that may not be seen are false; null for none.</param>
    /// <returns>[B, H, L, value width]; rows that may see nothing are zero and give no gradient.</returns>
    public static Tensor Mix(AttentionState state, double dropout = 0.0, Tensor? allowed = null)
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        long queries = state.Query.size(2),
            keys = state.Key.size(2);
        var (query, key, value) = (
            state.Query,
            AttentionMask.RepeatHeads(state.Key, state.Heads),
            AttentionMask.RepeatHeads(state.Value, state.Heads)
        );
        // The kernel divides by sqrt(D); another scale goes into the queries.
        double factor = state.Scale * Math.Sqrt(query.size(3));
        if (Math.Abs(factor - 1.0) > 1e-12)
            query = query * factor;
        // The kernel's causal flag aligns the first query with the first key; it means the same as ours only for a square map.
        bool causalFlag = state.IsCausal && state.Mask is null && allowed is null && state.Bias is null && queries == keys;
        var visible = causalFlag ? null : AttentionMask.Allowed(state.Mask, state.IsCausal, queries, keys, query.device);
        if (allowed is not null)
            visible = visible is null ? allowed : visible.logical_and(allowed);
        if (visible is null && state.Bias is null)
            return nn
                .functional.scaled_dot_product_attention(query, key, value, null, dropout, causalFlag)
                .MoveToOuterDisposeScope();
        // Kernels disagree about rows that may see nothing, so such rows see everything and are set to zero afterwards.
        var sees = visible?.any(-1, keepdim: true);
        if (visible is not null)
            visible = visible.logical_or(sees!.logical_not());
        var mask =
            state.Bias is null ? visible
            : visible is null ? state.Bias.to(query.dtype)
            : state.Bias.to(query.dtype).masked_fill(visible.logical_not(), double.NegativeInfinity);
        var mixed = nn.functional.scaled_dot_product_attention(query, key, value, mask, dropout);
        return (sees is null ? mixed : mixed.masked_fill(sees.logical_not(), 0.0)).MoveToOuterDisposeScope();
    }
}
