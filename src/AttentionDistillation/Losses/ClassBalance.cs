using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Weights and losses for classes of different frequency.</summary>
public static class ClassBalance
{
    /// <summary>The β of <see cref="EffectiveWeights"/> in the code of LDAM and DeiT-LT.</summary>
    public const double DefaultBeta = 0.9999;

    /// <summary>
    /// Weights by the effective number of samples (Cui et al. 2019, arXiv 1901.05555, equation 2): w_c ∝ (1 - β) / (1 - β^n_c), scaled to sum to the number
    /// of classes.
    /// </summary>
    /// <param name="counts">n_c, images of each class, 1 or more.</param>
    /// <param name="beta">β in [0, 1); 0 weighs all classes alike.</param>
    /// <returns>float64 [V].</returns>
    /// <exception cref="ArgumentException">A count is below 1, there is none, or β is out of range.</exception>
    public static Tensor EffectiveWeights(IReadOnlyList<long> counts, double beta = DefaultBeta)
    {
        ArgumentNullException.ThrowIfNull(counts);
        if (counts.Count == 0 || counts.Any(count => count < 1))
            throw new ArgumentException(
                $"Every class needs one image or more to be weighed, but the counts are [{string.Join(", ", counts)}].",
                nameof(counts)
            );
        if (beta is not (>= 0 and < 1))
            throw new ArgumentException($"Beta must be in [0, 1), but is {beta}.", nameof(beta));
        double[] raw = [.. counts.Select(count => (1 - beta) / (1 - Math.Pow(beta, count)))];
        double sum = raw.Sum();
        return tensor(raw.Select(weight => weight / sum * counts.Count).ToArray());
    }

    /// <summary>
    /// Σ w_label CE / Σ w_label: the batch's mean with each image weighed by its class, as PyTorch's weighted cross-entropy. A batch of rare labels is thus not
    /// amplified as a whole.
    /// </summary>
    /// <param name="logits">[B, V].</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="weights">[V], 0 or more; null: the plain mean.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor CrossEntropy(Tensor logits, Tensor labels, Tensor? weights)
    {
        Shapes.Require(logits, "[B, V]");
        Shapes.RequireExact(labels, [logits.size(0)]);
        using var scope = NewDisposeScope();
        var scores = Exact(logits);
        var rows = nn.functional.log_softmax(scores, -1).gather(1, labels.unsqueeze(1)).squeeze(1).neg();
        return WeightedMean(rows, labels, weights).MoveToOuterDisposeScope();
    }

    /// <summary>Mean cross-entropy with soft targets: -Σ target ln softmax(logits).</summary>
    /// <param name="logits">[B, V].</param>
    /// <param name="targets">[B, V], rows summing to 1; receives no gradient.</param>
    /// <param name="weights">[V]: each row is weighed by the class of its largest target; null: the plain mean.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor SoftCrossEntropy(Tensor logits, Tensor targets, Tensor? weights = null)
    {
        Shapes.Require(logits, "[B, V]");
        Shapes.RequireExact(targets, logits.shape);
        using var scope = NewDisposeScope();
        var scores = Exact(logits);
        var rows = (nn.functional.log_softmax(scores, -1) * targets.detach().to(scores.dtype)).sum(-1).neg();
        return WeightedMean(rows, targets.detach().argmax(-1), weights).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// LDAM (Cao et al. 2019, arXiv 1906.07413, equations 12 and 13; as DeiT-LT's teacher uses it, †): the true class's cosine is lowered by
    /// m_c = most (n_min / n_c)^(1/4), all are multiplied by the scale, weighted cross-entropy.
    /// </summary>
    /// <param name="cosines">[B, V], logits of a cosine head.</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="counts">[V], images of each class, above 0.</param>
    /// <param name="weights">[V]; null: the plain mean.</param>
    /// <param name="largestMargin">The rarest class's margin.</param>
    /// <param name="scale">Factor on the cosines.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor MarginLoss(
        Tensor cosines,
        Tensor labels,
        Tensor counts,
        Tensor? weights,
        double largestMargin = 0.5,
        double scale = 30.0
    )
    {
        Shapes.Require(cosines, "[B, V]");
        Shapes.RequireExact(counts, [cosines.size(1)]);
        Shapes.RequireExact(labels, [cosines.size(0)]);
        using var scope = NewDisposeScope();
        var scores = Exact(cosines);
        var frequency = counts.to(scores.dtype).to(scores.device);
        var margins = (frequency.min() / frequency).pow(0.25) * largestMargin;
        var lowered = zeros_like(scores).scatter(1, labels.unsqueeze(1), margins.index_select(0, labels).unsqueeze(1));
        return CrossEntropy((scores - lowered) * scale, labels, weights).MoveToOuterDisposeScope();
    }

    private static Tensor Exact(Tensor logits) => logits.dtype == ScalarType.Float64 ? logits : logits.to(ScalarType.Float32);

    private static Tensor WeightedMean(Tensor rows, Tensor labels, Tensor? weights)
    {
        if (weights is null)
            return rows.mean();
        var ofRows = weights.detach().to(rows.dtype).to(rows.device).index_select(0, labels);
        return (ofRows * rows).sum() / ofRows.sum();
    }
}
