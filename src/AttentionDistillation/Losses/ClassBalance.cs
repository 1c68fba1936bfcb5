using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Losses and weights for classes of very different frequency.</summary>
public static class ClassBalance
{
    /// <summary>
    /// Weights by the effective number of samples, w_c proportional to (1 - β) / (1 - β^n_c), scaled to the sum C (Cui et al. 2019, "Class-Balanced Loss
    /// Based on Effective Number of Samples").
    /// </summary>
    /// <param name="counts">n_c, images of each class, at least 1.</param>
    /// <param name="beta">β, at least 0 and below 1; 0 weighs all alike.</param>
    /// <exception cref="ArgumentException">A class is empty, there is none, or β is out of range.</exception>
    public static double[] EffectiveNumberWeights(IReadOnlyList<long> counts, double beta = 0.9999)
    {
        ArgumentNullException.ThrowIfNull(counts);
        if (counts.Count == 0 || counts.Any(count => count < 1))
            throw new ArgumentException("Every class needs at least one sample, and there must be a class.", nameof(counts));
        if (!(beta >= 0 && beta < 1))
            throw new ArgumentException($"Beta is {beta}. It must be at least 0 and below 1.", nameof(beta));
        double[] raw = [.. counts.Select(count => (1 - beta) / (1 - Math.Pow(beta, count)))];
        double sum = raw.Sum();
        return [.. raw.Select(weight => weight * counts.Count / sum)];
    }

    /// <summary>
    /// LDAM †: cross-entropy over cosine scores in which the true class must win by a margin that grows as it is rarer, m_c = m (n_min / n_c)^¼, all times
    /// a scale (Cao et al. 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", equation 13).
    /// </summary>
    /// <param name="cosines">[n, C], between -1 and 1.</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="counts">[C], images of each class in training.</param>
    /// <param name="weights">[C], weights of the classes (the mean is then over weights); null for none.</param>
    /// <param name="largestMargin">m, the margin of the rarest class.</param>
    /// <param name="scale">The factor on the cosines.</param>
    /// <returns>A scalar.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor LdamLoss(
        Tensor cosines,
        Tensor labels,
        Tensor counts,
        Tensor? weights,
        double largestMargin = 0.5,
        double scale = 30
    )
    {
        Shapes.Require(cosines, "[n, C]");
        Shapes.RequireExact(labels, [cosines.size(0)]);
        Shapes.RequireExact(counts, [cosines.size(1)]);
        if (weights is not null)
            Shapes.RequireExact(weights, [cosines.size(1)]);
        using var scope = NewDisposeScope();
        var number = counts.to(cosines.dtype).to(cosines.device);
        var margins = largestMargin * (number.min() / number).pow(0.25);
        var own = nn.functional.one_hot(labels, cosines.size(1)).to(cosines.dtype);
        var scores = scale * (cosines - own * margins);
        return WeightedCrossEntropy(scores, labels, weights).MoveToOuterDisposeScope();
    }

    /// <summary>Σ w_y CE / Σ w_y over the batch; the plain mean without weights.</summary>
    /// <param name="logits">[n, C].</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="weights">[C], or null.</param>
    internal static Tensor WeightedCrossEntropy(Tensor logits, Tensor labels, Tensor? weights) =>
        nn.functional.cross_entropy(logits, labels, weights?.to(logits.dtype).to(logits.device));
}
