using AttentionDistillation.Models.Diffusion;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Diffusion;

public sealed class NoiseScheduleTests
{
    [Fact]
    public void TablesFollowTheirClosedForms()
    {
        var linear = NoiseSchedule.Linear();
        Assert.Equal(1e-4, linear.Betas[0], 15);
        Assert.Equal(0.02, linear.Betas[^1], 15);
        // ln abar_t is the sum of ln(1 - beta); to second order -(S1 + S2 / 2), both sums of an arithmetic series.
        double difference = (0.02 - 1e-4) / 999,
            sum = 1000 * (1e-4 + 0.02) / 2,
            squares =
                1000 * 1e-8 + 2 * 1e-4 * difference * (999.0 * 1000 / 2) + difference * difference * (999.0 * 1000 * 1999 / 6);
        Assert.Equal(-(sum + squares / 2), Math.Log(linear.AlphaBars[^1]), 2);
        Assert.Equal(4.0358e-5, linear.AlphaBars[^1], 8);

        var stable = NoiseSchedule.ScaledLinear();
        Assert.Equal(0.00085, stable.Betas[0], 12);
        Assert.Equal(0.012, stable.Betas[^1], 12);
        Assert.Equal(14.6146, stable.Sigma(999), 3); // k-diffusion's sigma_max of Stable Diffusion
        Assert.Equal(0.0292, stable.Sigma(0), 4); // and its sigma_min

        var cosine = NoiseSchedule.Cosine(100);
        double Bar(double time) => Math.Pow(Math.Cos((time + 0.008) / 1.008 * Math.PI / 2), 2);
        for (int step = 0; step < 98; step++) // betas are cut at the end
            Assert.Equal(Bar((step + 1) / 100.0) / Bar(0), cosine.AlphaBars[step], 10);
        Assert.Equal(0.999, cosine.Betas[^1], 12);

        var terminal = stable.WithZeroTerminalSnr();
        Assert.Equal(0.0, terminal.AlphaBars[^1], 12);
        Assert.Equal(stable.AlphaBars[0], terminal.AlphaBars[0], 12);
        Assert.Equal(1.0, terminal.Betas[^1], 12);
    }

    [Theory]
    [InlineData(PredictionType.Noise)]
    [InlineData(PredictionType.Velocity)]
    [InlineData(PredictionType.Clean)]
    public void ATruePredictionGivesBackSampleAndNoise(PredictionType type)
    {
        using var scope = NewDisposeScope();
        var schedule = NoiseSchedule.Cosine(50);
        var random = new RandomTensors(1);
        var (clean, noise) = (random.Normal(4, 2, 3, 3), random.Normal(4, 2, 3, 3));
        var steps = tensor(new long[] { 0, 10, 30, 48 });
        var noisy = schedule.AddNoise(clean, noise, steps);
        var (cleanAgain, noiseAgain) = schedule.Estimate(type, schedule.Target(type, clean, noise, steps), noisy, steps);
        Check.Close(clean, cleanAgain, 1e-9);
        Check.Close(noise, noiseAgain, 1e-9);
        Check.Close(
            tensor(schedule.AlphaBars[30] / (1 - schedule.AlphaBars[30])).to(ScalarType.Float32),
            schedule.SignalToNoise(steps)[2],
            1e-6
        );
    }

    [Fact]
    public void ThePosteriorIsTheProductOfItsTwoGaussians()
    {
        using var scope = NewDisposeScope();
        var schedule = NoiseSchedule.Linear(20, 0.01, 0.3);
        var random = new RandomTensors(2);
        var (clean, sample) = (random.Normal(20, 5), random.Normal(20, 5));
        var steps = arange(20, dtype: ScalarType.Int64);
        var (mean, variance) = schedule.Posterior(clean, sample, steps);
        for (int step = 1; step < 20; step++)
        {
            // q(x_(t-1) | x) = N(sqrt(abar) x, 1 - abar) at t - 1, q(x_t | x_(t-1)) = N(sqrt(1 - beta) x_(t-1), beta): precisions add.
            double before = schedule.AlphaBars[step - 1],
                beta = schedule.Betas[step],
                precision = 1 / (1 - before) + (1 - beta) / beta;
            Assert.Equal(1 / precision, variance[step, 0].item<double>(), 12);
            var expected =
                (clean[step] * (Math.Sqrt(before) / (1 - before)) + sample[step] * (Math.Sqrt(1 - beta) / beta)) / precision;
            Check.Close(expected, mean[step], 1e-10);
        }
        Check.Close(clean[0], mean[0], 1e-12);
        Assert.Equal(0.0, variance[0, 0].item<double>(), 15);
    }

    [Fact]
    public void WrongInputIsRefused()
    {
        using var scope = NewDisposeScope();
        Assert.Contains("beta", Assert.Throws<ArgumentException>(() => NoiseSchedule.FromBetas([0.1, 1.2])).Message);
        Assert.Contains(
            "int64",
            Assert.Throws<ArgumentException>(() => NoiseSchedule.Linear(10).AddNoise(ones(1, 2), ones(1, 2), ones(1))).Message
        );
    }
}
