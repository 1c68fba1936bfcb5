using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Where a paper and its authors' code disagree: which of the two to follow.</summary>
public enum Convention
{
    /// <summary>What the paper's formula says.</summary>
    Paper,

    /// <summary>What the authors' published code does.</summary>
    Code,
}

/// <summary>Losses that compare attention maps entry by entry (TinyBERT, arXiv 1909.10351, equation 7).</summary>
public static class AttentionMaps
{
    /// <summary>Scores at or below this are masked keys in the authors' code, which sets them to 0 on both sides (huawei-noah TinyBERT).</summary>
    public const double CodeMaskedScore = -100.0;

    /// <summary>Mean squared error of the scores before the softmax: TinyBERT fits the unnormalised matrices.</summary>
    /// <param name="teacher">The teacher's attention call; receives no gradient.</param>
    /// <param name="student">The student's call: same batch, heads and lengths, any width.</param>
    /// <param name="convention">
    /// <see cref="Convention.Paper"/>: mean over (real query, real key) pairs, padding never counts. <see cref="Convention.Code"/>: masked
    /// scores become 0 on both sides and the mean is over all L x S pairs, padded queries included, so the value depends on the padding.
    /// </param>
    /// <returns>A scalar, differentiable in the student.</returns>
    /// <exception cref="ArgumentException">The calls do not fit together.</exception>
    public static Tensor ScoresMeanSquaredError(
        AttentionState teacher,
        AttentionState student,
        Convention convention = Convention.Paper
    )
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        if (
            teacher.Heads != student.Heads
            || teacher.Query.size(2) != student.Query.size(2)
            || teacher.Key.size(2) != student.Key.size(2)
        )
            throw new ArgumentException(
                "Attention maps are compared entry by entry, so heads and lengths must agree, but queries are "
                    + $"{Shapes.Describe(teacher.Query)} and {Shapes.Describe(student.Query)}. Average the heads, or use attention relations."
            );
        using var scope = NewDisposeScope();
        var type = student.Query.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var (teacherScores, studentScores) = (teacher.Detach().Scores().to(type), student.Scores().to(type));
        if (convention == Convention.Code)
        {
            var (kept, keptByStudent) = (teacherScores > CodeMaskedScore, studentScores > CodeMaskedScore);
            teacherScores = where(kept, teacherScores, zeros_like(teacherScores));
            studentScores = where(keptByStudent, studentScores, zeros_like(studentScores));
            return nn.functional.mse_loss(studentScores, teacherScores).MoveToOuterDisposeScope();
        }
        var pairs = Pairs(student);
        if (pairs is null)
            return nn.functional.mse_loss(studentScores, teacherScores).MoveToOuterDisposeScope();
        var error = where(pairs, studentScores - teacherScores, zeros_like(studentScores)).square();
        var counted = pairs.expand(error.shape).sum().to(type).clamp_min(1.0);
        return (error.sum() / counted).MoveToOuterDisposeScope();
    }

    // Which (query, key) pairs are real on both sides, broadcastable to [B, H, L, S].
    private static Tensor? Pairs(AttentionState state)
    {
        long queries = state.Query.size(2),
            keys = state.Key.size(2);
        var allowed = AttentionMask.Allowed(state.Mask, state.IsCausal, queries, keys, state.Query.device);
        return state.Mask is not null && queries == keys ? allowed!.logical_and(state.Mask.unsqueeze(1).unsqueeze(-1)) : allowed;
    }
}
