using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>How alike two sets of features of the same examples are, whatever their widths.</summary>
public static class FeatureSimilarity
{
    /// <summary>
    /// Linear centred kernel alignment: ‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖) of columns with their means taken off, Frobenius norms. Turning or scaling a set as a whole
    /// changes nothing.
    /// </summary>
    /// <remarks>Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019 (arXiv 1905.00414), section 3.</remarks>
    /// <param name="first">X, [N, C1].</param>
    /// <param name="second">Y, [N, C2], row by row the same examples.</param>
    /// <returns>0 (unrelated) to 1 (the same up to a rotation and a factor).</returns>
    /// <exception cref="ArgumentException">The sets have different numbers of rows, fewer than 2, or one does not vary.</exception>
    public static double LinearCka(Tensor first, Tensor second)
    {
        Shapes.Require(first, "[N, C1]");
        Shapes.RequireExact(second, [first.size(0), -1]);
        if (first.size(0) < 2)
            throw new ArgumentException($"Similarity needs two examples or more, but there are {first.size(0)}.", nameof(first));
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var (x, y) = (Centred(first), Centred(second));
        double own = Norm(x, x) * Norm(y, y);
        if (!(own > 0))
            throw new ArgumentException("A set of features is the same for every example; alignment with it is undefined.");
        double across = Norm(x, y);
        return across * across / own;
    }

    private static Tensor Centred(Tensor features)
    {
        var rows = features.detach().to(ScalarType.Float64);
        return rows - rows.mean([0], keepdim: true);
    }

    private static double Norm(Tensor x, Tensor y) => matmul(y.t(), x).square().sum().sqrt().item<double>();
}
