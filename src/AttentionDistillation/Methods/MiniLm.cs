using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Methods;

/// <summary>Settings of MiniLM's objective.</summary>
public sealed record MiniLmOptions
{
    /// <summary>Weight of the attention term L_AT; the paper uses 1.</summary>
    public double AttentionWeight { get; init; } = 1.0;

    /// <summary>Weight of the value relation term L_VR; the paper uses 1, and 0 in its ablation.</summary>
    public double ValueWeight { get; init; } = 1.0;

    /// <summary>The teacher's layer that is imitated, from 0; negative counts from the end. The paper takes the last.</summary>
    public int TeacherLayer { get; init; } = -1;

    /// <summary>The student's layer that imitates; the paper takes the last.</summary>
    public int StudentLayer { get; init; } = -1;

    /// <summary>Reduction and form of the relations' KL.</summary>
    public AttentionRelationOptions Relation { get; init; } = AttentionRelationOptions.Default;
}

/// <summary>
/// MiniLM (arXiv 2002.10957): the student's last layer imitates the teacher's last self-attention behaviour and nothing else, so depth and width
/// are free. L = L_AT + L_VR, with L_AT the KL of the attention maps (softmax(QKᵀ/√D)) and L_VR the KL of the value relations (softmax(VVᵀ/√D)).
/// </summary>
/// <remarks>Symbols: the paper's A_h is the number of heads H, |x| the length L, d_k the head width D, d_h the hidden width C.</remarks>
public sealed class MiniLm
{
    private readonly MiniLmOptions options;

    /// <summary>Checks that the two models fit and prepares the objective.</summary>
    /// <param name="teacher">What the teacher is.</param>
    /// <param name="student">What the student is.</param>
    /// <param name="options">Settings; null for the paper's.</param>
    /// <exception cref="ArgumentException">Head counts differ, a layer does not exist, or no term has weight.</exception>
    public MiniLm(TraceCapabilities teacher, TraceCapabilities student, MiniLmOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        this.options = options ?? new MiniLmOptions();
        RequireWeights(this.options);
        if (teacher.Heads != student.Heads && teacher.Heads > 0 && student.Heads > 0)
            throw new ArgumentException(
                $"MiniLM compares head by head, but {teacher.Model} has {teacher.Heads} heads and {student.Model} {student.Heads}. "
                    + $"Give the student {teacher.Heads} heads, or use MiniLmV2, whose relation heads do not depend on them."
            );
        (TeacherRequest, StudentRequest) = (
            TraceRequest.Attention(this.options.TeacherLayer),
            TraceRequest.Attention(this.options.StudentLayer)
        );
        _ = new ForwardTrace(TeacherRequest, teacher);
        _ = new ForwardTrace(StudentRequest, student);
    }

    /// <summary>What to record of the teacher.</summary>
    public TraceRequest TeacherRequest { get; }

    /// <summary>What to record of the student.</summary>
    public TraceRequest StudentRequest { get; }

    /// <summary>The objective on two traces, for a Distiller. Terms <c>attention</c> and <c>value</c>.</summary>
    public LossTerms Loss(ForwardTrace teacher, ForwardTrace student, Batch batch)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        return Loss(teacher.Attention(options.TeacherLayer), student.Attention(options.StudentLayer), options);
    }

    /// <summary>The objective on two attention calls.</summary>
    /// <param name="teacher">[B, H, L, Dt] each; receives no gradient.</param>
    /// <param name="student">[B, H, L, Ds] each, same H; its mask leaves padding out.</param>
    /// <param name="options">Settings; null for the paper's.</param>
    /// <returns>Terms <c>attention</c> and <c>value</c>; a term of weight 0 is not computed.</returns>
    /// <exception cref="ArgumentException">The calls do not fit together, or no term has weight.</exception>
    public static LossTerms Loss(AttentionState teacher, AttentionState student, MiniLmOptions? options = null)
    {
        options ??= new MiniLmOptions();
        RequireWeights(options);
        var terms = new LossTerms();
        if (options.AttentionWeight != 0.0)
            terms.Add(
                "attention",
                AttentionRelations.KlDivergence(teacher, student, RelationKind.QueryKey, options.Relation),
                options.AttentionWeight
            );
        if (options.ValueWeight != 0.0)
            terms.Add(
                "value",
                AttentionRelations.KlDivergence(teacher, student, RelationKind.ValueValue, options.Relation),
                options.ValueWeight
            );
        return terms;
    }

    private static void RequireWeights(MiniLmOptions options)
    {
        if (
            !(options.AttentionWeight >= 0.0 && options.ValueWeight >= 0.0 && options.AttentionWeight + options.ValueWeight > 0.0)
        )
            throw new ArgumentException(
                $"MiniLM needs weights of at least 0, one of them above 0, but they are {options.AttentionWeight} (attention) and {options.ValueWeight} (value)."
            );
    }
}
