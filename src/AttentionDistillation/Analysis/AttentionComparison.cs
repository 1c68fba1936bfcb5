using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>
/// How far a student's attention is from its teacher's: KL(teacher || student) in nats. Where the numbers of heads differ, the maps of each are
/// averaged over heads first and the result has one head. Computed in float64, without gradients.
/// </summary>
public static class AttentionComparison
{
    /// <summary>KL of the attention maps per row, [B, H, L] (H = 1 when averaged over heads); NaN at rows that do not count.</summary>
    /// <param name="teacher">The teacher's attention call.</param>
    /// <param name="student">The student's, of the same batch and lengths.</param>
    /// <param name="queryMask">bool [B, L], true = real query; null when none is padded.</param>
    /// <exception cref="ArgumentException">Batch sizes or lengths differ.</exception>
    public static Tensor MapRows(AttentionState teacher, AttentionState student, Tensor? queryMask)
    {
        RequireAlike(teacher, student);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        return Rows(teacher.Scores(), student.Scores(), queryMask).MoveToOuterDisposeScope();
    }

    /// <summary>KL of the value relations softmax(V V^T / sqrt(D)) per row, [B, H, S] (MiniLM, equation 7); NaN at rows that do not count.</summary>
    /// <param name="teacher">The teacher's attention call.</param>
    /// <param name="student">The student's, of the same batch and lengths; the value width is free.</param>
    /// <param name="mask">bool [B, S], true = real token, for rows; keys are masked by the states' own masks.</param>
    /// <exception cref="ArgumentException">Batch sizes or lengths differ.</exception>
    public static Tensor ValueRelationRows(AttentionState teacher, AttentionState student, Tensor? mask)
    {
        RequireAlike(teacher, student);
        using var scope = NewDisposeScope();
        using var quiet = no_grad();
        return Rows(ValueScores(teacher), ValueScores(student), mask).MoveToOuterDisposeScope();
    }

    /// <summary>KL of the attention maps per head, [H]: the mean over all rows that count.</summary>
    /// <inheritdoc cref="MapRows"/>
    public static Tensor MapKl(AttentionState teacher, AttentionState student, Tensor? queryMask)
    {
        using var rows = MapRows(teacher, student, queryMask);
        return AttentionStatistics.PerHead(rows);
    }

    /// <summary>KL of the value relations per head, [H]: the mean over all rows that count.</summary>
    /// <inheritdoc cref="ValueRelationRows"/>
    public static Tensor ValueRelationKl(AttentionState teacher, AttentionState student, Tensor? mask)
    {
        using var rows = ValueRelationRows(teacher, student, mask);
        return AttentionStatistics.PerHead(rows);
    }

    /// <summary>KL of the attention maps per layer and head, [pairs, H].</summary>
    /// <param name="teacher">A trace with the teacher's layers.</param>
    /// <param name="student">A trace with the student's layers.</param>
    /// <param name="layers">Pairs of layers to compare (teacher's, student's), all with the same number of heads.</param>
    /// <param name="queryMask">bool [B, L], or null.</param>
    /// <exception cref="ArgumentException">There are no pairs, or lengths differ.</exception>
    /// <exception cref="InvalidOperationException">A layer was not recorded.</exception>
    public static Tensor ByLayer(
        ForwardTrace teacher,
        ForwardTrace student,
        IReadOnlyList<(int Teacher, int Student)> layers,
        Tensor? queryMask
    )
    {
        ArgumentNullException.ThrowIfNull(layers);
        if (layers.Count == 0)
            throw new ArgumentException("There are no pairs of layers to compare.", nameof(layers));
        using var scope = NewDisposeScope();
        return stack(layers.Select(pair => MapKl(teacher.Attention(pair.Teacher), student.Attention(pair.Student), queryMask)))
            .MoveToOuterDisposeScope();
    }

    private static Tensor ValueScores(AttentionState state)
    {
        var scores = matmul(state.Value, state.Value.transpose(-2, -1)).mul(1.0 / Math.Sqrt(state.Value.size(3)));
        return AttentionMask.Apply(scores, state.Mask, state.IsCausal);
    }

    private static Tensor Rows(Tensor teacherScores, Tensor studentScores, Tensor? queryMask)
    {
        if (queryMask is not null)
            Shapes.RequireExact(queryMask, [teacherScores.size(0), teacherScores.size(2)]);
        var empty = Empty(teacherScores).logical_or(Empty(studentScores));
        var (teacher, student) = (LogMap(teacherScores), LogMap(studentScores));
        if (teacher.size(1) != student.size(1))
        {
            (teacher, student) = (MeanOfHeads(teacher), MeanOfHeads(student));
        }
        // p log(p / q), which is 0 for p = 0 whatever q is.
        var terms = where(teacher.isneginf(), zeros_like(teacher), teacher.exp() * (teacher - student));
        // Of two equal rows rounding may leave a sum a little below 0.
        var rows = terms.sum(-1).clamp_min(0).masked_fill(empty, double.NaN);
        return queryMask is null ? rows : rows.masked_fill(queryMask.logical_not().unsqueeze(1), double.NaN);
    }

    // Rows in which nothing may be seen, [B, 1, L]: the same for all heads.
    private static Tensor Empty(Tensor scores) => scores.isneginf().all(-1).all(1, keepdim: true);

    private static Tensor LogMap(Tensor scores) => nn.functional.log_softmax(scores.to(ScalarType.Float64), -1);

    private static Tensor MeanOfHeads(Tensor logMap) => logMap.logsumexp(1, keepdim: true) - Math.Log(logMap.size(1));

    private static void RequireAlike(AttentionState teacher, AttentionState student)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        Shapes.RequireSame(teacher.Query, student.Query, 0, "batch size");
        Shapes.RequireSame(teacher.Query, student.Query, 2, "query length");
        Shapes.RequireSame(teacher.Key, student.Key, 2, "key length");
    }
}
