using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// DeiT-LT: a vision transformer trained from nothing on long-tailed data with two tokens. The class token learns from the labels, the distillation token
/// from the hard predictions of a frozen convolutional net on the SAME strongly mixed images; late in training the distillation loss counts rare classes
/// more (deferred re-weighting). Their logits are averaged at inference.
/// </summary>
/// <remarks>DeiT-LT, arXiv 2404.02900; val-iisc/DeiT-LT @ bc36970, losses.py. Logits are [n, C].</remarks>
public static class DeitLt
{
    /// <summary>
    /// (1 - α) CE(class head, target) + α CE(distillation head, argmax of the teacher); the second is a mean over the batch weighted by the TEACHER's
    /// class where there are weights. Terms <c>labels</c> and <c>distillation</c>, weighted.
    /// </summary>
    /// <param name="classLogits">Of the class token.</param>
    /// <param name="distillationLogits">Of the distillation token.</param>
    /// <param name="target">Soft labels [n, C], rows sum to one, or int64 [n].</param>
    /// <param name="teacherLogits">Of the teacher on the same images; receives no gradient.</param>
    /// <param name="weights">[C], from the epoch of deferred re-weighting on; null before it.</param>
    /// <param name="alpha">α.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or α is not between 0 and 1.</exception>
    public static LossTerms Loss(
        Tensor classLogits,
        Tensor distillationLogits,
        Tensor target,
        Tensor teacherLogits,
        Tensor? weights = null,
        double alpha = 0.5
    )
    {
        Check(classLogits, distillationLogits, teacherLogits, alpha);
        var hard = HardLabels(teacherLogits);
        return new LossTerms()
            .Add("labels", CrossEntropy(classLogits, target), 1 - alpha)
            .Add("distillation", ClassBalance.WeightedCrossEntropy(distillationLogits, hard, weights), alpha);
    }

    /// <summary>
    /// The soft variant of DeiT: (1 - α) CE(class head, target) + α τ² / (n C) Σ KL(teacher || distillation head). Note the division by the number of
    /// classes, too, as DeiT's code has it.
    /// </summary>
    /// <param name="classLogits">Of the class token.</param>
    /// <param name="distillationLogits">Of the distillation token.</param>
    /// <param name="target">Soft labels [n, C], or int64 [n].</param>
    /// <param name="teacherLogits">Of the teacher; receives no gradient.</param>
    /// <param name="alpha">α.</param>
    /// <param name="temperature">τ, above 0.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is out of range.</exception>
    public static LossTerms SoftLoss(
        Tensor classLogits,
        Tensor distillationLogits,
        Tensor target,
        Tensor teacherLogits,
        double alpha,
        double temperature
    )
    {
        Check(classLogits, distillationLogits, teacherLogits, alpha);
        var divergence = Divergences.KlDivergence(teacherLogits, distillationLogits, null, temperature);
        return new LossTerms()
            .Add("labels", CrossEntropy(classLogits, target), 1 - alpha)
            .Add("distillation", divergence / classLogits.size(1), alpha);
    }

    /// <summary>The teacher's classes, int64 [n].</summary>
    public static Tensor HardLabels(Tensor teacherLogits)
    {
        Shapes.Require(teacherLogits, "[n, C]");
        return teacherLogits.detach().argmax(1);
    }

    private static Tensor CrossEntropy(Tensor logits, Tensor target)
    {
        if (target.dim() == 1)
            return nn.functional.cross_entropy(logits, target);
        Shapes.RequireExact(target, logits.shape);
        using var scope = NewDisposeScope();
        return (-(target * nn.functional.log_softmax(logits, 1)).sum(1L).mean()).MoveToOuterDisposeScope();
    }

    private static void Check(Tensor classLogits, Tensor distillationLogits, Tensor teacherLogits, double alpha)
    {
        Shapes.Require(classLogits, "[n, C]");
        Shapes.RequireExact(distillationLogits, classLogits.shape);
        Shapes.RequireExact(teacherLogits, classLogits.shape);
        if (!(alpha >= 0 && alpha <= 1))
            throw new ArgumentException($"Alpha is {alpha}. It must be between 0 and 1.", nameof(alpha));
    }
}
