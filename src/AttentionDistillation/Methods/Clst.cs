using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// ClST's signal knowledge distillation (SKD): a modulation classifier teaches light nets by softened targets beside the labels.
/// </summary>
/// <remarks>
/// "ClST: A Convolutional Transformer Framework for Automatic Modulation Recognition by Knowledge Distillation", IEEE Trans. Wireless Communications 23(7),
/// 2024 (arXiv 2312.17446). No equation was seen: the form is the field's usual one and α and τ are from memory (†).
/// </remarks>
public static class Clst
{
    /// <summary>The name of the softened term.</summary>
    public const string Soft = "soft";

    /// <summary>The name of the labels' term.</summary>
    public const string Hard = "hard";

    /// <summary>Weight of the softened term (†).</summary>
    public const double DefaultAlpha = 0.7;

    /// <summary>Temperature (†).</summary>
    public const double DefaultTemperature = 4.0;

    /// <summary>α τ² mean KL(teacher ‖ student) + (1 − α) mean cross-entropy.</summary>
    /// <param name="teacher">Logits [n, C], constant.</param>
    /// <param name="student">Logits [n, C].</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="alpha">α, 0 to 1.</param>
    /// <param name="temperature">τ.</param>
    /// <returns>The terms <see cref="Soft"/> (τ² KL) and <see cref="Hard"/>, unweighted, with their weights.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or α is not between 0 and 1.</exception>
    public static LossTerms Loss(
        Tensor teacher,
        Tensor student,
        Tensor labels,
        double alpha = DefaultAlpha,
        double temperature = DefaultTemperature
    )
    {
        Shapes.Require(student, "[n, C]");
        Shapes.RequireExact(teacher, student.shape);
        Shapes.RequireExact(labels, [student.size(0)]);
        if (!(alpha is >= 0 and <= 1))
            throw new ArgumentException(
                $"Alpha weighs the softened term against the labels' and must be 0 to 1, but is {alpha}.",
                nameof(alpha)
            );
        return new LossTerms()
            .Add(Soft, Divergences.KlDivergence(teacher.detach(), student, null, temperature), alpha)
            .Add(Hard, ClassBalance.CrossEntropy(student, labels, null), 1 - alpha);
    }
}
