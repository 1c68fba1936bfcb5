using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Which two sets of vectors of an attention call are related.</summary>
public enum RelationKind
{
    /// <summary>Queries x keys: the attention map itself.</summary>
    QueryKey,

    /// <summary>Queries x queries.</summary>
    QueryQuery,

    /// <summary>Keys x keys.</summary>
    KeyKey,

    /// <summary>Values x values.</summary>
    ValueValue,
}

/// <summary>
/// Attention relations (MiniLM, arXiv 2002.10957; MiniLMv2, arXiv 2012.15828). A relation of a and b [B, H, L, D] is the softmax over b's
/// positions of scale a bᵀ; the loss is KL(teacher || student) of each query's row, in nats, averaged over the rows that count. Relations are
/// L x L whatever the head width, so teacher and student may have different widths.
/// </summary>
/// <remarks>The teacher's tensors receive no gradient. Padded keys are never seen; padded queries and queries that see no key never count.</remarks>
public static class AttentionRelations
{
    /// <summary>Maps of more elements than this (B x H x L x S) are not built when the form is chosen by size; there other forms are faster.</summary>
    internal const long LargestDenseMap = 1L << 24;

    /// <summary>The same on the CPU, where blocks that stay in the cache win earlier.</summary>
    internal const long LargestDenseMapOnCpu = 1L << 20;

    /// <summary>Mean KL(teacher || student) of a relation.</summary>
    /// <param name="teacherQuery">[B, H, L, Dt].</param>
    /// <param name="teacherKey">[B, H, S, Dt], or fewer heads that divide H (grouped queries).</param>
    /// <param name="studentQuery">[B, H, L, Ds].</param>
    /// <param name="studentKey">[B, H, S, Ds], or fewer heads that divide H.</param>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded. Where L = S and no query mask is given it masks the queries too.</param>
    /// <param name="options">Reduction, causality, scales, form; null for the papers' settings.</param>
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
        var relation = Inputs(teacherQuery, teacherKey, studentQuery, studentKey, mask, options);
        var valid = ValidRows(relation, options);
        if (IsDense(relation, options))
            return MaskedReductions.Mean(DenseRelation.KlRows(relation), valid, options.Reduction).MoveToOuterDisposeScope();

        // The mean's weights are known now, so value and gradients come out of one pass.
        var sizes = empty(relation.StudentQuery.shape[..3], dtype: relation.Accumulator, device: relation.StudentQuery.device);
        var weights = MaskedReductions.RowWeights(valid, sizes, options.Reduction);
        bool learns = is_grad_enabled() && (relation.StudentQuery.requires_grad || relation.StudentKey.requires_grad);
        var (rows, queryGradient, keyGradient) = RowsAndGradients(relation, options, learns ? weights : null, valid is not null);
        var value = MaskedReductions.Mean(rows, valid, options.Reduction);
        return (
            learns
                ? GivenGradients.Attach(value, [(relation.StudentQuery, queryGradient!), (relation.StudentKey, keyGradient!)])
                : value
        ).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// KL(teacher || student) of every query's row, zero at rows that do not count; to look at, no gradient is recorded. Arguments as in
    /// the mean of the rows, <see cref="KlDivergence(Tensor, Tensor, Tensor, Tensor, Tensor?, AttentionRelationOptions?)"/>.
    /// </summary>
    /// <returns>[B, H, L], float32 or float64.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit; the message gives them.</exception>
    public static Tensor KlRows(
        Tensor teacherQuery,
        Tensor teacherKey,
        Tensor studentQuery,
        Tensor studentKey,
        Tensor? mask,
        AttentionRelationOptions? options = null
    )
    {
        options ??= AttentionRelationOptions.Default;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var relation = Inputs(teacherQuery, teacherKey, studentQuery, studentKey, mask, options);
        var rows = IsDense(relation, options)
            ? DenseRelation.KlRows(relation)
            : RowsAndGradients(relation, options, null, false).Rows;
        if (ValidRows(relation, options) is { } valid)
            rows = rows.masked_fill(valid.unsqueeze(1).logical_not(), 0.0);
        return rows.MoveToOuterDisposeScope();
    }

    /// <summary>The checked inputs of a relation: teacher detached, grouped heads repeated, scales filled in.</summary>
    internal static RelationInputs Inputs(
        Tensor teacherQuery,
        Tensor teacherKey,
        Tensor studentQuery,
        Tensor studentKey,
        Tensor? mask,
        AttentionRelationOptions options
    )
    {
        Check(teacherQuery, teacherKey, studentQuery, studentKey, mask, options);
        long heads = studentQuery.size(1);
        return new RelationInputs(
            teacherQuery.detach(),
            AttentionMask.RepeatHeads(teacherKey.detach(), heads),
            studentQuery,
            AttentionMask.RepeatHeads(studentKey, heads),
            mask,
            options.IsCausal,
            options.TeacherScale ?? 1.0 / Math.Sqrt(teacherQuery.size(3)),
            options.StudentScale ?? 1.0 / Math.Sqrt(studentQuery.size(3))
        );
    }

    /// <summary>Mean KL(teacher || student) of a relation of two recorded attention calls.</summary>
    /// <param name="teacher">The teacher's call.</param>
    /// <param name="student">The student's call: same batch, heads and lengths, any width.</param>
    /// <param name="kind">What is related to what. For <see cref="RelationKind.QueryKey"/> each call's own scale is used.</param>
    /// <param name="options">Settings; causality is taken from the student's call.</param>
    /// <returns>A scalar, differentiable in the student's tensors.</returns>
    /// <exception cref="ArgumentException">The calls do not fit together.</exception>
    public static Tensor KlDivergence(
        AttentionState teacher,
        AttentionState student,
        RelationKind kind,
        AttentionRelationOptions? options = null
    )
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        options ??= AttentionRelationOptions.Default;
        if (kind == RelationKind.QueryKey)
        {
            if (!teacher.IsPlain || !student.IsPlain)
                throw new ArgumentException(
                    "An attention call with a position bias or a sliding window has no query-key relation in terms of queries and keys alone. Relate queries to queries, keys to keys or values to values."
                );
            options = options with
            {
                TeacherScale = options.TeacherScale ?? teacher.Scale,
                StudentScale = options.StudentScale ?? student.Scale,
            };
        }
        var (teacherA, teacherB) = Pair(teacher, kind);
        var (studentA, studentB) = Pair(student, kind);
        return KlDivergence(teacherA, teacherB, studentA, studentB, student.Mask, options with { IsCausal = student.IsCausal });
    }

    /// <summary>
    /// Concatenates all heads and splits them again into relation heads (MiniLMv2): contiguous chunks of features, so that models with
    /// different head counts can be compared.
    /// </summary>
    /// <param name="heads">[B, H, L, D].</param>
    /// <param name="relationHeads">Number of relation heads R; must divide H x D.</param>
    /// <returns>[B, R, L, H x D / R].</returns>
    /// <exception cref="ArgumentException">The width is not divisible; the message lists the counts that would do.</exception>
    public static Tensor SplitRelationHeads(Tensor heads, int relationHeads)
    {
        Shapes.Require(heads, "[B, H, L, D]");
        long width = heads.size(1) * heads.size(3);
        RequireDivisible(width, relationHeads);
        using var scope = NewDisposeScope();
        return heads
            .transpose(1, 2)
            .reshape(heads.size(0), heads.size(2), relationHeads, width / relationHeads)
            .transpose(1, 2)
            .MoveToOuterDisposeScope();
    }

    /// <summary>Checks that a width splits into relation heads.</summary>
    /// <exception cref="ArgumentException">It does not; the message lists the counts that would do.</exception>
    internal static void RequireDivisible(long width, int relationHeads)
    {
        if (relationHeads < 1 || width % relationHeads != 0)
            throw new ArgumentException(
                $"A width of {width} does not split into {relationHeads} relation heads. Use a divisor of {width}: "
                    + string.Join(", ", Enumerable.Range(1, (int)Math.Min(width, 128)).Where(count => width % count == 0))
                    + "."
            );
    }

    /// <summary>The relation itself: softmax over b's positions of scale a bᵀ, [B, H, L, S]; for looking at, not for training.</summary>
    public static Tensor Distribution(AttentionState state, RelationKind kind)
    {
        ArgumentNullException.ThrowIfNull(state);
        if (kind == RelationKind.QueryKey)
            return state.Probabilities();
        var (a, b) = Pair(state, kind);
        return new AttentionState(a, b, b, state.Mask, state.IsCausal).Probabilities();
    }

    /// <summary>The two sets of vectors that a kind relates.</summary>
    internal static (Tensor A, Tensor B) Pair(AttentionState state, RelationKind kind) =>
        kind switch
        {
            RelationKind.QueryKey => (state.Query, state.Key),
            RelationKind.QueryQuery => (state.Query, state.Query),
            RelationKind.KeyKey => (state.Key, state.Key),
            RelationKind.ValueValue => (state.Value, state.Value),
            _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "Unknown relation."),
        };

    private static bool IsDense(RelationInputs relation, AttentionRelationOptions options)
    {
        long mapSize = relation.StudentQuery.size(0) * relation.StudentQuery.size(1) * relation.Queries * relation.Keys;
        long largest = relation.StudentQuery.device_type == DeviceType.CPU ? LargestDenseMapOnCpu : LargestDenseMap;
        return options.Form == RelationForm.Dense
            || (options.Form == RelationForm.Auto && mapSize <= largest && !TiledRelation.Serves(relation));
    }

    private static (Tensor Rows, Tensor? QueryGradient, Tensor? KeyGradient) RowsAndGradients(
        RelationInputs relation,
        AttentionRelationOptions options,
        Tensor? weights,
        bool someDoNotCount
    )
    {
        // On the CPU blocks in the cache need four matrix products where kernels need ten, so kernels run there only when asked for.
        bool kernels =
            options.Form == RelationForm.Fused
            || (options.Form == RelationForm.Auto && relation.StudentQuery.device_type != DeviceType.CPU);
        if (kernels && TiledRelation.Serves(relation))
        {
            var tiled = TiledRelation.Compute(relation, weights, someDoNotCount);
            return (tiled.Rows, tiled.QueryGradient, tiled.KeyGradient);
        }
        if (kernels && FusedRelation.Serves(relation))
        {
            var fused = FusedRelation.Compute(relation, weights);
            return (fused.Rows, fused.QueryGradient, fused.KeyGradient);
        }
        var blocks = BlockwiseRelation.Compute(relation, weights);
        return (blocks.Rows, blocks.QueryGradient, blocks.KeyGradient);
    }

    // Which queries count, bool [B, L]: real ones that see a key at all.
    internal static Tensor? ValidRows(RelationInputs relation, AttentionRelationOptions options) =>
        AttentionMask.CountedQueries(relation.Mask, options.QueryMask, relation.IsCausal, relation.StudentQuery, relation.Keys);

    private static void Check(Tensor tq, Tensor tk, Tensor sq, Tensor sk, Tensor? mask, AttentionRelationOptions options)
    {
        foreach (
            var (tensor, name) in new[] { (tq, "teacherQuery"), (tk, "teacherKey"), (sq, "studentQuery"), (sk, "studentKey") }
        )
            Shapes.Require(tensor, "[B, H, L, D]", name);
        if (tq.size(3) != tk.size(3) || sq.size(3) != sk.size(3))
            throw new ArgumentException(
                $"Queries and keys of one model must have the same width, but widths are {tq.size(3)} and {tk.size(3)} (teacher), {sq.size(3)} and {sk.size(3)} (student)."
            );
        if (
            tq.size(0) != sq.size(0)
            || tq.size(2) != sq.size(2)
            || tk.size(2) != sk.size(2)
            || tk.size(0) != tq.size(0)
            || sk.size(0) != sq.size(0)
        )
            throw new ArgumentException(
                $"Teacher and student must agree in batch and lengths, but are {Shapes.Describe(tq)} x {Shapes.Describe(tk)} and {Shapes.Describe(sq)} x {Shapes.Describe(sk)}."
            );
        if (tq.size(1) != sq.size(1) || tq.size(1) % tk.size(1) != 0 || sq.size(1) % sk.size(1) != 0)
            throw new ArgumentException(
                $"Teacher and student need the same number of heads, but have {tq.size(1)} and {sq.size(1)} (keys {tk.size(1)} and {sk.size(1)}). "
                    + "Re-split both with SplitRelationHeads (MiniLMv2), or average their heads."
            );
        if (mask is not null)
            Shapes.RequireExact(mask, [sk.size(0), sk.size(2)], nameof(mask));
        if (options.QueryMask is { } queryMask)
            Shapes.RequireExact(queryMask, [sq.size(0), sq.size(2)], "QueryMask");
    }
}
