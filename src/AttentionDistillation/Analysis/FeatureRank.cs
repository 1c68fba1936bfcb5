using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>How many directions a set of features uses.</summary>
public static class FeatureRank
{
    /// <summary>The share of energy that DeiT-LT counts (arXiv 2404.02900; † not seen in a source).</summary>
    public const double DefaultEnergy = 0.99;

    /// <summary>The shares of squared singular values, from the largest, and how many of them hold a share of the energy.</summary>
    /// <param name="features">[N, C].</param>
    /// <param name="energy">Share of the squared energy, above 0 and at most 1.</param>
    /// <param name="centres">Whether the mean feature is taken off first; otherwise it counts as a direction.</param>
    /// <returns>The least rank, and the spectrum float64 [min(N, C)] summing to 1 (all 0 with rank 0 when the features are 0).</returns>
    /// <exception cref="ArgumentException">The features are no matrix, or the share is out of range.</exception>
    public static (long Rank, Tensor Spectrum) Of(Tensor features, double energy = DefaultEnergy, bool centres = false)
    {
        Shapes.Require(features, "[N, C]");
        if (!(energy > 0 && energy <= 1))
            throw new ArgumentException($"The share of energy must be above 0 and at most 1, but is {energy}.", nameof(energy));
        using var scope = NewDisposeScope();
        var rows = features.detach().to(ScalarType.Float64);
        if (centres)
            rows = rows - rows.mean([0], keepdim: true);
        var squares = linalg.svdvals(rows).square();
        double total = squares.sum().item<double>();
        if (total == 0)
            return (0, squares.MoveToOuterDisposeScope());
        var shares = squares / total;
        double[] values = shares.cpu().data<double>().ToArray();
        double held = 0;
        long rank = 0;
        while (rank < values.Length && held < energy)
            held += values[rank++];
        return (rank, shares.MoveToOuterDisposeScope());
    }
}
