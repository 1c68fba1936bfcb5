using AttentionDistillation.Models.Diffusion;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Diffusion;

/// <summary>Samplers against exact denoisers: of a point, and of a Gaussian N(m, v), for which the best prediction is linear in the sample.</summary>
public sealed class SamplerTests
{
    private const double Mean = 0.7;
    private const double Variance = 0.25;

    private static readonly NoiseSchedule Schedule = NoiseSchedule.Linear(200, 1e-3, 0.05);

    [Theory]
    [InlineData(StepSpacing.Leading, new[] { 750, 500, 250, 0 })]
    [InlineData(StepSpacing.Linspace, new[] { 999, 666, 333, 0 })]
    [InlineData(StepSpacing.Trailing, new[] { 999, 749, 499, 249 })]
    public void StepsAreSpacedAsNamed(StepSpacing spacing, int[] expected)
    {
        Assert.Equal(expected, StepGrid.Of(1000, 4, spacing));
        Assert.Throws<ArgumentException>(() => StepGrid.Of(3, 4, spacing));
    }

    [Theory]
    [InlineData(PredictionType.Noise)]
    [InlineData(PredictionType.Velocity)]
    [InlineData(PredictionType.Clean)]
    public void EverySamplerReachesThePointThatTheDenoiserKnows(PredictionType type)
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(1);
        var (point, noise) = (random.Normal(1, 2, 3), random.Normal(4, 2, 3));
        var generator = new Generator(3, CPU);
        Denoiser exact = (sample, times) => Exact(type, sample, times, _ => point.expand_as(sample));
        foreach (double eta in new[] { 0.0, 0.5, 1.0 })
            Check.Close(
                point.expand_as(noise),
                new DdimSampler(Schedule, type) { Steps = 7, Eta = eta }.Sample(exact, noise, generator),
                1e-9,
                $"DDIM {eta}"
            );
        Check.Close(point.expand_as(noise), new DdpmSampler(Schedule, type).Sample(exact, noise, generator), 1e-9, "DDPM");
        foreach (bool karras in new[] { false, true })
        foreach (double eta in new[] { 0.0, 1.0 })
        {
            // Between whole steps the denoiser must know the sigma, so Karras' grid is tried with the clean prediction alone.
            if (karras && type != PredictionType.Clean)
                continue;
            var sampler = new SigmaSampler(Schedule, type)
            {
                Steps = 7,
                KarrasSpacing = karras,
                Eta = eta,
            };
            Check.Close(point.expand_as(noise), sampler.Sample(exact, noise, generator), 1e-6, $"sigma {karras} {eta}");
        }
    }

    [Fact]
    public void TheDeterministicSamplerIsInvertedExactlyByFixedPoints()
    {
        using var scope = NewDisposeScope();
        var noise = new RandomTensors(2).Normal(16, 3);
        var sampler = new DdimSampler(Schedule, PredictionType.Noise) { Steps = 20 };
        Denoiser model = (sample, times) => Exact(PredictionType.Noise, sample, times, GaussianMean(sample, times));
        var drawn = sampler.Sample(model, noise, null);
        Check.Close(noise, sampler.Invert(model, drawn, iterations: 200), 1e-6, "fixed point");
        var once = sampler.Invert(model, drawn);
        double error = (once - noise).abs().mean().item<double>();
        Assert.InRange(error, 1e-6, 0.3);
        // A constant noise prediction is known at both ends alike: one iteration is exact.
        Denoiser constant = (sample, _) => full_like(sample, 0.3);
        Check.Close(noise, sampler.Invert(constant, sampler.Sample(constant, noise, null)), 1e-9, "constant");
    }

    [Fact]
    public void ManyStepsDrawFromTheGaussianThatTheDenoiserKnows()
    {
        using var scope = NewDisposeScope();
        var noise = new RandomTensors(3).Normal(4000, 1);
        Denoiser model = (sample, times) => Exact(PredictionType.Noise, sample, times, GaussianMean(sample, times));
        var generator = new Generator(4, CPU);
        foreach (
            var (name, drawn) in new[]
            {
                ("DDIM", new DdimSampler(Schedule, PredictionType.Noise) { Steps = 200 }.Sample(model, noise, null)),
                (
                    "eta 1",
                    new DdimSampler(Schedule, PredictionType.Noise) { Steps = 200, Eta = 1 }.Sample(model, noise, generator)
                ),
                ("DDPM", new DdpmSampler(Schedule, PredictionType.Noise).Sample(model, noise, generator)),
                ("sigma", new SigmaSampler(Schedule, PredictionType.Noise) { Steps = 200 }.Sample(model, noise, null)),
                (
                    "Euler a",
                    new SigmaSampler(Schedule, PredictionType.Noise) { Steps = 200, Eta = 1 }.Sample(model, noise, generator)
                ),
            }
        )
        {
            // Standard errors with 4000 draws are .008 and .0056; the rest is the samplers' step size.
            Assert.True(Math.Abs(drawn.mean().item<double>() - Mean) < 0.04, $"{name}: mean {drawn.mean().item<double>()}");
            Assert.True(
                Math.Abs(drawn.std().item<double>() - Math.Sqrt(Variance)) < 0.04,
                $"{name}: sd {drawn.std().item<double>()}"
            );
        }
    }

    [Fact]
    public void EtaOneIsTheAncestralSampler()
    {
        using var scope = NewDisposeScope();
        var short_ = NoiseSchedule.Linear(8, 0.01, 0.4);
        var noise = new RandomTensors(5).Normal(3, 4);
        Denoiser model = (sample, _) => sample * 0.2;
        var ddim = new DdimSampler(short_, PredictionType.Noise) { Steps = 8, Eta = 1 };
        var first = ddim.Sample(model, noise, new Generator(9, CPU));
        var second = new DdpmSampler(short_, PredictionType.Noise).Sample(model, noise, new Generator(9, CPU));
        Check.Close(second, first, 1e-6);
    }

    [Fact]
    public void EulerIntegratesStraightFlowsExactlyAndHeunLinearOnesBetter()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(6);
        var (clean, noise) = (random.Normal(5, 2), random.Normal(5, 2));
        Denoiser straight = (_, _) => RectifiedFlow.Velocity(clean, noise);
        foreach (double shift in new[] { 1.0, 3.0 })
            Check.Close(clean, new FlowSampler { Steps = 3, Shift = shift }.Sample(straight, noise), 1e-12, "straight");
        // dx/dt = a(t) x with a = 2 t: x(0) = x(1) e^-1; Euler's product is known in closed form.
        Denoiser linear = (sample, times) => sample * (times * 2).unsqueeze(1);
        double product = Enumerable.Range(0, 10).Aggregate(1.0, (factor, step) => factor * (1 - 2 * (1 - step / 10.0) / 10));
        Check.Close(noise * product, new FlowSampler { Steps = 10 }.Sample(linear, noise), 1e-9, "Euler");
        double Error(FlowSolver solver, int steps) =>
            (new FlowSampler { Steps = steps, Solver = solver }.Sample(linear, noise) - noise * Math.Exp(-1))
                .abs()
                .max()
                .item<double>();
        Assert.True(Error(FlowSolver.Heun, 10) < Error(FlowSolver.Euler, 10) / 10);
        Assert.InRange(Error(FlowSolver.Heun, 10) / Error(FlowSolver.Heun, 20), 3.0, 5.0);
        Denoiser scaled = (sample, times) =>
        {
            Assert.InRange(times.max().item<double>(), 99, 1000);
            return zeros_like(sample);
        };
        new FlowSampler { Steps = 10, TimeScale = 1000 }.Sample(scaled, noise);
    }

    [Fact]
    public void FlowIdentitiesHold()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(7);
        var (clean, noise) = (random.Normal(4, 2, 2), random.Normal(4, 2, 2));
        var times = RectifiedFlow.LogitNormalTimes(4, new Generator(1, CPU), 0.3);
        var (sample, velocity) = (RectifiedFlow.Interpolate(clean, noise, times), RectifiedFlow.Velocity(clean, noise));
        Check.Close(clean, RectifiedFlow.CleanEstimate(sample, velocity, times), 1e-12);
        Check.Close(noise, RectifiedFlow.NoiseEstimate(sample, velocity, times), 1e-12);
        var many = RectifiedFlow.LogitNormalTimes(20_000, new Generator(2, CPU), 0.5, 0.8);
        var logits = (many / (1 - many)).log();
        Assert.InRange(logits.mean().ToDouble(), 0.48, 0.52);
        Assert.InRange(logits.std().ToDouble(), 0.78, 0.82);
        Assert.Equal(0.9, RectifiedFlow.Shift(0.75, 3), 12);
        Assert.Equal([1.0, 0.75, 0.0], RectifiedFlow.TimeGrid(2, 3), (first, second) => Math.Abs(first - second) < 1e-12);
    }

    [Fact]
    public void TheSameSeedDrawsTheSameSamples()
    {
        using var scope = NewDisposeScope();
        Denoiser model = (sample, _) => sample * 0.1;
        Tensor Draw(ulong seed)
        {
            var generator = new Generator(seed, CPU);
            var noise = NoiseSource.Normal([2, 3], generator);
            return new DdimSampler(Schedule, PredictionType.Noise) { Steps = 5, Eta = 1 }.Sample(model, noise, generator);
        }
        Assert.True(Draw(1).eq(Draw(1)).all().ToBoolean());
        Assert.False(Draw(1).eq(Draw(2)).any().ToBoolean());
        Assert.Contains(
            "generator",
            Assert
                .Throws<ArgumentException>(() =>
                    new DdimSampler(Schedule, PredictionType.Noise) { Eta = 1 }.Sample(model, zeros(1, 2), null)
                )
                .Message
        );
    }

    [Fact]
    public void NothingIsLeftOfADrawButTheSample()
    {
        Denoiser model = (sample, _) => sample * 0.1;
        using var noise = NoiseSource.Normal([2, 3], new Generator(1, CPU));
        using var scope = NewDisposeScope();
        using var drawn = new DdimSampler(Schedule, PredictionType.Noise) { Steps = 5 }.Sample(model, noise, null);
        using var flow = new FlowSampler { Steps = 5 }.Sample(model, noise);
        using var sigma = new SigmaSampler(Schedule, PredictionType.Noise) { Steps = 5 }.Sample(model, noise, null);
        Assert.Equal(3, scope.DisposablesCount);
        Assert.False(noise.IsInvalid);
    }

    [Fact]
    public void GuidanceOfScaleOneIsTheConditionalPrediction()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(8);
        var (conditional, unconditional) = (random.Normal(2, 3, 4), random.Normal(2, 3, 4));
        Check.Close(conditional, Guidance.Combine(conditional, unconditional, 1.0), 1e-15);
        Check.Close(unconditional, Guidance.Combine(conditional, unconditional, 0.0), 1e-15);
        Check.Close(conditional * 3 - unconditional * 2, Guidance.Combine(conditional, unconditional, 3.0), 1e-12);
        var rescaled = Guidance.Combine(conditional, unconditional, 7.5, 1.0);
        Check.Close(conditional.std([1L, 2L], true, false), rescaled.std([1L, 2L], true, false), 1e-9);

        int calls = 0;
        Tensor Model(Tensor sample, Tensor times, Tensor condition)
        {
            calls++;
            Assert.Equal(sample.size(0), times.size(0));
            return sample * condition;
        }
        var (x, times, condition, none) = (
            random.Normal(2, 3),
            zeros(2),
            random.Normal(2, 3),
            zeros(2, 3, dtype: ScalarType.Float64)
        );
        Check.Close(x * condition, Guidance.Guide(Model, condition, none, 1.0)(x, times), 1e-15);
        Check.Close(x * condition * 2, Guidance.Guide(Model, condition, none, 2.0)(x, times), 1e-12);
        Assert.Equal(2, calls);
    }

    // E[x | x_t] of x ~ N(Mean, Variance): abar = signal^2, precisions add.
    private static Func<double, Tensor> GaussianMean(Tensor sample, Tensor times) =>
        bar => (sample * (Math.Sqrt(bar) / (1 - bar)) + Mean / Variance) / (bar / (1 - bar) + 1 / Variance);

    private static Tensor Exact(PredictionType type, Tensor sample, Tensor times, Func<double, Tensor> clean)
    {
        double step = times[0].to(ScalarType.Float64).item<double>();
        double bar = Schedule.AlphaBars[(int)Math.Round(step)];
        var known = clean(bar);
        var noise = (sample - known * Math.Sqrt(bar)) / Math.Sqrt(1 - bar);
        return type switch
        {
            PredictionType.Noise => noise,
            PredictionType.Velocity => noise * Math.Sqrt(bar) - known * Math.Sqrt(1 - bar),
            _ => known,
        };
    }
}
