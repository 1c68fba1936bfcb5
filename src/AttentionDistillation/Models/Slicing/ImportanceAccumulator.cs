using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>
/// Channel scores of calibration data that comes in batches: keeps sums over the sequences, so that the result does not depend on how they were
/// batched and memory does not grow.
/// </summary>
public sealed class ImportanceAccumulator : IDisposable
{
    private readonly ActivationAggregation overSequence;
    private readonly ActivationAggregation overBatch;
    private Tensor? sum;
    private Tensor? squares;
    private long sequences;

    /// <summary>Starts with nothing seen.</summary>
    /// <param name="overSequence">Reduction over the tokens of a sequence.</param>
    /// <param name="overBatch">Reduction over the sequences.</param>
    public ImportanceAccumulator(
        ActivationAggregation overSequence = ActivationAggregation.Mean,
        ActivationAggregation overBatch = ActivationAggregation.L2
    ) => (this.overSequence, this.overBatch) = (overSequence, overBatch);

    /// <summary>Adds the activations of a batch.</summary>
    /// <param name="activations">[B, L, C].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    public void Add(Tensor activations, Tensor? mask)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        // In double precision, so that the variance of many sequences does not cancel away.
        var reduced = ActivationImportance.OfSequences(activations, mask, overSequence).to(ScalarType.Float64);
        Replace(ref sum, reduced.sum(0L));
        Replace(ref squares, reduced.square().sum(0L));
        sequences += activations.size(0);
    }

    /// <summary>The scores so far, float64 [C].</summary>
    /// <exception cref="InvalidOperationException">Nothing was added.</exception>
    public Tensor Scores()
    {
        if (sum is null || squares is null)
            throw new InvalidOperationException("No activations were added. Run calibration data through the model first.");
        using var scope = NewDisposeScope();
        return (
            overBatch switch
            {
                ActivationAggregation.Mean => sum / sequences,
                ActivationAggregation.L2 => squares.sqrt(),
                ActivationAggregation.Variance => (squares / sequences - (sum / sequences).square()).clamp_min(0.0),
                _ => throw new ArgumentOutOfRangeException(nameof(overBatch), overBatch, "Unknown aggregation."),
            }
        ).MoveToOuterDisposeScope();
    }

    /// <summary>Frees the sums.</summary>
    public void Dispose()
    {
        sum?.Dispose();
        squares?.Dispose();
    }

    private static void Replace(ref Tensor? total, Tensor more)
    {
        var next = (total is null ? more.alias() : total + more).DetachFromDisposeScope();
        total?.Dispose();
        total = next;
    }
}
