using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Diffusion;

/// <summary>
/// Euler's method on dx / dsigma = (x - clean(x, sigma)) / sigma for models of a discrete schedule, x being the sample divided by sqrt(abar), with
/// noise of standard deviation sigma (Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022, section 3; the
/// form of k-diffusion).
/// </summary>
/// <param name="Schedule">The schedule the model was trained with.</param>
/// <param name="Prediction">What the model predicts.</param>
public sealed record SigmaSampler(NoiseSchedule Schedule, PredictionType Prediction)
{
    /// <summary>rho of Karras et al., equation 5.</summary>
    private const double KarrasExponent = 7.0;

    /// <summary>Moves.</summary>
    public int Steps { get; init; } = 30;

    /// <summary>Which steps of the schedule give the sigmas, unless they are Karras'.</summary>
    public StepSpacing Spacing { get; init; } = StepSpacing.Linspace;

    /// <summary>Whether sigmas are spaced by the seventh root (Karras et al., equation 5) between the schedule's ends.</summary>
    public bool KarrasSpacing { get; init; }

    /// <summary>0 for Euler's method, 1 for Euler ancestral: how much of each move is replaced by fresh noise.</summary>
    public double Eta { get; init; }

    /// <summary>The sigmas visited, from noisy to 0: one more than the moves.</summary>
    public double[] Sigmas
    {
        get
        {
            if (!KarrasSpacing)
                return [.. StepGrid.Of(Schedule.Steps, Steps, Spacing).Select(Schedule.Sigma), 0.0];
            double least = Math.Pow(Schedule.Sigma(0), 1 / KarrasExponent),
                most = Math.Pow(Schedule.Sigma(Schedule.Steps - 1), 1 / KarrasExponent);
            return
            [
                .. Enumerable
                    .Range(0, Steps)
                    .Select(number => Math.Pow(most + (least - most) * number / Math.Max(Steps - 1, 1), KarrasExponent)),
                0.0,
            ];
        }
    }

    /// <summary>The step, not always whole, at which the schedule has a sigma: between steps the logarithm of sigma is linear.</summary>
    public double StepOf(double sigma)
    {
        if (sigma <= Schedule.Sigma(0))
            return 0;
        for (int step = 1; step < Schedule.Steps; step++)
            if (Schedule.Sigma(step) >= sigma)
            {
                double below = Math.Log(Schedule.Sigma(step - 1)),
                    above = Math.Log(Schedule.Sigma(step));
                return step - 1 + (Math.Log(sigma) - below) / (above - below);
            }
        return Schedule.Steps - 1;
    }

    /// <summary>Draws samples; no gradient is recorded.</summary>
    /// <param name="model">Predicts, at steps that need not be whole (float32).</param>
    /// <param name="noise">Standard normal, [B, ...]; it is multiplied by the first sigma here.</param>
    /// <param name="generator">Draws fresh noise; needed where eta is above 0.</param>
    /// <param name="onStep">Called after each move with its number and the sample, which it must not dispose; null for none.</param>
    /// <exception cref="ArgumentException">eta is above 0 and there is no generator.</exception>
    public Tensor Sample(Denoiser model, Tensor noise, Generator? generator, Action<int, Tensor>? onStep = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(noise);
        if (Eta > 0 && generator is null)
            throw new ArgumentException("With eta above 0 each move adds noise: give a generator to draw it.", nameof(generator));
        using var guard = no_grad();
        double[] sigmas = Sigmas;
        var current = noise * sigmas[0];
        for (int number = 0; number < Steps; number++)
        {
            using var scope = NewDisposeScope();
            var (from, to) = (sigmas[number], sigmas[number + 1]);
            var clean = Clean(model, current, from);
            // Ancestral: go down to a smaller sigma and come back up with fresh noise (k-diffusion's get_ancestral_step).
            double up = Math.Min(to, Eta * Math.Sqrt(Math.Max(to * to * (from * from - to * to) / (from * from), 0))),
                down = Math.Sqrt(Math.Max(to * to - up * up, 0));
            var next = current + (current - clean) * ((down - from) / from);
            if (up > 0)
                next = next + NoiseSource.Like(current, generator!) * up;
            current.Dispose();
            current = next.MoveToOuterDisposeScope();
            onStep?.Invoke(number, current);
        }
        return current;
    }

    private Tensor Clean(Denoiser model, Tensor sample, double sigma)
    {
        double norm = Math.Sqrt(sigma * sigma + 1);
        var times = full([sample.size(0)], StepOf(sigma), dtype: ScalarType.Float32, device: sample.device);
        var prediction = model(sample / norm, times);
        return Prediction switch
        {
            PredictionType.Noise => sample - prediction * sigma,
            PredictionType.Velocity => sample / (norm * norm) - prediction * (sigma / norm),
            _ => prediction,
        };
    }
}
