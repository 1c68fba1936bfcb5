using AttentionDistillation.Losses;
using AttentionDistillation.Models.Quantization;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>What a divergence of logits is averaged over.</summary>
public enum ElementMean
{
    /// <summary>The samples.</summary>
    Batch,

    /// <summary>Samples times classes, as the official code has it; the distillation's share is C times weaker.</summary>
    Elements,
}

/// <summary>
/// Quantized distillation: before every forward pass the student's weights are brought to a few levels, the gradient is taken there and applied to a copy in
/// full precision, so that errors of rounding add up until they move a weight and are not lost.
/// </summary>
/// <remarks>Polino, Pascanu, Alistarh 2018, arXiv 1802.05668, section 3; antspy/quantized_distillation @ bb500b7.</remarks>
public sealed class QuantizedDistillation
{
    private readonly (Parameter Parameter, int? Bucket)[] quantized;
    private readonly int levels;
    private readonly QuantizationGradient style;

    /// <summary>Chooses the parameters that are quantized while they train.</summary>
    /// <param name="parameters">Usually all matrices; the first and the last layer are often left out.</param>
    /// <param name="levels">Levels, at least 2.</param>
    /// <param name="bucket">Elements of a bucket; null for one a tensor.</param>
    /// <param name="style">How gradients pass the rounding.</param>
    /// <exception cref="ArgumentException">There is no parameter, or a number is out of range.</exception>
    public QuantizedDistillation(
        IEnumerable<Parameter> parameters,
        int levels,
        int? bucket = 256,
        QuantizationGradient style = QuantizationGradient.Identity
    )
    {
        ArgumentNullException.ThrowIfNull(parameters);
        quantized = [.. parameters.Select(parameter => (parameter, bucket))];
        if (quantized.Length == 0)
            throw new ArgumentException("There is no parameter to quantize.", nameof(parameters));
        if (levels < 2)
            throw new ArgumentException($"There are {levels} levels. Give at least 2, 2^bits for so many bits.", nameof(levels));
        this.levels = levels;
        this.style = style;
    }

    /// <summary>
    /// One forward and backward pass at quantized weights; afterwards the weights are what they were and hold the gradients, so step any optimiser.
    /// </summary>
    /// <param name="loss">Computes the loss.</param>
    /// <returns>The loss at the quantized weights.</returns>
    public double Backward(Func<Tensor> loss)
    {
        ArgumentNullException.ThrowIfNull(loss);
        using var scope = NewDisposeScope();
        Tensor[] full = [.. quantized.Select(pair => pair.Parameter.detach().clone())];
        try
        {
            WriteQuantized();
            foreach (var (parameter, _) in quantized)
                parameter.grad = null;
            var value = loss();
            value.backward();
            using (no_grad())
                for (int index = 0; index < quantized.Length; index++)
                    if (style != QuantizationGradient.Identity && quantized[index].Parameter.grad is { } gradient)
                        gradient.copy_(
                            BucketedQuantization.Gradient(full[index], gradient, levels, quantized[index].Bucket, style)
                        );
            return value.detach().to(ScalarType.Float64).item<double>();
        }
        finally
        {
            using (no_grad())
                for (int index = 0; index < quantized.Length; index++)
                    quantized[index].Parameter.copy_(full[index]);
        }
    }

    /// <summary>Quantizes the weights for good: the end of the training, or all of it when a trained net is merely rounded.</summary>
    /// <returns>How often each level occurs, over all parameters: for <see cref="QuantizationSize.HuffmanBits"/>.</returns>
    public long[] Finish() => WriteQuantized();

    /// <summary>
    /// λ τ² KL(teacher || student) + (1 - λ) CE: terms <c>divergence</c> (without its factor) and <c>labels</c>.
    /// </summary>
    /// <param name="studentLogits">[n, C].</param>
    /// <param name="teacherLogits">[n, C]; receives no gradient.</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="temperature">τ, above 0.</param>
    /// <param name="distillationWeight">λ, 0 to 1.</param>
    /// <param name="meanOver">What the divergence is averaged over.</param>
    /// <exception cref="ArgumentException">Shapes differ, or a number is out of range.</exception>
    public static LossTerms Loss(
        Tensor studentLogits,
        Tensor teacherLogits,
        Tensor labels,
        double temperature = 2,
        double distillationWeight = 0.7,
        ElementMean meanOver = ElementMean.Batch
    )
    {
        Shapes.Require(studentLogits, "[n, C]");
        Shapes.RequireExact(teacherLogits, studentLogits.shape);
        Shapes.RequireExact(labels, [studentLogits.size(0)]);
        if (!(distillationWeight >= 0 && distillationWeight <= 1))
            throw new ArgumentException($"The weight of distillation is {distillationWeight}. It must be between 0 and 1.");
        var options = new DivergenceOptions { Temperature = temperature, ScalesByTemperatureSquared = false };
        var divergence = Divergences.KlDivergence(teacherLogits, studentLogits, null, options);
        if (meanOver == ElementMean.Elements)
            divergence /= studentLogits.size(1);
        return new LossTerms()
            .Add("divergence", divergence, distillationWeight * temperature * temperature)
            .Add("labels", nn.functional.cross_entropy(studentLogits, labels), 1 - distillationWeight);
    }

    private long[] WriteQuantized()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        long[] counts = new long[levels];
        foreach (var (parameter, bucket) in quantized)
        {
            var source = style == QuantizationGradient.Truncated ? parameter.clamp(-1, 1) : parameter.alias();
            var found = BucketedQuantization.Quantize(source, levels, bucket);
            parameter.copy_(found.Quantized);
            using var occurring = found.Codes.flatten().to(ScalarType.Int64).bincount(null, levels).cpu();
            long[] own = [.. occurring.data<long>()];
            for (int level = 0; level < levels; level++)
                counts[level] += own[level];
        }
        return counts;
    }
}
