using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Losses of labelled predictions; places labelled <see cref="Batch.IgnoredLabel"/> do not count.</summary>
public static class TokenPrediction
{
    /// <summary>Mean cross-entropy over the labelled places, nats, summed in float32 at least.</summary>
    /// <param name="scores">[..., V].</param>
    /// <param name="labels">int64, the shape of <paramref name="scores"/> without the last axis.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor CrossEntropy(Tensor scores, Tensor labels)
    {
        ArgumentNullException.ThrowIfNull(scores);
        Shapes.RequireExact(labels, scores.shape[..^1]);
        using var scope = NewDisposeScope();
        var flat = scores.reshape(-1, scores.shape[^1]);
        return nn
            .functional.cross_entropy(
                flat.dtype == ScalarType.Float64 ? flat : flat.to(ScalarType.Float32),
                labels.reshape(-1),
                ignore_index: Batch.IgnoredLabel
            )
            .MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Hidden states and labels of the labelled places alone, so that a vocabulary's scores are computed for them and not for the six of seven
    /// tokens that masked-language modelling does not ask for.
    /// </summary>
    /// <param name="hidden">[B, L, C].</param>
    /// <param name="labels">int64 [B, L].</param>
    /// <returns>Hidden states [N, C] and labels int64 [N].</returns>
    public static (Tensor Hidden, Tensor Labels) Labelled(Tensor hidden, Tensor labels)
    {
        Shapes.Require(hidden, "[B, L, C]");
        Shapes.RequireExact(labels, hidden.shape[..2]);
        using var scope = NewDisposeScope();
        var flat = labels.reshape(-1);
        var places = flat.not_equal(Batch.IgnoredLabel).nonzero().squeeze(-1);
        return (
            hidden.reshape(-1, hidden.size(2)).index_select(0, places).MoveToOuterDisposeScope(),
            flat.index_select(0, places).MoveToOuterDisposeScope()
        );
    }
}
