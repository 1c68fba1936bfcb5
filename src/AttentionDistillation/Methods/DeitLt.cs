using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How class frequencies fall in a long-tailed set.</summary>
public enum LongTailKind
{
    /// <summary>By a constant factor from class to class.</summary>
    Exponential,

    /// <summary>The first half of the classes is frequent, the second half rare.</summary>
    Step,
}

/// <summary>
/// DeiT-LT (arXiv 2404.02900, CVPR 2024): a vision transformer with a class token that learns from labels and a distillation token that learns a frozen CNN's
/// hard predictions on the same strongly mixed images; late in training the distillation loss is weighed towards rare classes (deferred re-weighting).
/// </summary>
/// <remarks>
/// L = (1 - α) softCE(z_cls, target) + α CE(z_dist, argmax teacher), from the deferred stage on Σ w_ŷ CE / Σ w_ŷ with the weight of the teacher's label ŷ.
/// The class token stays unweighted. z are logits [B, V]. LDAM and weights by frequency are in <see cref="ClassBalance"/>.
/// </remarks>
public static class DeitLt
{
    /// <summary>The term of the labels.</summary>
    public const string LabelTerm = "base";

    /// <summary>The term of the teacher.</summary>
    public const string DistillationTerm = "distil";

    /// <summary>Images of each class, from the most frequent: int(largest ratio^(c / (V - 1))), or largest and int(largest ratio) in two halves.</summary>
    /// <param name="largest">Images of the most frequent class.</param>
    /// <param name="classes">V, two or more.</param>
    /// <param name="ratio">ρ, the smallest class over the largest, in (0, 1]; papers often quote 1/ρ.</param>
    /// <param name="kind">How frequencies fall.</param>
    /// <exception cref="ArgumentException">A number is out of range.</exception>
    public static int[] LongTailCounts(int largest, int classes, double ratio, LongTailKind kind = LongTailKind.Exponential)
    {
        if (largest < 1 || classes < 2 || ratio is not (> 0 and <= 1))
            throw new ArgumentException(
                $"A long tail needs 1 image or more, 2 classes or more and a ratio in (0, 1] (smallest over largest), but was given {largest}, {classes} and {ratio}."
            );
        return
        [
            .. Enumerable
                .Range(0, classes)
                .Select(label =>
                    kind == LongTailKind.Step
                        ? (label < classes / 2 ? largest : (int)(largest * ratio))
                        : (int)(largest * Math.Pow(ratio, label / (classes - 1.0)))
                ),
        ];
    }

    /// <summary>The loss with hard distillation.</summary>
    /// <param name="classLogits">[B, V] of the class token.</param>
    /// <param name="distillationLogits">[B, V] of the distillation token.</param>
    /// <param name="targets">[B, V], mixed and smoothed or one-hot; receives no gradient.</param>
    /// <param name="teacherLogits">[B, V] of the teacher in evaluation mode, on the student's own (mixed) images; receives no gradient.</param>
    /// <param name="classWeights">[V] in the deferred stage; null before it.</param>
    /// <param name="alpha">α, the teacher's share.</param>
    /// <param name="weighsClassToken">Whether the class token's loss is weighed too, by the class of its largest target; the paper leaves it.</param>
    /// <returns>The terms <c>base</c> and <c>distil</c>, and the teacher's labels int64 [B].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or α is not between 0 and 1.</exception>
    public static (LossTerms Terms, Tensor TeacherLabels) Loss(
        Tensor classLogits,
        Tensor distillationLogits,
        Tensor targets,
        Tensor teacherLogits,
        Tensor? classWeights,
        double alpha = 0.5,
        bool weighsClassToken = false
    )
    {
        Check(classLogits, distillationLogits, teacherLogits, alpha);
        var labels = Labels(teacherLogits);
        var terms = new LossTerms()
            .Add(
                LabelTerm,
                ClassBalance.SoftCrossEntropy(classLogits, targets, weighsClassToken ? classWeights : null),
                1 - alpha
            )
            .Add(DistillationTerm, ClassBalance.CrossEntropy(distillationLogits, labels, classWeights), alpha);
        return (terms, labels);
    }

    /// <summary>
    /// DeiT's soft variant, for the ablation: (1 - α) softCE(z_cls, target) + α T² KL(teacher || student) averaged over images and classes.
    /// </summary>
    /// <param name="classLogits">[B, V] of the class token.</param>
    /// <param name="distillationLogits">[B, V] of the distillation token.</param>
    /// <param name="targets">[B, V].</param>
    /// <param name="teacherLogits">[B, V]; receives no gradient.</param>
    /// <param name="alpha">α, the teacher's share.</param>
    /// <param name="temperature">T.</param>
    /// <returns>The terms <c>base</c> and <c>distil</c> (T² included).</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is out of range.</exception>
    public static LossTerms SoftLoss(
        Tensor classLogits,
        Tensor distillationLogits,
        Tensor targets,
        Tensor teacherLogits,
        double alpha = 0.5,
        double temperature = 3.0
    )
    {
        Check(classLogits, distillationLogits, teacherLogits, alpha);
        var options = new DivergenceOptions { Temperature = temperature, Reduction = DivergenceReduction.Elements };
        return new LossTerms()
            .Add(LabelTerm, ClassBalance.SoftCrossEntropy(classLogits, targets), 1 - alpha)
            .Add(DistillationTerm, Divergences.KlDivergence(teacherLogits, distillationLogits, null, options), alpha);
    }

    /// <summary>Expert diversity: 1 - the mean cosine of the two final tokens; 0 when the distillation token has become the class token.</summary>
    /// <param name="classTokens">[N, C], after the last norm.</param>
    /// <param name="distillationTokens">[N, C].</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static double ExpertDiversity(Tensor classTokens, Tensor distillationTokens)
    {
        using var scope = NewDisposeScope();
        var cosines = CosineLosses.Similarity(
            classTokens.detach().to(ScalarType.Float64),
            distillationTokens.detach().to(ScalarType.Float64)
        );
        return 1 - cosines.mean().item<double>();
    }

    private static Tensor Labels(Tensor teacherLogits)
    {
        using var guard = no_grad();
        return teacherLogits.argmax(-1);
    }

    private static void Check(Tensor classLogits, Tensor distillationLogits, Tensor teacherLogits, double alpha)
    {
        Shapes.Require(classLogits, "[B, V]");
        Shapes.RequireExact(distillationLogits, classLogits.shape);
        Shapes.RequireExact(teacherLogits, classLogits.shape);
        if (alpha is not (>= 0 and <= 1))
            throw new ArgumentException($"Alpha must be between 0 and 1, but is {alpha}.", nameof(alpha));
    }
}
