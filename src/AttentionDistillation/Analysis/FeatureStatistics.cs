using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Statistics of features: how different two tokens' are, how many dimensions a set of them fills.</summary>
public static class FeatureStatistics
{
    /// <summary>1 minus the mean cosine of two tokens' features: 0 when they are the same up to length (DeiT-LT, expert diversity).</summary>
    /// <param name="first">[n, C], for example the class token's.</param>
    /// <param name="second">[n, C], for example the distillation token's.</param>
    /// <exception cref="ArgumentException">Shapes differ.</exception>
    public static double Diversity(Tensor first, Tensor second)
    {
        Shapes.Require(first, "[n, C]");
        Shapes.RequireExact(second, first.shape);
        using var scope = NewDisposeScope();
        return 1
            - nn.functional.cosine_similarity(first.detach().to(ScalarType.Float64), second.detach().to(ScalarType.Float64), 1)
                .mean()
                .item<double>();
    }

    /// <summary>How the squared energy of features is spread over their singular directions, and how many of these hold a share of it.</summary>
    /// <param name="features">[n, C].</param>
    /// <param name="energy">The share to hold, above 0, at most 1.</param>
    /// <param name="centre">Whether the mean is taken off first.</param>
    /// <returns>The least number of directions, and every direction's share, falling.</returns>
    /// <exception cref="ArgumentException">Another shape, or a share out of range.</exception>
    public static (int Rank, double[] Spectrum) EnergyRank(Tensor features, double energy = 0.99, bool centre = false)
    {
        Shapes.Require(features, "[n, C]");
        if (!(energy > 0 && energy <= 1))
            throw new ArgumentException($"The share of energy is {energy}. It must be above 0 and at most 1.", nameof(energy));
        using var scope = NewDisposeScope();
        var values = features.detach().to(ScalarType.Float64).cpu();
        if (centre)
            values = values - values.mean([0L], keepdim: true);
        double[] squares = [.. linalg.svdvals(values).square().data<double>()];
        double sum = squares.Sum();
        double[] spectrum = [.. squares.Select(square => sum > 0 ? square / sum : 0)];
        double held = 0;
        int rank = 0;
        // A rounding error short of the share is the share: with energy 1 the sum ends at 1 only up to rounding.
        while (rank < spectrum.Length && held < energy - 1e-12)
            held += spectrum[rank++];
        return (rank, spectrum);
    }
}
