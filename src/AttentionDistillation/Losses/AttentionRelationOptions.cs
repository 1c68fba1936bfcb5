using AttentionDistillation.Tensors;

namespace AttentionDistillation.Losses;

/// <summary>How an attention relation's KL is computed. All forms give the same value and gradient.</summary>
public enum RelationForm
{
    /// <summary>
    /// By device, dtype, width and size: on CUDA in half precision <see cref="Fused"/>; else <see cref="Dense"/> for short sequences, and
    /// <see cref="Blockwise"/> where maps would be large.
    /// </summary>
    Auto,

    /// <summary>The definition: both maps are built, memory grows with L x S. The truth that the other forms must match.</summary>
    Dense,

    /// <summary>By the definition, a block of rows at a time: no more than a block of each map exists, memory grows with L + S.</summary>
    Blockwise,

    /// <summary>
    /// By kernels: maps exist nowhere, memory grows with L + S. On CUDA in bfloat16 and float16 kernels of our own for heads up to 128 wide, and
    /// libtorch's attention kernels for wider ones; on the CPU libtorch's. Block-wise where no kernel serves the call.
    /// </summary>
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
