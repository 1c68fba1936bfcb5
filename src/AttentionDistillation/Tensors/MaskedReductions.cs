using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>How the rows of a batch become one number. They differ only where sequences have different lengths.</summary>
public enum RowReduction
{
    /// <summary>Mean over every valid row of the batch: long sequences weigh more.</summary>
    Tokens,

    /// <summary>Mean inside each sequence, then over the sequences: every sequence weighs the same.</summary>
    Sequences,
}

/// <summary>Means that leave padding out, in one place.</summary>
public static class MaskedReductions
{
    /// <summary>The weight of each row in the mean: sums to 1 over [B, H, L], zero at rows that do not count.</summary>
    /// <param name="valid">bool [B, L] or [B, 1, L] or [B, H, L], true = the row counts; null when all of <paramref name="rows"/> count.</param>
    /// <param name="rows">A tensor of shape [B, H, L] that gives sizes, dtype and device.</param>
    /// <param name="reduction">How rows become one number.</param>
    /// <returns>[B, 1, L] or [B, H, L], in float32 at least.</returns>
    public static Tensor RowWeights(Tensor? valid, Tensor rows, RowReduction reduction)
    {
        using var scope = NewDisposeScope();
        var type = rows.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        if (valid is null)
            return full([rows.size(0), 1, rows.size(2)], 1.0 / rows.numel(), dtype: type, device: rows.device)
                .MoveToOuterDisposeScope();
        var counted = (valid.dim() == 2 ? valid.unsqueeze(1) : valid).to(type);
        double headsPerRow = (double)rows.size(1) / counted.size(1);
        if (reduction == RowReduction.Tokens)
            return (counted / (counted.sum() * headsPerRow).clamp_min(1.0)).MoveToOuterDisposeScope();
        var inSequence = counted.sum([1, 2], keepdim: true);
        var sequences = (inSequence > 0).sum().clamp_min(1);
        return (counted / (inSequence * headsPerRow).clamp_min(1.0) / sequences).MoveToOuterDisposeScope();
    }

    /// <summary>Mean of the rows that count.</summary>
    /// <param name="rows">[B, H, L].</param>
    /// <param name="valid">bool, broadcastable as in <see cref="RowWeights"/>, or null.</param>
    /// <param name="reduction">How rows become one number.</param>
    /// <returns>A scalar.</returns>
    public static Tensor Mean(Tensor rows, Tensor? valid, RowReduction reduction = RowReduction.Tokens)
    {
        Shapes.Require(rows, "[B, H, L]");
        using var scope = NewDisposeScope();
        var kept = valid is null ? rows : rows.masked_fill((valid.dim() == 2 ? valid.unsqueeze(1) : valid).logical_not(), 0.0);
        return (kept * RowWeights(valid, rows, reduction)).sum().MoveToOuterDisposeScope();
    }

    /// <summary>Mean over the elements of the positions that count, each position weighing the same.</summary>
    /// <param name="values">[B, L, C].</param>
    /// <param name="mask">bool [B, L], true = counts; null when all count.</param>
    /// <returns>A scalar: sum over counted positions and channels, divided by (counted positions x C).</returns>
    public static Tensor MeanOverPositions(Tensor values, Tensor? mask)
    {
        Shapes.Require(values, "[B, L, C]");
        if (mask is null)
            return values.mean();
        Shapes.RequireExact(mask, [values.size(0), values.size(1)]);
        using var scope = NewDisposeScope();
        var kept = values.masked_fill(mask.unsqueeze(-1).logical_not(), 0.0);
        return (kept.sum() / (mask.sum().to(kept.dtype) * values.size(2)).clamp_min(1.0)).MoveToOuterDisposeScope();
    }
}
