using AttentionDistillation.Tensors;

namespace AttentionDistillation.Losses;

/// <summary>How an attention relation's KL is computed. All forms give the same value and gradient.</summary>
public enum RelationForm
{
    /// <summary>
    /// By size: <see cref="Dense"/> for short sequences; where maps would be large <see cref="Fused"/>, or <see cref="Blockwise"/> where no
    /// attention kernel serves the call.
    /// </summary>
    Auto,

    /// <summary>The definition: both maps are built, memory grows with L x S. The truth that the other forms must match.</summary>
    Dense,

    /// <summary>By attention outputs and log-sum-exps: no more than a block of rows of a map exists at a time, memory grows with L + S.</summary>
    Blockwise,

    /// <summary>By attention kernels: as <see cref="Blockwise"/>, but maps exist nowhere. Block-wise where no kernel serves the call.</summary>
    Fused,
}

/// <summary>Settings of an attention relation's KL.</summary>
public sealed record AttentionRelationOptions
{
    /// <summary>The settings of the MiniLM papers.</summary>
    public static AttentionRelationOptions Default { get; } = new();

    /// <summary>How rows become one number.</summary>
    public RowReduction Reduction { get; init; } = RowReduction.Tokens;

    /// <summary>True when query i sees only keys up to i + S - L, in both models.</summary>
    public bool IsCausal { get; init; }

    /// <summary>Factor on the teacher's scores; null means 1 / sqrt(teacher's D).</summary>
    public double? TeacherScale { get; init; }

    /// <summary>Factor on the student's scores; null means 1 / sqrt(student's D).</summary>
    public double? StudentScale { get; init; }

    /// <summary>Which queries count, where that is not the key mask itself (cross attention).</summary>
    public TorchSharp.torch.Tensor? QueryMask { get; init; }

    /// <summary>How it is computed.</summary>
    public RelationForm Form { get; init; } = RelationForm.Auto;
}
