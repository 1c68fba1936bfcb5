using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Diffusion;

/// <summary>Classifier-free guidance: predictions with and without the condition, moved apart.</summary>
/// <remarks>
/// Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022; the scale s here is 1 + w of their equation 6. Works on noise, velocity and clean
/// predictions alike, all being linear in each other at a given sample.
/// </remarks>
public static class Guidance
{
    /// <summary>unconditional + s (conditional - unconditional): s = 1 is the conditional prediction, s = 0 the unconditional one.</summary>
    /// <param name="conditional">[B, ...].</param>
    /// <param name="unconditional">The same shape; of a negative prompt, to steer away from it.</param>
    /// <param name="scale">s.</param>
    /// <param name="rescale">
    /// phi, 0 to 1: how far the result's standard deviation (per sample) is brought back to the conditional prediction's (Lin et al. 2024,
    /// section 3.4).
    /// </param>
    /// <exception cref="ArgumentException">Shapes differ, or phi is out of range.</exception>
    public static Tensor Combine(Tensor conditional, Tensor unconditional, double scale, double rescale = 0.0)
    {
        ArgumentNullException.ThrowIfNull(conditional);
        Shapes.RequireExact(unconditional, conditional.shape);
        if (!(rescale is >= 0 and <= 1))
            throw new ArgumentException(
                FormattableString.Invariant($"The rescaling must be from 0 to 1, but is {rescale}."),
                nameof(rescale)
            );
        if (scale == 1.0)
            return conditional.alias();
        using var scope = NewDisposeScope();
        var guided = unconditional + (conditional - unconditional) * scale;
        if (rescale > 0)
        {
            long[] axes = [.. Enumerable.Range(1, (int)guided.dim() - 1).Select(axis => (long)axis)];
            var ratio = conditional.std(axes, true, true) / guided.std(axes, true, true);
            guided = guided * (ratio * rescale + (1 - rescale));
        }
        return guided.MoveToOuterDisposeScope();
    }

    /// <summary>A guided denoiser that runs the model once per step, on the doubled batch [unconditional; conditional].</summary>
    /// <param name="model">The model: sample [2 B, ...], times [2 B], condition [2 B, ...].</param>
    /// <param name="condition">Class numbers [B] or prompt states [B, S, E].</param>
    /// <param name="nullCondition">The same shape: "no class", an empty or a negative prompt.</param>
    /// <param name="scale">s; 1 runs the model on the condition alone.</param>
    /// <param name="rescale">See <see cref="Combine"/>.</param>
    /// <exception cref="ArgumentException">The conditions' shapes differ.</exception>
    public static Denoiser Guide(
        Func<Tensor, Tensor, Tensor, Tensor> model,
        Tensor condition,
        Tensor nullCondition,
        double scale,
        double rescale = 0.0
    )
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(condition);
        Shapes.RequireExact(nullCondition, condition.shape);
        if (scale == 1.0)
            return (sample, times) => model(sample, times, condition);
        return (sample, times) =>
        {
            using var scope = NewDisposeScope();
            var both = model(cat([sample, sample], 0), cat([times, times], 0), cat([nullCondition, condition], 0)).chunk(2, 0);
            return Combine(both[1], both[0], scale, rescale).MoveToOuterDisposeScope();
        };
    }
}
