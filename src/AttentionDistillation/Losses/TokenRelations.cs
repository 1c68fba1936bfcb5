using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>How relations of tokens are taken from queries and keys.</summary>
public enum TokenRelationKind
{
    /// <summary>Q Kᵀ: entries grow with the head width.</summary>
    Raw,

    /// <summary>Q Kᵀ / sqrt(D).</summary>
    Scaled,

    /// <summary>The attention map, softmax of the scaled relation over the tokens that are left. It ignores what a whole row is shifted by.</summary>
    Softmax,
}

/// <summary>
/// Relations between the tokens of an image, where the student may see fewer of them than the teacher: rows AND columns of the teacher's relation are cut
/// to the visible tokens, or unlike keys would be compared.
/// </summary>
public static class TokenRelations
{
    /// <summary>The relation of queries and keys.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, L, D].</param>
    /// <param name="kind">Which relation.</param>
    /// <param name="visible">Places to which rows and columns are cut, int64 [B, M], ascending; null for all. A softmax is taken after the cut.</param>
    /// <param name="heads">
    /// Heads wanted, a divisor of H: neighbouring groups of heads are averaged, before a softmax; null for all heads.
    /// </param>
    /// <returns>[B, heads, M, M].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the number of heads does not divide H.</exception>
    public static Tensor Of(Tensor query, Tensor key, TokenRelationKind kind, Tensor? visible = null, long? heads = null)
    {
        Shapes.Require(query, "[B, H, L, D]");
        Shapes.RequireExact(key, query.shape);
        using var scope = NewDisposeScope();
        if (visible is not null)
        {
            // Rows of queries and of keys: cheaper than to cut the relation, and the same.
            query = TokenPlaces.At(query, visible);
            key = TokenPlaces.At(key, visible);
        }
        var relation = matmul(query, key.transpose(-2, -1));
        if (kind != TokenRelationKind.Raw)
            relation = relation / Math.Sqrt(query.size(-1));
        if (heads is { } wanted)
            relation = AverageHeads(relation, wanted);
        if (kind == TokenRelationKind.Softmax)
            relation = nn.functional.softmax(relation, -1);
        return relation.MoveToOuterDisposeScope();
    }

    /// <summary>Relations of fewer heads: neighbouring groups are averaged.</summary>
    /// <param name="relation">[B, H, M, M].</param>
    /// <param name="heads">Heads wanted, a divisor of H.</param>
    /// <exception cref="ArgumentException">The number of heads does not divide H.</exception>
    public static Tensor AverageHeads(Tensor relation, long heads)
    {
        Shapes.Require(relation, "[B, H, M, M]");
        if (heads < 1 || relation.size(1) % heads != 0)
            throw new ArgumentException(
                $"The student's heads must divide the teacher's, but there are {heads} and {relation.size(1)}. Choose a layer or a student with a divisor of {relation.size(1)}.",
                nameof(heads)
            );
        if (heads == relation.size(1))
            return relation.alias();
        using var scope = NewDisposeScope();
        return relation
            .view(relation.size(0), heads, -1, relation.size(2), relation.size(3))
            .mean([2L])
            .MoveToOuterDisposeScope();
    }
}
