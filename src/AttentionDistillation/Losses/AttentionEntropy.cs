using AttentionDistillation.Attention;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// Entropy of attention, in nats: H = -Σ p ln p over the keys of a query's row, between 0 and the logarithm of the number of visible keys.
/// As a loss its negative spreads attention (AEM, arXiv 2406.15303).
/// </summary>
/// <remarks>
/// Without a map: H = lse - scale q·A(k). Of its gradient all parts cancel but the one through the softmax in A, so the gradient is an
/// attention's backward with values k held fixed and output gradient -scale q.
/// </remarks>
public static class AttentionEntropy
{
    /// <summary>Mean entropy over the rows that count.</summary>
    /// <param name="state">The attention call.</param>
    /// <param name="queryMask">bool [B, L], true = the row counts; null: the call's own mask where L = S, else all.</param>
    /// <param name="reduction">How rows become one number.</param>
    /// <param name="form">How it is computed; all forms agree.</param>
    /// <returns>A scalar, differentiable in the call's query and key.</returns>
    /// <exception cref="NotSupportedException">A call with a position bias was asked for in a form without maps.</exception>
    public static Tensor Mean(
        AttentionState state,
        Tensor? queryMask = null,
        RowReduction reduction = RowReduction.Tokens,
        RelationForm form = RelationForm.Auto
    )
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        var key = AttentionMask.RepeatHeads(state.Key, state.Heads);
        var counted = AttentionMask.CountedQueries(state.Mask, queryMask, state.IsCausal, state.Query, key.size(2));
        if (!state.IsPlain)
        {
            if (form is not (RelationForm.Auto or RelationForm.Dense))
                throw new NotSupportedException(
                    "An attention call with a position bias or a sliding window needs its map: use RelationForm.Dense or Auto."
                );
            var map = state.Probabilities();
            return MaskedReductions.Mean(special.entr(map).sum(-1), counted, reduction).MoveToOuterDisposeScope();
        }
        bool kernels =
            form == RelationForm.Fused
            || (
                form == RelationForm.Auto
                && state.Query.device_type != DeviceType.CPU
                && state.Query.numel() / state.Query.size(3) * key.size(2) > AttentionRelations.LargestDenseMap
            );
        if (
            kernels
            && !(state.IsCausal && state.Query.size(2) > key.size(2))
            && AttentionOperators.HasKernel(state.Query, key.size(3))
        )
            return Fused(state, key, counted, reduction).MoveToOuterDisposeScope();
        return RowBlocks
            .Mean(
                new([state.Query], [key], state.Mask, counted, state.IsCausal),
                state.Heads,
                reduction,
                form,
                (rows, keys, allowed) =>
                {
                    var logarithms = RowBlocks.LogProbabilities(rows[0], keys[0], state.Scale, allowed);
                    return -(logarithms.exp() * logarithms).sum(-1);
                }
            )
            .MoveToOuterDisposeScope();
    }

    private static Tensor Fused(AttentionState state, Tensor key, Tensor? counted, RowReduction reduction)
    {
        var query = state.Query.detach();
        var type = query.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var (output, logSumExp) = AttentionOperators.Forward(
            query,
            key,
            key,
            AttentionOperators.KeyBias(state.Mask, type),
            state.IsCausal,
            state.Scale
        );
        var rows = logSumExp - (query * output).sum(-1, type: type) * state.Scale;
        var value = MaskedReductions.Mean(rows, counted, reduction);
        if (!is_grad_enabled() || !(state.Query.requires_grad || key.requires_grad))
            return value;
        var weights = MaskedReductions.RowWeights(counted, rows, reduction);
        var fixedRows = (query * (weights * -state.Scale).unsqueeze(-1)).to(query.dtype);
        var learned = AttentionOperators.Differentiable(state.Query, key, key.detach(), state.Mask, state.IsCausal, state.Scale);
        var surrogate = (learned * fixedRows).sum(type);
        return value + (surrogate - surrogate.detach());
    }
}
