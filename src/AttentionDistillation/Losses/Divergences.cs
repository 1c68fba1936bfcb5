using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Divergences between the class distributions of a teacher's and a student's logits.</summary>
/// <remarks>
/// Convention of this library: KL(teacher || student), natural logarithm, summed over the classes, averaged over the rows that count,
/// multiplied by T² when a temperature T is used (Hinton et al. 2015, arXiv 1503.02531, section 2), so that gradients keep their size.
/// </remarks>
public static class Divergences
{
    /// <summary>T² times the mean KL(teacher || student) at temperature T.</summary>
    /// <param name="teacherLogits">[..., V]; receives no gradient.</param>
    /// <param name="studentLogits">Same shape.</param>
    /// <param name="mask">bool [...] without the class axis, true = the row counts; null when all do.</param>
    /// <param name="temperature">T, above zero.</param>
    /// <returns>A scalar, differentiable in the student's logits.</returns>
    /// <exception cref="ArgumentException">Shapes differ, or the temperature is not positive.</exception>
    public static Tensor KlDivergence(Tensor teacherLogits, Tensor studentLogits, Tensor? mask, double temperature = 1.0)
    {
        ArgumentNullException.ThrowIfNull(teacherLogits);
        ArgumentNullException.ThrowIfNull(studentLogits);
        if (!teacherLogits.shape.SequenceEqual(studentLogits.shape))
            throw new ArgumentException(
                $"Teacher and student logits must have the same shape, but have {Shapes.Describe(teacherLogits)} and {Shapes.Describe(studentLogits)}. "
                    + "Models with different vocabularies cannot be compared class by class."
            );
        if (!(temperature > 0.0) || double.IsInfinity(temperature))
            throw new ArgumentException($"The temperature must be a positive number, but is {temperature}.", nameof(temperature));
        using var scope = NewDisposeScope();
        var type = studentLogits.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var teacher = nn.functional.log_softmax(teacherLogits.detach().to(type) / temperature, -1);
        var student = nn.functional.log_softmax(studentLogits.to(type) / temperature, -1);
        var terms = teacher.exp() * (teacher - student);
        // A class the teacher excludes (logit -inf) contributes nothing, whatever the student says.
        terms = where(teacher == double.NegativeInfinity, zeros_like(terms), terms);
        var rows = terms.sum(-1);
        if (mask is null)
            return (rows.mean() * (temperature * temperature)).MoveToOuterDisposeScope();
        Shapes.RequireExact(mask, rows.shape);
        var counted = mask.to(type);
        return (
            rows.masked_fill(mask.logical_not(), 0.0).sum() / counted.sum().clamp_min(1.0) * (temperature * temperature)
        ).MoveToOuterDisposeScope();
    }
}
