using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How instance features are pulled towards their descriptions.</summary>
public enum TextAlignmentKind
{
    /// <summary>1 minus the cosine with the matched description.</summary>
    Cosine,

    /// <summary>Cross-entropy of the matched description among all of the scene, over cosines divided by τ.</summary>
    Contrast,
}

/// <summary>
/// OmniScene's two teaching signals: a large vision-language model's captions for a small language model, and texts as semantic supervision of a driving
/// model's instances. The third idea, gated fusion, is <see cref="Models.Blocks.HierarchicalFusion"/>.
/// </summary>
/// <remarks>
/// "OmniScene: Attention-Augmented Multimodal 4D Scene Understanding for Autonomous Driving" (arXiv 2509.19973). No equation of the paper was seen: every
/// formula here is a reading of its description, not the paper's own (†).
/// </remarks>
public static class OmniScene
{
    /// <summary>The term of the answer's words.</summary>
    public const string Words = "words";

    /// <summary>The term of the teacher's distribution.</summary>
    public const string Distribution = "distribution";

    /// <summary>τ of the contrast.</summary>
    public const double ContrastTemperature = 0.1;

    /// <summary>
    /// Text supervision of instances: p = normalise(W f + b), t = normalise(text), cos = p · t, over the valid instances. 0 when none is valid.
    /// </summary>
    /// <param name="instances">f, [b, n, c].</param>
    /// <param name="text">Descriptions of a scene, [b, m, d]; constant.</param>
    /// <param name="match">int64 [b, n], which description is an instance's own.</param>
    /// <param name="valid">bool [b, n], true = the instance is matched; null when all are.</param>
    /// <param name="weight">W, [d, c].</param>
    /// <param name="bias">b, [d], or null.</param>
    /// <param name="kind">Cosine or contrast.</param>
    /// <param name="temperature">τ of the contrast, above 0.</param>
    /// <returns>The loss, and the cosines [b, n, m].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the temperature is not above 0.</exception>
    public static (Tensor Loss, Tensor Cosine) TextAlignment(
        Tensor instances,
        Tensor text,
        Tensor match,
        Tensor? valid,
        Tensor weight,
        Tensor? bias,
        TextAlignmentKind kind,
        double temperature = ContrastTemperature
    )
    {
        Shapes.Require(instances, "[b, n, c]");
        Shapes.RequireExact(weight, [-1, instances.size(2)]);
        Shapes.RequireExact(text, [instances.size(0), -1, weight.size(0)]);
        Shapes.RequireExact(match, instances.shape[..2]);
        if (valid is not null)
            Shapes.RequireExact(valid, instances.shape[..2]);
        if (!(temperature > 0))
            throw new ArgumentException($"The temperature must be above 0, but is {temperature}.", nameof(temperature));
        using var scope = NewDisposeScope();
        var projected = nn.functional.normalize(LinearProduct.Of(instances, weight, bias), dim: -1);
        var cosine = matmul(projected, nn.functional.normalize(text.detach(), dim: -1).transpose(-2, -1));
        var place = match.clamp(0, text.size(1) - 1).unsqueeze(-1);
        var rows =
            kind == TextAlignmentKind.Cosine
                ? 1 - cosine.gather(-1, place).squeeze(-1)
                : -(cosine / temperature).log_softmax(-1).gather(-1, place).squeeze(-1);
        var counts = (valid ?? ones_like(match, dtype: ScalarType.Bool)).to(rows.dtype);
        // A mean over nothing is nothing, not NaN.
        var loss = (rows * counts).sum() / counts.sum().clamp(min: 1);
        return (loss.MoveToOuterDisposeScope(), cosine.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Captions for a small language model: (1 − κ) cross-entropy with the teacher's words + κ τ² KL(teacher ‖ student), both means over the answer's
    /// tokens. κ = 0 is plain sequence-level distillation.
    /// </summary>
    /// <param name="teacher">Logits [b, t, V]; constant. Null is allowed for κ = 0.</param>
    /// <param name="student">Logits [b, t, V]; place i predicts target i.</param>
    /// <param name="target">int64 [b, t], the teacher's words.</param>
    /// <param name="mask">bool [b, t], true = a token of the answer.</param>
    /// <param name="share">κ, 0 to 1.</param>
    /// <param name="temperature">τ.</param>
    /// <returns>The terms <see cref="Words"/> and <see cref="Distribution"/> (τ² KL), unweighted, with their weights.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, κ is out of its range, or the teacher is missing.</exception>
    public static LossTerms CaptionLoss(
        Tensor? teacher,
        Tensor student,
        Tensor target,
        Tensor mask,
        double share,
        double temperature = 1.0
    )
    {
        Shapes.Require(student, "[b, t, V]");
        Shapes.RequireExact(target, student.shape[..2]);
        Shapes.RequireExact(mask, student.shape[..2]);
        if (!(share is >= 0 and <= 1))
            throw new ArgumentException(
                $"The share of the teacher's distribution must be 0 to 1, but is {share}.",
                nameof(share)
            );
        if (teacher is null && share > 0)
            throw new ArgumentException(
                "Without the teacher's logits there are its words alone: give a share of 0.",
                nameof(teacher)
            );
        using var scope = NewDisposeScope();
        var terms = new LossTerms().Add(
            Words,
            TokenPrediction
                .CrossEntropy(student, target.masked_fill(mask.logical_not(), Batch.IgnoredLabel))
                .MoveToOuterDisposeScope(),
            1 - share
        );
        return teacher is null
            ? terms
            : terms.Add(
                Distribution,
                Divergences.KlDivergence(teacher.detach(), student, mask, temperature).MoveToOuterDisposeScope(),
                share
            );
    }
}
