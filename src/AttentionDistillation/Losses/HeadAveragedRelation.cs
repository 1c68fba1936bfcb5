using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// KL(teacher || student) of attention averaged over heads: the maps' mean is taken first, so that models with different numbers of heads
/// can be compared.
/// </summary>
/// <remarks>A mean of softmaxes has no form in attention outputs, so the form without maps takes blocks of rows.</remarks>
public static class HeadAveragedRelation
{
    /// <summary>Mean KL over the rows that count.</summary>
    /// <param name="teacherQuery">[B, Ht, L, Dt]; receives no gradient.</param>
    /// <param name="teacherKey">[B, Ht, S, Dt], or fewer heads that divide Ht; receives no gradient.</param>
    /// <param name="studentQuery">[B, Hs, L, Ds].</param>
    /// <param name="studentKey">[B, Hs, S, Ds], or fewer heads that divide Hs.</param>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded.</param>
    /// <param name="options">Reduction, causality, scales, form; null for the defaults.</param>
    /// <returns>A scalar, differentiable in the student's tensors.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit; the message gives them.</exception>
    public static Tensor KlDivergence(
        Tensor teacherQuery,
        Tensor teacherKey,
        Tensor studentQuery,
        Tensor studentKey,
        Tensor? mask,
        AttentionRelationOptions? options = null
    )
    {
        options ??= AttentionRelationOptions.Default;
        using var scope = NewDisposeScope();
        // Each model's own tensors are checked as a relation of theirs alone: only batch and lengths must agree between the two.
        var teacher = AttentionRelations.Inputs(
            teacherQuery,
            teacherKey,
            teacherQuery.detach(),
            teacherKey.detach(),
            mask,
            options
        );
        var student = AttentionRelations.Inputs(studentQuery, studentKey, studentQuery, studentKey, mask, options);
        Shapes.RequireSame(teacherQuery, studentQuery, 0, "batch size");
        Shapes.RequireSame(teacherQuery, studentQuery, 2, "query length");
        Shapes.RequireSame(teacherKey, studentKey, 2, "key length");
        var call = new RowBlocks.Call(
            [teacher.TeacherQuery, student.StudentQuery],
            [teacher.TeacherKey, student.StudentKey],
            mask,
            AttentionRelations.ValidRows(student, options),
            options.IsCausal
        );
        return RowBlocks
            .Mean(
                call,
                1,
                options.Reduction,
                options.Form,
                (rows, keys, allowed) =>
                {
                    var ofTeacher = Averaged(rows[0], keys[0], teacher.TeacherScale, allowed);
                    var ofStudent = Averaged(rows[1], keys[1], student.StudentScale, allowed);
                    return (ofTeacher.exp() * (ofTeacher - ofStudent)).sum(-1);
                }
            )
            .MoveToOuterDisposeScope();
    }

    // Logarithm of the mean map, [B, 1, rows, S].
    private static Tensor Averaged(Tensor query, Tensor key, double scale, Tensor? allowed) =>
        RowBlocks.LogProbabilities(query, key, scale, allowed).logsumexp(1, true) - Math.Log(query.size(1));
}
