using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Losses of extractive question answering: distributions over the L positions for an answer's first and last token.</summary>
public static class SpanPrediction
{
    /// <summary>
    /// Mean of the cross-entropies of start and end, nats. A gold position before 0 counts as 0; one of L or more lies outside this window and does
    /// not count (as in BERT's span head). Where no answer lies inside, the loss is 0.
    /// </summary>
    /// <param name="startLogits">[B, L].</param>
    /// <param name="endLogits">[B, L].</param>
    /// <param name="start">int64 [B], the answer's first position.</param>
    /// <param name="end">int64 [B], the answer's last position, inclusive.</param>
    /// <returns>A scalar.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor CrossEntropy(Tensor startLogits, Tensor endLogits, Tensor start, Tensor end)
    {
        Shapes.Require(startLogits, "[B, L]");
        Shapes.RequireExact(endLogits, startLogits.shape);
        using var scope = NewDisposeScope();
        return ((OneEnd(startLogits, start) + OneEnd(endLogits, end)) / 2.0).MoveToOuterDisposeScope();
    }

    /// <summary>T² times the divergence of the position distributions at temperature T, a row an example.</summary>
    /// <param name="teacherLogits">[B, L]; receives no gradient.</param>
    /// <param name="studentLogits">[B, L].</param>
    /// <param name="mask">
    /// bool [B, L], true = the position may be chosen; the others leave both distributions. Null takes all L positions as the head produces them,
    /// question and padding included, which is what the paper's code does (arXiv 2309.17134).
    /// </param>
    /// <param name="temperature">T, positive.</param>
    /// <param name="direction">Which way it points.</param>
    /// <returns>[B], nats, float32 at least.</returns>
    /// <exception cref="ArgumentException">Shapes differ, or the temperature is not positive.</exception>
    public static Tensor DivergenceRows(
        Tensor teacherLogits,
        Tensor studentLogits,
        Tensor? mask,
        double temperature = 1.0,
        DivergenceDirection direction = DivergenceDirection.Forward
    )
    {
        Shapes.Require(teacherLogits, "[B, L]");
        Shapes.RequireExact(studentLogits, teacherLogits.shape);
        if (mask is not null)
            Shapes.RequireExact(mask, teacherLogits.shape);
        using var scope = NewDisposeScope();
        var options = DivergenceOptions.Default with { Temperature = temperature, Direction = direction };
        return Divergences.KlRows(Chosen(teacherLogits), Chosen(studentLogits), options).MoveToOuterDisposeScope();

        Tensor Chosen(Tensor logits) => mask is null ? logits : logits.masked_fill(mask.logical_not(), double.NegativeInfinity);
    }

    private static Tensor OneEnd(Tensor logits, Tensor gold)
    {
        Shapes.RequireExact(gold, [logits.size(0)]);
        long outside = logits.size(1);
        var clamped = gold.clamp(0, outside);
        var counts = clamped.ne(outside);
        var logs = nn.functional.log_softmax(logits.dtype == ScalarType.Float64 ? logits : logits.to(ScalarType.Float32), -1);
        var chosen = logs.gather(1, clamped.clamp_max(outside - 1).unsqueeze(1)).squeeze(1);
        return chosen.masked_fill(counts.logical_not(), 0.0).sum().neg() / counts.sum().clamp_min(1L);
    }
}
