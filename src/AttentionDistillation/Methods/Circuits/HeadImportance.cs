using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>How much of a circuit's attribution leaves each head.</summary>
public static class HeadImportance
{
    /// <summary>Added to the denominator of a shift, so that heads absent from both models give 0.</summary>
    private const double ShiftEpsilon = 1e-6;

    /// <summary>Σ |score| over examples and kept edges that leave the head.</summary>
    /// <param name="scores">[N, S, D], of each example.</param>
    /// <param name="edges">bool [N, S, D] or [S, D]: kept edges.</param>
    /// <param name="layers">Layers of the decoder.</param>
    /// <param name="heads">H.</param>
    /// <returns>[layers, H].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Raw(Tensor scores, Tensor edges, int layers, int heads)
    {
        ArgumentNullException.ThrowIfNull(scores);
        ArgumentNullException.ThrowIfNull(edges);
        var graph = CircuitGraph.Of(scores, layers, heads);
        graph.Require(edges, nameof(edges));
        using var scope = NewDisposeScope();
        var left = (scores.abs() * edges.to(scores.dtype)).sum(-1);
        while (left.dim() > 1)
            left = left.sum([0]);
        return left.narrow(0, 1, graph.Sources - 1).view(layers, heads + 1).narrow(1, 0, heads).clone().MoveToOuterDisposeScope();
    }

    /// <summary>Importances as shares of their total over all heads; zeros stay zeros where nothing is kept.</summary>
    /// <param name="raw">[layers, H].</param>
    public static Tensor Normalised(Tensor raw)
    {
        ArgumentNullException.ThrowIfNull(raw);
        using var scope = NewDisposeScope();
        var total = raw.sum();
        return (IsZero(total) ? raw.clone() : raw / total).MoveToOuterDisposeScope();
    }

    /// <summary>(post - pre) / (post + pre + 1e-6), in [-1, 1]: 1 for a head that only the later model uses, -1 for one that only the earlier used.</summary>
    /// <param name="pre">[layers, H], not negative.</param>
    /// <param name="post">[layers, H] or [T, layers, H].</param>
    /// <returns>The shape of <paramref name="post"/>.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Shift(Tensor pre, Tensor post)
    {
        ArgumentNullException.ThrowIfNull(pre);
        ArgumentNullException.ThrowIfNull(post);
        if (pre.dim() != 2 || post.dim() < 2 || !post.shape[^2..].SequenceEqual(pre.shape))
            throw new ArgumentException(
                $"Importances must be [layers, H] and [T, layers, H], but are [{string.Join(", ", pre.shape)}] and [{string.Join(", ", post.shape)}]."
            );
        using var scope = NewDisposeScope();
        return ((post - pre) / (post + pre + ShiftEpsilon)).MoveToOuterDisposeScope();
    }

    private static bool IsZero(Tensor total) => total.to(ScalarType.Float64).item<double>() == 0.0;
}
