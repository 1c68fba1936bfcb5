using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Diffusion;

/// <summary>
/// DDIM (Song, Meng and Ermon, "Denoising Diffusion Implicit Models", 2021, equation 12): deterministic at eta 0, as noisy as DDPM's posterior at
/// eta 1.
/// </summary>
/// <param name="Schedule">The schedule the model was trained with.</param>
/// <param name="Prediction">What the model predicts.</param>
public sealed record DdimSampler(NoiseSchedule Schedule, PredictionType Prediction)
{
    /// <summary>Steps to visit.</summary>
    public int Steps { get; init; } = 50;

    /// <summary>eta.</summary>
    public double Eta { get; init; }

    /// <summary>Which steps are visited.</summary>
    public StepSpacing Spacing { get; init; } = StepSpacing.Leading;

    /// <summary>Added to leading steps (Stable Diffusion: 1).</summary>
    public int Offset { get; init; }

    /// <summary>Clean estimates are cut to [-c, c]; null for no cut (latents).</summary>
    public double? ClipTo { get; init; }

    /// <summary>Whether the last move ends without noise, or at the noise of step 0 (Stable Diffusion: false).</summary>
    public bool EndsClean { get; init; } = true;

    /// <summary>The steps visited, from noisy to clean.</summary>
    public int[] Grid => StepGrid.Of(Schedule.Steps, Steps, Spacing, Offset);

    /// <summary>Draws samples; no gradient is recorded.</summary>
    /// <param name="model">Predicts, at int64 steps.</param>
    /// <param name="noise">x at the first step, [B, ...]: standard normal.</param>
    /// <param name="generator">Draws the moves' noise; needed where eta is above 0.</param>
    /// <param name="onStep">Called after each move with its number and the sample, which it must not dispose; null for none.</param>
    /// <exception cref="ArgumentException">eta is above 0 and there is no generator.</exception>
    public Tensor Sample(Denoiser model, Tensor noise, Generator? generator, Action<int, Tensor>? onStep = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(noise);
        if (Eta > 0 && generator is null)
            throw new ArgumentException("With eta above 0 each move adds noise: give a generator to draw it.", nameof(generator));
        using var guard = no_grad();
        var current = noise.alias();
        int[] grid = Grid;
        for (int number = 0; number < grid.Length; number++)
        {
            using var scope = NewDisposeScope();
            int to = number + 1 < grid.Length ? grid[number + 1] : -1;
            var prediction = model(current, Times(current, grid[number]));
            var next = Step(prediction, current, grid[number], to, Eta > 0 ? NoiseSource.Like(current, generator!) : null);
            current.Dispose();
            current = next.MoveToOuterDisposeScope();
            onStep?.Invoke(number, current);
        }
        return current;
    }

    /// <summary>One move, differentiable.</summary>
    /// <param name="prediction">The model's output at <paramref name="from"/>.</param>
    /// <param name="sample">x at <paramref name="from"/>.</param>
    /// <param name="from">The step it is at.</param>
    /// <param name="to">The step it goes to; -1 for the end. A later step goes back towards noise.</param>
    /// <param name="noise">Of the sample's shape; null at eta 0.</param>
    public Tensor Step(Tensor prediction, Tensor sample, int from, int to, Tensor? noise)
    {
        using var scope = NewDisposeScope();
        double barFrom = Bar(from),
            barTo = Bar(to);
        var (clean, direction) = Estimate(prediction, sample, barFrom);
        double sigma = Eta * Math.Sqrt((1 - barTo) / (1 - barFrom)) * Math.Sqrt(Math.Max(1 - barFrom / barTo, 0));
        var moved = clean * Math.Sqrt(barTo) + direction * Math.Sqrt(Math.Max(1 - barTo - sigma * sigma, 0));
        if (sigma > 0 && noise is not null)
            moved = moved + noise * sigma;
        return moved.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The noise that the deterministic sampler would turn into a sample, by its moves in reverse. Each move needs the prediction at its noisier
    /// end, which only a fixed point gives exactly.
    /// </summary>
    /// <param name="model">Predicts, at int64 steps.</param>
    /// <param name="clean">x, [B, ...].</param>
    /// <param name="iterations">Fixed-point iterations of each move; 1 takes the prediction at the cleaner end's sample, as is usual.</param>
    /// <exception cref="InvalidOperationException">The sampler is not deterministic.</exception>
    public Tensor Invert(Denoiser model, Tensor clean, int iterations = 1)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (Eta != 0)
            throw new InvalidOperationException(
                FormattableString.Invariant($"Only the deterministic sampler can be inverted, but eta is {Eta}.")
            );
        using var guard = no_grad();
        var current = clean.alias();
        int[] grid = Grid;
        for (int number = grid.Length - 1; number >= 0; number--)
        {
            using var scope = NewDisposeScope();
            int from = number + 1 < grid.Length ? grid[number + 1] : -1,
                to = grid[number];
            double barFrom = Bar(from),
                barTo = Bar(to);
            var noisy = current;
            for (int iteration = 0; iteration < iterations; iteration++)
            {
                // x_to such that the sampler's move from it ends at the present sample: both are of the same clean estimate and noise.
                var (_, direction) = Estimate(model(noisy, Times(noisy, to)), noisy, barTo);
                noisy =
                    (current - direction * Math.Sqrt(1 - barFrom)) * Math.Sqrt(barTo / barFrom)
                    + direction * Math.Sqrt(1 - barTo);
            }
            current.Dispose();
            current = noisy.MoveToOuterDisposeScope();
        }
        return current;
    }

    private double Bar(int step) =>
        step >= 0 ? Schedule.AlphaBars[step]
        : EndsClean ? 1.0
        : Schedule.AlphaBars[0];

    private (Tensor Clean, Tensor Noise) Estimate(Tensor prediction, Tensor sample, double bar)
    {
        double signal = Math.Sqrt(bar),
            sigma = Math.Sqrt(1 - bar);
        var (clean, noise) = Prediction switch
        {
            PredictionType.Noise => ((sample - prediction * sigma) / signal, prediction),
            PredictionType.Velocity => (sample * signal - prediction * sigma, sample * sigma + prediction * signal),
            _ => (prediction, (sample - prediction * signal) / sigma),
        };
        if (ClipTo is not { } bound)
            return (clean, noise);
        clean = clean.clamp(-bound, bound);
        return (clean, (sample - clean * signal) / sigma);
    }

    internal static Tensor Times(Tensor sample, int step) =>
        full([sample.size(0)], step, dtype: ScalarType.Int64, device: sample.device);
}
