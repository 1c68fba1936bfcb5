using AttentionDistillation.Attention;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Matching of attention outputs ("context vectors"): what a query takes from the values, whatever map took it.</summary>
public static class AttentionContext
{
    /// <summary>An attention call's output with its heads side by side, before the output projection; differentiable in the call.</summary>
    /// <param name="state">The call.</param>
    /// <param name="form">Dense builds the map; every other form uses an attention kernel where one serves the call.</param>
    /// <returns>[B, L, H x width of the value].</returns>
    public static Tensor Output(AttentionState state, RelationForm form = RelationForm.Auto)
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        bool needsMap = !state.IsPlain || (state.IsCausal && state.Query.size(2) > state.Key.size(2));
        var heads =
            form == RelationForm.Dense || needsMap
                ? matmul(state.Probabilities(), AttentionMask.RepeatHeads(state.Value, state.Heads))
                : AttentionOperators.Differentiable(state.Query, state.Key, state.Value, state.Mask, state.IsCausal, state.Scale);
        return heads
            .transpose(1, 2)
            .reshape(heads.size(0), heads.size(2), heads.size(1) * heads.size(3))
            .MoveToOuterDisposeScope();
    }

    /// <summary>Mean squared error of the outputs, over the channels of the queries that count.</summary>
    /// <param name="teacher">The teacher's call; receives no gradient.</param>
    /// <param name="student">The student's call: same batch and query length.</param>
    /// <param name="projection">Maps the student's [B, L, C] to the teacher's width; null where the widths agree.</param>
    /// <param name="queryMask">bool [B, L], true = the query counts; null: the student's own mask where L = S, else all.</param>
    /// <param name="form">Dense builds the maps; every other form uses an attention kernel where one serves the call.</param>
    /// <returns>A scalar, differentiable in the student and the projection.</returns>
    /// <exception cref="ArgumentException">The outputs' shapes differ; the message gives them.</exception>
    public static Tensor MeanSquaredError(
        AttentionState teacher,
        AttentionState student,
        Func<Tensor, Tensor>? projection = null,
        Tensor? queryMask = null,
        RelationForm form = RelationForm.Auto
    )
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        using var scope = NewDisposeScope();
        Tensor wanted;
        using (no_grad())
            wanted = Output(teacher.Detach(), form);
        var given = Output(student, form);
        if (projection is not null)
            given = projection(given);
        if (!wanted.shape.SequenceEqual(given.shape))
            throw new ArgumentException(
                $"Attention outputs must agree in shape, but are {Shapes.Describe(wanted)} (teacher) and {Shapes.Describe(given)} (student). "
                    + "Where only the last axis differs, pass a projection, for example a Linear layer's call."
            );
        var type = given.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var counted = AttentionMask.CountedQueries(student.Mask, queryMask, student.IsCausal, student.Query, student.Key.size(2));
        return MaskedReductions.MeanOverPositions((given.to(type) - wanted.to(type)).square(), counted).MoveToOuterDisposeScope();
    }
}
