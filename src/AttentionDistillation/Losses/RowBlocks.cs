using AttentionDistillation.Attention;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// Linear memory for any loss on the rows of a map: the definition is differentiated a block of rows at a time, and each block's maps are
/// gone before the next. Value and gradients are those of the definition itself.
/// </summary>
internal static class RowBlocks
{
    /// <summary>Elements of a block of a map (B x H x rows x S); autograd keeps a handful of such blocks for a moment.</summary>
    private const long BlockElements = 1L << 21;

    /// <summary>The definition on a block of rows.</summary>
    /// <param name="rowTensors">Query-side tensors narrowed to the block, [B, H, rows, D].</param>
    /// <param name="keyTensors">Key-side tensors, whole.</param>
    /// <param name="allowed">bool broadcastable to [B, H, rows, S], which pairs are seen; null when all are.</param>
    /// <returns>The rows' losses, [B, 1 or H, rows], in float32 at least.</returns>
    internal delegate Tensor Definition(Tensor[] rowTensors, Tensor[] keyTensors, Tensor? allowed);

    /// <summary>What a loss looks at.</summary>
    /// <param name="RowTensors">[B, heads, L, D], any number; those that require gradients get them.</param>
    /// <param name="KeyTensors">[B, heads, S, D], any number; those that require gradients get them.</param>
    /// <param name="Mask">bool [B, S], true = real key, or null.</param>
    /// <param name="Counted">bool [B, L], which rows count, or null.</param>
    /// <param name="IsCausal">True when query i sees only keys up to i + S - L.</param>
    internal sealed record Call(Tensor[] RowTensors, Tensor[] KeyTensors, Tensor? Mask, Tensor? Counted, bool IsCausal)
    {
        internal long Queries => RowTensors[0].size(2);
        internal long Keys => KeyTensors[0].size(2);
        internal Device Device => RowTensors[0].device;
    }

    /// <summary>The mean of the rows that count, differentiable: the definition at once, or block by block where maps would be large.</summary>
    /// <param name="call">The inputs.</param>
    /// <param name="heads">Rows per query in the result of the definition: H, or 1 where it averages heads.</param>
    /// <param name="reduction">How rows become one number.</param>
    /// <param name="form">How it is computed; anything but the dense form means blocks.</param>
    /// <param name="definition">The loss of rows.</param>
    internal static Tensor Mean(Call call, long heads, RowReduction reduction, RelationForm form, Definition definition)
    {
        long batch = call.RowTensors[0].size(0),
            mapHeads = call.RowTensors[0].size(1);
        long mapElements = batch * mapHeads * call.Queries * call.Keys;
        if (form == RelationForm.Dense || (form == RelationForm.Auto && mapElements <= BlockElements))
        {
            using var dense = NewDisposeScope();
            var all = definition(call.RowTensors, call.KeyTensors, Allowed(call, 0, call.Queries));
            return MaskedReductions.Mean(all, call.Counted, reduction).MoveToOuterDisposeScope();
        }
        using var scope = NewDisposeScope();
        var inputs = call.RowTensors.Concat(call.KeyTensors).ToArray();
        bool[] learns = [.. inputs.Select(input => input.requires_grad && is_grad_enabled())];
        var type = inputs[0].dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var sizes = empty([batch, heads, call.Queries], dtype: type, device: call.Device);
        var weights = MaskedReductions.RowWeights(call.Counted, sizes, reduction);
        // Sums over blocks are kept in single precision at least.
        var gradients = inputs.Select((input, which) => learns[which] ? zeros_like(input, dtype: type) : null).ToArray();
        var value = zeros([], dtype: type, device: call.Device);
        long length = Math.Clamp(BlockElements / Math.Max(batch * mapHeads * call.Keys, 1), 1, call.Queries);
        for (long start = 0; start < call.Queries; start += length)
        {
            using var block = NewDisposeScope();
            long taken = Math.Min(length, call.Queries - start);
            var leaves = inputs
                .Select(
                    (input, which) =>
                    {
                        var part = which < call.RowTensors.Length ? input.detach().narrow(2, start, taken) : input.detach();
                        return part.requires_grad_(learns[which]);
                    }
                )
                .ToArray();
            using (set_grad_enabled(learns.Contains(true)))
            {
                var rows = definition(
                    leaves[..call.RowTensors.Length],
                    leaves[call.RowTensors.Length..],
                    Allowed(call, start, taken)
                );
                if (call.Counted is { } counted)
                    rows = rows.masked_fill(counted.narrow(1, start, taken).unsqueeze(1).logical_not(), 0.0);
                var total = (rows * weights.narrow(2, start, taken)).sum();
                value.add_(total.detach());
                var learned = Enumerable.Range(0, inputs.Length).Where(which => learns[which]).ToArray();
                if (learned.Length == 0)
                    continue;
                var made = autograd.grad([total], [.. learned.Select(which => leaves[which])]);
                foreach (var (gradient, which) in made.Zip(learned))
                    (which < call.RowTensors.Length ? gradients[which]!.narrow(2, start, taken) : gradients[which]!).add_(
                        gradient
                    );
            }
        }
        var attached = inputs.Zip(gradients).Where(pair => pair.Second is not null).Select(pair => (pair.First, pair.Second!));
        return GivenGradients.Attach(value, [.. attached]).MoveToOuterDisposeScope();
    }

    /// <summary>Logarithm of a map's block in float32 at least; finite at hidden pairs too, where the probability is exactly zero.</summary>
    internal static Tensor LogProbabilities(Tensor query, Tensor key, double scale, Tensor? allowed)
    {
        var type = query.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var scores = matmul(query, key.transpose(-2, -1)).to(type) * scale;
        if (allowed is not null)
            scores = scores.masked_fill(allowed.logical_not(), AttentionOperators.HiddenKeyBias);
        return nn.functional.log_softmax(scores, -1);
    }

    // Rows that see nothing are computed as if they saw everything (they never count), so that no 0 / 0 enters a graph.
    private static Tensor? Allowed(Call call, long start, long length)
    {
        using var scope = NewDisposeScope();
        var allowed = call.Mask?.unsqueeze(1).unsqueeze(1);
        if (call.IsCausal)
        {
            var seen = AttentionMask.Later(start, length, call.Queries, call.Keys, call.Device).logical_not();
            allowed = allowed is null ? seen : allowed.logical_and(seen);
        }
        return allowed?.logical_or(allowed.any(-1, true).logical_not()).MoveToOuterDisposeScope();
    }
}
