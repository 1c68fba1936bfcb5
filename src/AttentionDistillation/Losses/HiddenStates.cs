using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Losses that compare hidden states position by position.</summary>
public static class HiddenStates
{
    /// <summary>Mean squared error of hidden states (TinyBERT, arXiv 1909.10351, equations 8 and 9), padding left out.</summary>
    /// <param name="teacher">[B, L, C]; receives no gradient.</param>
    /// <param name="student">[B, L, C]: already projected to the teacher's width where widths differ.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <returns>A scalar: mean over real positions and channels.</returns>
    /// <exception cref="ArgumentException">Shapes differ.</exception>
    public static Tensor MeanSquaredError(Tensor teacher, Tensor student, Tensor? mask)
    {
        Check(teacher, student);
        using var scope = NewDisposeScope();
        var type = student.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        return MaskedReductions
            .MeanOverPositions((student.to(type) - teacher.detach().to(type)).square(), mask)
            .MoveToOuterDisposeScope();
    }

    /// <summary>Mean of 1 - cosine similarity of hidden states (DistilBERT, arXiv 1910.01108, section 3), padding left out.</summary>
    /// <param name="teacher">[B, L, C]; receives no gradient.</param>
    /// <param name="student">[B, L, C].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <returns>A scalar in [0, 2].</returns>
    /// <exception cref="ArgumentException">Shapes differ.</exception>
    public static Tensor CosineDistance(Tensor teacher, Tensor student, Tensor? mask)
    {
        Check(teacher, student);
        using var scope = NewDisposeScope();
        var type = student.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var similarity = nn.functional.cosine_similarity(student.to(type), teacher.detach().to(type), -1);
        return MaskedReductions.MeanOverPositions((1.0 - similarity).unsqueeze(-1), mask).MoveToOuterDisposeScope();
    }

    private static void Check(Tensor teacher, Tensor student)
    {
        Shapes.Require(teacher, "[B, L, C]");
        Shapes.Require(student, "[B, L, C]");
        if (!teacher.shape.SequenceEqual(student.shape))
            throw new ArgumentException(
                $"Hidden states must have the same shape, but have {Shapes.Describe(teacher)} (teacher) and {Shapes.Describe(student)} (student). "
                    + "Where widths differ, project the student's to the teacher's first (a Linear layer trained with the student)."
            );
    }
}
