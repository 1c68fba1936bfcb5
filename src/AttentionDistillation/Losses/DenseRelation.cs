using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>The checked inputs of a relation's KL: teacher detached, heads equal, scales given.</summary>
internal sealed record RelationInputs(
    Tensor TeacherQuery,
    Tensor TeacherKey,
    Tensor StudentQuery,
    Tensor StudentKey,
    Tensor? Mask,
    bool IsCausal,
    double TeacherScale,
    double StudentScale
)
{
    internal long Queries => StudentQuery.size(2);
    internal long Keys => StudentKey.size(2);

    /// <summary>Sums over keys are taken in float32 at least.</summary>
    internal ScalarType Accumulator => StudentQuery.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
}

/// <summary>The relation's KL by its definition: both maps are built. Every other form must match this one.</summary>
internal static class DenseRelation
{
    internal static Tensor KlRows(RelationInputs relation)
    {
        using var scope = NewDisposeScope();
        var allowed = Seen(relation);
        var teacher = LogProbabilities(
            relation.TeacherQuery,
            relation.TeacherKey,
            relation.TeacherScale,
            allowed,
            relation.Accumulator
        );
        var student = LogProbabilities(
            relation.StudentQuery,
            relation.StudentKey,
            relation.StudentScale,
            allowed,
            relation.Accumulator
        );
        var terms = teacher.exp() * (teacher - student);
        // Where a key is not seen both logarithms are -inf: the term is 0 by convention, and so is its gradient.
        if (allowed is not null)
            terms = where(allowed, terms, zeros_like(terms));
        return terms.sum(-1).MoveToOuterDisposeScope();
    }

    // A row that may see nothing is computed as if it saw everything (it never counts), so that no 0 / 0 enters the graph.
    private static Tensor? Seen(RelationInputs relation)
    {
        var allowed = AttentionMask.Allowed(
            relation.Mask,
            relation.IsCausal,
            relation.Queries,
            relation.Keys,
            relation.StudentQuery.device
        );
        return allowed?.logical_or(allowed.any(-1, true).logical_not());
    }

    private static Tensor LogProbabilities(Tensor query, Tensor key, double scale, Tensor? allowed, ScalarType accumulator)
    {
        var scores = matmul(query, key.transpose(-2, -1)).to(accumulator) * scale;
        if (allowed is not null)
            scores = scores.masked_fill(allowed.logical_not(), double.NegativeInfinity);
        return nn.functional.log_softmax(scores, -1);
    }
}
