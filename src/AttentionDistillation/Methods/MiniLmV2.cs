using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Methods;

/// <summary>Settings of MiniLMv2's objective.</summary>
public sealed record MiniLmV2Options
{
    /// <summary>Number of relation heads; must divide both models' widths. The paper uses more than attention heads: 48 for base teachers, 64 for large (†).</summary>
    public required int RelationHeads { get; init; }

    /// <summary>Weight of the query-query relation; 1 in the paper.</summary>
    public double QueryWeight { get; init; } = 1.0;

    /// <summary>Weight of the key-key relation; 1 in the paper.</summary>
    public double KeyWeight { get; init; } = 1.0;

    /// <summary>Weight of the value-value relation; 1 in the paper.</summary>
    public double ValueWeight { get; init; } = 1.0;

    /// <summary>The teacher's layer that is imitated, from 0; negative counts from the end. The paper takes an upper middle one of large teachers (†).</summary>
    public int TeacherLayer { get; init; } = -1;

    /// <summary>The student's layer that imitates; the paper takes the last.</summary>
    public int StudentLayer { get; init; } = -1;

    /// <summary>Reduction and form of the relations' KL.</summary>
    public AttentionRelationOptions Relation { get; init; } = AttentionRelationOptions.Default;
}

/// <summary>
/// MiniLMv2 (arXiv 2012.15828): the heads of queries, keys and values are concatenated and split again into relation heads, and the KL of the
/// Q-Q, K-K and V-V relations is minimised, so head counts of teacher and student are free too.
/// </summary>
/// <remarks>Symbols: the paper's A_r is the number of relation heads, d_r the width of one, L x L its relation.</remarks>
public sealed class MiniLmV2
{
    private readonly MiniLmV2Options options;

    /// <summary>Checks that the two models fit and prepares the objective.</summary>
    /// <exception cref="ArgumentException">A width does not split into the relation heads, a layer does not exist, or no term has weight.</exception>
    public MiniLmV2(TraceCapabilities teacher, TraceCapabilities student, MiniLmV2Options options)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        ArgumentNullException.ThrowIfNull(options);
        this.options = options;
        RequireWeights(options);
        foreach (var model in new[] { teacher, student })
            if (model.HiddenWidth > 0)
                AttentionRelations.RequireDivisible(model.HiddenWidth, options.RelationHeads);
        (TeacherRequest, StudentRequest) = (
            TraceRequest.Attention(options.TeacherLayer),
            TraceRequest.Attention(options.StudentLayer)
        );
        _ = new ForwardTrace(TeacherRequest, teacher);
        _ = new ForwardTrace(StudentRequest, student);
    }

    /// <summary>What to record of the teacher.</summary>
    public TraceRequest TeacherRequest { get; }

    /// <summary>What to record of the student.</summary>
    public TraceRequest StudentRequest { get; }

    /// <summary>The objective on two traces, for a Distiller. Terms <c>qq</c>, <c>kk</c> and <c>vv</c>.</summary>
    public LossTerms Loss(ForwardTrace teacher, ForwardTrace student, Batch batch)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        return Loss(teacher.Attention(options.TeacherLayer), student.Attention(options.StudentLayer), options);
    }

    /// <summary>The objective on two attention calls.</summary>
    /// <param name="teacher">[B, Ht, L, Dt]; receives no gradient.</param>
    /// <param name="student">[B, Hs, L, Ds]; its mask leaves padding out.</param>
    /// <param name="options">Settings.</param>
    /// <returns>Terms <c>qq</c>, <c>kk</c> and <c>vv</c>; a term of weight 0 is not computed.</returns>
    /// <exception cref="ArgumentException">A width does not split into the relation heads, or no term has weight.</exception>
    public static LossTerms Loss(AttentionState teacher, AttentionState student, MiniLmV2Options options)
    {
        ArgumentNullException.ThrowIfNull(options);
        RequireWeights(options);
        var terms = new LossTerms();
        Add("qq", RelationKind.QueryQuery, options.QueryWeight);
        Add("kk", RelationKind.KeyKey, options.KeyWeight);
        Add("vv", RelationKind.ValueValue, options.ValueWeight);
        return terms;

        void Add(string name, RelationKind kind, double weight)
        {
            if (weight == 0.0)
                return;
            var teacherVectors = AttentionRelations.SplitRelationHeads(
                AttentionRelations.Pair(teacher, kind).A.detach(),
                options.RelationHeads
            );
            var studentVectors = AttentionRelations.SplitRelationHeads(
                AttentionRelations.Pair(student, kind).A,
                options.RelationHeads
            );
            var relation = options.Relation with { IsCausal = student.IsCausal };
            terms.Add(
                name,
                AttentionRelations.KlDivergence(
                    teacherVectors,
                    teacherVectors,
                    studentVectors,
                    studentVectors,
                    student.Mask,
                    relation
                ),
                weight
            );
        }
    }

    private static void RequireWeights(MiniLmV2Options options)
    {
        double[] weights = [options.QueryWeight, options.KeyWeight, options.ValueWeight];
        if (weights.Any(weight => !(weight >= 0.0)) || weights.Sum() == 0.0)
            throw new ArgumentException(
                $"MiniLMv2 needs weights of at least 0, one of them above 0, but they are {string.Join(", ", weights)} (qq, kk, vv)."
            );
    }
}
