using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Diffusion;

/// <summary>
/// How a diffusion adds noise, in T discrete steps: x_t = sqrt(abar_t) x + sqrt(1 - abar_t) e, abar_t the product of 1 - beta up to step t
/// (numbered from 0).
/// </summary>
/// <remarks>Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", 2020, section 2; their x_0 is x here, their t is t + 1.</remarks>
public sealed class NoiseSchedule
{
    private readonly double[] betas;
    private readonly double[] alphaBars;

    private NoiseSchedule(double[] betas)
    {
        if (betas.Length == 0 || betas.Any(beta => !(beta is > 0 and <= 1)))
            throw new ArgumentException("A noise schedule needs one beta or more, each above 0 and at most 1.", nameof(betas));
        this.betas = betas;
        alphaBars = new double[betas.Length];
        double product = 1;
        for (int step = 0; step < betas.Length; step++)
            alphaBars[step] = product *= 1 - betas[step];
    }

    /// <summary>A schedule of given betas.</summary>
    /// <exception cref="ArgumentException">There are none, or one is not in (0, 1].</exception>
    public static NoiseSchedule FromBetas(IReadOnlyList<double> betas) => new([.. betas]);

    /// <summary>Betas from first to last in equal steps (DDPM; the defaults are theirs).</summary>
    public static NoiseSchedule Linear(int steps = 1000, double first = 1e-4, double last = 0.02) =>
        new([.. Spaced(steps, first, last)]);

    /// <summary>Square roots of betas in equal steps (Stable Diffusion; the defaults are its).</summary>
    public static NoiseSchedule ScaledLinear(int steps = 1000, double first = 0.00085, double last = 0.012) =>
        new([.. Spaced(steps, Math.Sqrt(first), Math.Sqrt(last)).Select(root => root * root)]);

    /// <summary>
    /// abar(t) = cos^2((t / T + s) / (1 + s) pi / 2) / cos^2(s / (1 + s) pi / 2), betas cut at a largest one (Nichol and Dhariwal, "Improved
    /// Denoising Diffusion Probabilistic Models", 2021, equation 17).
    /// </summary>
    /// <param name="steps">T.</param>
    /// <param name="offset">s.</param>
    /// <param name="largestBeta">Where betas are cut.</param>
    public static NoiseSchedule Cosine(int steps = 1000, double offset = 0.008, double largestBeta = 0.999)
    {
        double Bar(double time) => Math.Pow(Math.Cos((time + offset) / (1 + offset) * Math.PI / 2), 2);
        return new([
            .. Enumerable
                .Range(0, steps)
                .Select(step => Math.Min(1 - Bar((step + 1.0) / steps) / Bar((double)step / steps), largestBeta)),
        ]);
    }

    /// <summary>
    /// This schedule moved so that the last step holds no signal at all (Lin et al., "Common Diffusion Noise Schedules and Sample Steps are
    /// Flawed", 2024, algorithm 1). Only models that predict velocity or the clean sample can use its last step.
    /// </summary>
    public NoiseSchedule WithZeroTerminalSnr()
    {
        double first = Math.Sqrt(alphaBars[0]),
            last = Math.Sqrt(alphaBars[^1]);
        double[] bars = [.. alphaBars.Select(bar => Math.Pow((Math.Sqrt(bar) - last) * first / (first - last), 2))];
        return new([.. bars.Select((bar, step) => 1 - bar / (step == 0 ? 1 : bars[step - 1]))]);
    }

    /// <summary>T.</summary>
    public int Steps => betas.Length;

    /// <summary>beta_t.</summary>
    public IReadOnlyList<double> Betas => betas;

    /// <summary>abar_t.</summary>
    public IReadOnlyList<double> AlphaBars => alphaBars;

    /// <summary>sigma_t = sqrt((1 - abar_t) / abar_t), the noise of x_t / sqrt(abar_t).</summary>
    public double Sigma(int step) => Math.Sqrt((1 - alphaBars[step]) / alphaBars[step]);

    /// <summary>abar_t / (1 - abar_t), the signal-to-noise ratio.</summary>
    public double SignalToNoise(int step) => alphaBars[step] / (1 - alphaBars[step]);

    /// <summary>Signal-to-noise ratios of a batch's steps.</summary>
    /// <param name="steps">int64 [B].</param>
    /// <returns>float32 [B] on the steps' device.</returns>
    public Tensor SignalToNoise(Tensor steps)
    {
        using var scope = NewDisposeScope();
        var bars = Look(alphaBars, steps, ScalarType.Float64);
        return (bars / (1 - bars)).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    /// <summary>Steps drawn uniformly from 0 to T - 1.</summary>
    /// <returns>int64 [B], on the CPU.</returns>
    public Tensor DrawSteps(long count, Generator generator) =>
        randint(0, Steps, [count], dtype: ScalarType.Int64, generator: generator);

    /// <summary>x_t: a clean sample with the noise of its step.</summary>
    /// <param name="clean">x, [B, ...].</param>
    /// <param name="noise">e, the same shape.</param>
    /// <param name="steps">int64 [B].</param>
    public Tensor AddNoise(Tensor clean, Tensor noise, Tensor steps)
    {
        Same(clean, noise);
        using var scope = NewDisposeScope();
        var (signal, sigma) = Roots(steps, clean);
        return (signal * clean + sigma * noise).MoveToOuterDisposeScope();
    }

    /// <summary>What a model of a prediction type is trained to give.</summary>
    /// <param name="type">The type.</param>
    /// <param name="clean">x, [B, ...].</param>
    /// <param name="noise">e, the same shape.</param>
    /// <param name="steps">int64 [B].</param>
    public Tensor Target(PredictionType type, Tensor clean, Tensor noise, Tensor steps)
    {
        Same(clean, noise);
        using var scope = NewDisposeScope();
        var (signal, sigma) = Roots(steps, clean);
        var target = type switch
        {
            PredictionType.Noise => noise.alias(),
            PredictionType.Velocity => signal * noise - sigma * clean,
            _ => clean.alias(),
        };
        return target.MoveToOuterDisposeScope();
    }

    /// <summary>The clean sample and the noise that a prediction implies.</summary>
    /// <param name="type">What the prediction is.</param>
    /// <param name="prediction">The model's output, [B, ...].</param>
    /// <param name="sample">x_t, the same shape.</param>
    /// <param name="steps">int64 [B].</param>
    /// <returns>Estimates of x and e; exact where the prediction is.</returns>
    public (Tensor Clean, Tensor Noise) Estimate(PredictionType type, Tensor prediction, Tensor sample, Tensor steps)
    {
        Same(prediction, sample);
        using var scope = NewDisposeScope();
        var (signal, sigma) = Roots(steps, sample);
        var (clean, noise) = type switch
        {
            PredictionType.Noise => ((sample - sigma * prediction) / signal, prediction.alias()),
            PredictionType.Velocity => (signal * sample - sigma * prediction, sigma * sample + signal * prediction),
            _ => (prediction.alias(), (sample - signal * prediction) / sigma),
        };
        return (clean.MoveToOuterDisposeScope(), noise.MoveToOuterDisposeScope());
    }

    /// <summary>Mean and variance of x_(t-1) given x_t and x (Ho et al. 2020, equations 6 and 7).</summary>
    /// <param name="clean">x, [B, ...].</param>
    /// <param name="sample">x_t, the same shape.</param>
    /// <param name="steps">int64 [B]; at step 0 the mean is x and the variance 0.</param>
    /// <returns>Mean [B, ...] and variance [B, 1, ...].</returns>
    public (Tensor Mean, Tensor Variance) Posterior(Tensor clean, Tensor sample, Tensor steps)
    {
        Same(clean, sample);
        using var scope = NewDisposeScope();
        double Before(int step) => step == 0 ? 1 : alphaBars[step - 1];
        Tensor Of(Func<int, double> rule) =>
            Spread(Look([.. Enumerable.Range(0, Steps).Select(rule)], steps, sample.dtype), sample);
        var ofClean = Of(step => Math.Sqrt(Before(step)) * betas[step] / (1 - alphaBars[step]));
        var ofSample = Of(step => Math.Sqrt(1 - betas[step]) * (1 - Before(step)) / (1 - alphaBars[step]));
        var variance = Of(step => betas[step] * (1 - Before(step)) / (1 - alphaBars[step]));
        return ((ofClean * clean + ofSample * sample).MoveToOuterDisposeScope(), variance.MoveToOuterDisposeScope());
    }

    private (Tensor Signal, Tensor Sigma) Roots(Tensor steps, Tensor like) =>
        (
            Spread(Look([.. alphaBars.Select(Math.Sqrt)], steps, like.dtype), like),
            Spread(Look([.. alphaBars.Select(bar => Math.Sqrt(1 - bar))], steps, like.dtype), like)
        );

    private static Tensor Look(double[] table, Tensor steps, ScalarType type)
    {
        if (steps.dtype != ScalarType.Int64)
            throw new ArgumentException(
                $"Steps must be int64 [B], but are {steps.dtype} {Shapes.Describe(steps)}.",
                nameof(steps)
            );
        Shapes.RequireExact(steps, [-1]);
        return tensor(table, dtype: ScalarType.Float64, device: steps.device).index_select(0, steps).to(type);
    }

    private static Tensor Spread(Tensor values, Tensor like) =>
        values.view([values.size(0), .. Enumerable.Repeat(1L, (int)like.dim() - 1)]);

    private static void Same(Tensor first, Tensor second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (!first.shape.SequenceEqual(second.shape))
            throw new ArgumentException(
                $"Both must have the same shape, but have {Shapes.Describe(first)} and {Shapes.Describe(second)}."
            );
    }

    private static IEnumerable<double> Spaced(int count, double first, double last)
    {
        if (count < 2)
            throw new ArgumentException(
                $"A schedule from a first to a last beta needs 2 steps or more, but has {count}.",
                nameof(count)
            );
        return Enumerable.Range(0, count).Select(step => first + (last - first) * step / (count - 1));
    }
}
