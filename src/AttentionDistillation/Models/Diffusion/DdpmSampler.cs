using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Diffusion;

/// <summary>Ancestral sampling (Ho et al. 2020, algorithm 2): every step of the schedule, from the posterior at the clean estimate.</summary>
/// <param name="Schedule">The schedule the model was trained with.</param>
/// <param name="Prediction">What the model predicts.</param>
public sealed record DdpmSampler(NoiseSchedule Schedule, PredictionType Prediction)
{
    /// <summary>Clean estimates are cut to [-c, c]; null for no cut.</summary>
    public double? ClipTo { get; init; }

    /// <summary>Whether moves have the variance beta_t (larger) instead of the posterior's; both are in section 3.2 of the paper.</summary>
    public bool LargeVariance { get; init; }

    /// <summary>Draws samples; no gradient is recorded.</summary>
    /// <param name="model">Predicts, at int64 steps.</param>
    /// <param name="noise">x at the last step, [B, ...]: standard normal.</param>
    /// <param name="generator">Draws the moves' noise.</param>
    /// <param name="onStep">Called after each move with the step it left and the sample, which it must not dispose; null for none.</param>
    public Tensor Sample(Denoiser model, Tensor noise, Generator generator, Action<int, Tensor>? onStep = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(noise);
        ArgumentNullException.ThrowIfNull(generator);
        using var guard = no_grad();
        var current = noise.alias();
        for (int step = Schedule.Steps - 1; step >= 0; step--)
        {
            using var scope = NewDisposeScope();
            var steps = DdimSampler.Times(current, step);
            var (clean, _) = Schedule.Estimate(Prediction, model(current, steps), current, steps);
            if (ClipTo is { } bound)
                clean = clean.clamp(-bound, bound);
            var (mean, variance) = Schedule.Posterior(clean, current, steps);
            var next = mean;
            if (step > 0)
            {
                var deviation = LargeVariance ? variance.new_full(variance.shape, Schedule.Betas[step]) : variance;
                next = mean + deviation.sqrt() * NoiseSource.Like(current, generator);
            }
            current.Dispose();
            current = next.MoveToOuterDisposeScope();
            onStep?.Invoke(step, current);
        }
        return current;
    }
}
