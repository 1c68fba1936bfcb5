using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// KL(teacher || student) where the teacher's attention is a softmax and the student's is linear: with positive feature maps φ the student's
/// row is P_s = φ(q)·φ(k) / Σ φ(q)·φ(k) over the visible keys (Katharopoulos et al. 2020, arXiv 2006.16236). Used to convert softmax
/// attention into linear attention (Hedgehog, arXiv 2402.04347; LAWCAT, arXiv 2509.18467).
/// </summary>
/// <remarks>The logarithm of an inner product does not factor, so the form without maps takes blocks of rows.</remarks>
public static class LinearAttentionRelation
{
    /// <summary>Products below this count as this: the smallest normal float32. Positive feature maps stay above it.</summary>
    public const double SmallestProduct = 1.17549435e-38;

    /// <summary>Mean KL over the rows that count.</summary>
    /// <param name="teacherQuery">[B, H, L, D]; receives no gradient.</param>
    /// <param name="teacherKey">[B, H, S, D], or fewer heads that divide H; receives no gradient.</param>
    /// <param name="queryFeatures">φ of the student's queries, [B, H, L, F], none negative.</param>
    /// <param name="keyFeatures">φ of the student's keys, [B, H, S, F], or fewer heads that divide H.</param>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded.</param>
    /// <param name="options">Reduction, causality, the teacher's scale, form; null for the defaults.</param>
    /// <returns>A scalar, differentiable in the features.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit; the message gives them.</exception>
    public static Tensor KlDivergence(
        Tensor teacherQuery,
        Tensor teacherKey,
        Tensor queryFeatures,
        Tensor keyFeatures,
        Tensor? mask,
        AttentionRelationOptions? options = null
    )
    {
        options ??= AttentionRelationOptions.Default;
        using var scope = NewDisposeScope();
        var relation = AttentionRelations.Inputs(teacherQuery, teacherKey, queryFeatures, keyFeatures, mask, options);
        var call = new RowBlocks.Call(
            [relation.TeacherQuery, relation.StudentQuery],
            [relation.TeacherKey, relation.StudentKey],
            mask,
            AttentionRelations.ValidRows(relation, options),
            options.IsCausal
        );
        return RowBlocks.Mean(call, queryFeatures.size(1), options.Reduction, options.Form, Rows).MoveToOuterDisposeScope();

        Tensor Rows(Tensor[] rows, Tensor[] keys, Tensor? allowed)
        {
            var teacher = RowBlocks.LogProbabilities(rows[0], keys[0], relation.TeacherScale, allowed);
            var products = matmul(rows[1], keys[1].transpose(-2, -1)).to(relation.Accumulator).clamp_min(SmallestProduct);
            if (allowed is not null)
                products = products.masked_fill(allowed.logical_not(), 0.0);
            var normaliser = products.sum(-1);
            // Where a key is hidden the teacher's probability is zero, whatever logarithm stands beside it.
            var logarithms = (allowed is null ? products : products.masked_fill(allowed.logical_not(), 1.0)).log();
            return (teacher.exp() * (teacher - logarithms)).sum(-1) + normaliser.log();
        }
    }
}
