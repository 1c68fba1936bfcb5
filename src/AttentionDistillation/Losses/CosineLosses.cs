using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Losses on the cosine of two vectors each, computed in float32 at least.</summary>
public static class CosineLosses
{
    /// <summary>SimCSE's temperature (Gao et al. 2021, "SimCSE", section 3).</summary>
    public const double SimCseTemperature = 0.05;

    /// <summary>The cosine of each pair of rows.</summary>
    /// <param name="first">[N, C].</param>
    /// <param name="second">[N, C].</param>
    /// <returns>[N] in [-1, 1]; 0 where a vector is zero.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Similarity(Tensor first, Tensor second)
    {
        Check(first, second);
        using var scope = NewDisposeScope();
        return nn.functional.cosine_similarity(Exact(first), Exact(second), -1).MoveToOuterDisposeScope();
    }

    /// <summary>Mean squared error between the cosine of each pair and its label (Reimers and Gurevych 2019, "Sentence-BERT", section 3, regression objective).</summary>
    /// <param name="first">[N, C].</param>
    /// <param name="second">[N, C].</param>
    /// <param name="labels">[N], the cosines wanted; receives no gradient.</param>
    /// <returns>A scalar, differentiable in both vectors.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor SquaredError(Tensor first, Tensor second, Tensor labels)
    {
        Check(first, second);
        Shapes.RequireExact(labels, [first.size(0)]);
        using var scope = NewDisposeScope();
        var cosines = Similarity(first, second);
        return (cosines - labels.detach().to(cosines.dtype)).square().mean().MoveToOuterDisposeScope();
    }

    /// <summary>
    /// In-batch contrastive loss: the mean cross-entropy, in nats, of finding each row's partner among all rows of <paramref name="second"/> by
    /// cosine / temperature (SimCSE, equation 1; with two dropout views of the same sentences it is unsupervised SimCSE).
    /// </summary>
    /// <param name="first">[N, C].</param>
    /// <param name="second">[N, C]; row i is the partner of row i, all other rows are negatives.</param>
    /// <param name="temperature">Positive.</param>
    /// <returns>A scalar, differentiable in both vectors.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the temperature is not positive.</exception>
    public static Tensor InBatchContrastive(Tensor first, Tensor second, double temperature = SimCseTemperature)
    {
        Check(first, second);
        if (!(temperature > 0.0) || double.IsInfinity(temperature))
            throw new ArgumentException($"The temperature must be a positive number, but is {temperature}.", nameof(temperature));
        using var scope = NewDisposeScope();
        var (left, right) = (nn.functional.normalize(Exact(first), dim: -1), nn.functional.normalize(Exact(second), dim: -1));
        var scores = matmul(left, right.t()) / temperature;
        var partners = arange(first.size(0), dtype: ScalarType.Int64, device: first.device);
        return nn.functional.cross_entropy(scores, partners).MoveToOuterDisposeScope();
    }

    private static Tensor Exact(Tensor vectors) => vectors.dtype == ScalarType.Float64 ? vectors : vectors.to(ScalarType.Float32);

    private static void Check(Tensor first, Tensor second)
    {
        Shapes.Require(first, "[N, C]");
        Shapes.Require(second, "[N, C]");
        if (!first.shape.SequenceEqual(second.shape))
            throw new ArgumentException(
                $"Both sides of the pairs must have the same shape, but have {Shapes.Describe(first)} and {Shapes.Describe(second)}."
            );
    }
}
