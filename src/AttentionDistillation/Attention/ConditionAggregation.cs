using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>The weights of a <see cref="ConditionAggregation"/>.</summary>
/// <param name="Norm">Weight and bias of the queries' layer norm, [c] each.</param>
/// <param name="Query">[c, c], without bias as the next two.</param>
/// <param name="Key">[c, e].</param>
/// <param name="Value">[c, e].</param>
/// <param name="Output">Weight [c, c] and bias [c].</param>
public sealed record ConditionWeights(
    (Tensor Weight, Tensor Bias) Norm,
    Tensor Query,
    Tensor Key,
    Tensor Value,
    (Tensor Weight, Tensor Bias) Output
);

/// <summary>
/// Instance queries attend to condition tokens (patches of images, words) and keep a residual path. A scene without any real token gives its queries
/// back unchanged, the output's bias left out, forward and backward.
/// </summary>
/// <remarks>A reading of OmniScene's conditioning (arXiv 2509.19973), whose equations were not seen (†): pre-norm cross attention.</remarks>
public static class ConditionAggregation
{
    /// <summary>Inputs of the attention.</summary>
    /// <param name="queries">[b, n, c].</param>
    /// <param name="tokens">[b, t, e].</param>
    /// <param name="mask">bool [b, t], true = real token; null when all are.</param>
    /// <param name="weights">Projections.</param>
    /// <param name="heads">H, which must divide c.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or the heads do not divide c.</exception>
    public static AttentionState State(Tensor queries, Tensor tokens, Tensor? mask, ConditionWeights weights, long heads)
    {
        ArgumentNullException.ThrowIfNull(weights);
        Shapes.Require(queries, "[b, n, c]");
        long width = queries.size(2);
        Shapes.RequireExact(tokens, [queries.size(0), -1, weights.Key.size(1)]);
        using var scope = NewDisposeScope();
        var normalised = nn.functional.layer_norm(queries, [width], weights.Norm.Weight, weights.Norm.Bias, 1e-5);
        var state = AttentionState.OfHeads(
            LinearProduct.Of(normalised, weights.Query, null),
            LinearProduct.Of(tokens, weights.Key, null),
            LinearProduct.Of(tokens, weights.Value, null),
            heads,
            mask
        );
        return state.MoveToOuterDisposeScope();
    }

    /// <summary>queries + output(mixed values), where there is a real token; queries elsewhere.</summary>
    /// <param name="queries">[b, n, c].</param>
    /// <param name="state">Of <see cref="State"/>.</param>
    /// <param name="output">Weight [c, c] and bias [c].</param>
    /// <returns>[b, n, c].</returns>
    public static Tensor Apply(Tensor queries, AttentionState state, (Tensor Weight, Tensor Bias) output)
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        // Probabilities are zero throughout where nothing is real, and so is their gradient.
        var mixed = matmul(state.Probabilities(), state.Value).transpose(1, 2).reshape(queries.shape);
        var added = LinearProduct.Of(mixed, output.Weight, output.Bias);
        if (state.Mask is not null)
            added = added * state.Mask.any(1).view(-1, 1, 1).to(added.dtype);
        return (queries + added).MoveToOuterDisposeScope();
    }
}
