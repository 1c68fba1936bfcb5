using AttentionDistillation.Losses;
using AttentionDistillation.Models.Diffusion;
using AttentionDistillation.Tensors;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Diffusion;

/// <summary>Tiny models learn a world of four images, bright in one quadrant each, within seconds.</summary>
public sealed class LearningTests
{
    private const int Classes = 4;
    private const int Batch = 16;

    [Fact]
    public void ATransformerLearnsAFlowAndDrawsTheClassAsked()
    {
        using var scope = NewDisposeScope();
        var config = new DiffusionTransformerConfig
        {
            SampleSize = 8,
            InputChannels = 1,
            OutputChannels = 1,
            PatchSize = 4,
            HiddenSize = 32,
            Layers = 2,
            Heads = 2,
            Classes = Classes,
            Time = new(32, Scale: 200, MaximumPeriod: 200),
            ClassDeviation = 1,
            GateOffset = 1,
        };
        using var model = new DiffusionTransformer(config, 1);
        using var average = new ExponentialMovingAverage(model, 0.98);
        var generator = new Generator(2, CPU);
        double error = Train(
            model,
            400,
            () =>
            {
                var labels = randint(0, Classes, [Batch], dtype: ScalarType.Int64, generator: generator);
                var clean = Images(labels);
                var noise = NoiseSource.Like(clean, generator);
                var times = RectifiedFlow.UniformTimes(Batch, generator);
                var dropped = model.DropLabels(labels, 0.1, generator);
                var prediction = model.call(
                    RectifiedFlow.Interpolate(clean, noise, times),
                    times,
                    new() { ClassLabels = dropped },
                    null
                );
                return DiffusionObjectives.MeanSquaredError(prediction, RectifiedFlow.Velocity(clean, noise));
            },
            average.Update
        );
        // The best constant predicts the mean of noise - image, and misses the variances of both: 1 + .75.
        Assert.True(error < 0.25 * 1.75, $"error {error}");

        using var lent = average.Lend(model);
        model.eval();
        var wanted = arange(Classes, dtype: ScalarType.Int64);
        var guided = Guidance.Guide(
            (sample, times, labels) => model.call(sample, times, new() { ClassLabels = labels }, null),
            wanted,
            full_like(wanted, Classes),
            2.0
        );
        var drawn = new FlowSampler { Steps = 10 }.Sample(guided, NoiseSource.Normal([Classes, 1, 8, 8], generator));
        double distance = (drawn - Images(wanted)).square().mean().sqrt().ToDouble();
        Assert.True(distance < 0.35, $"distance {distance}"); // two different images lie 1.41 apart
    }

    [Fact]
    public void AUNetLearnsToPredictNoise()
    {
        using var scope = NewDisposeScope();
        var config = LatentDiffusionUNetConfig.Tiny with
        {
            InputChannels = 1,
            OutputChannels = 1,
            Levels = [new(8, 0, 1, 1), new(16, 1, 2, 1)],
            NormGroups = 4,
            ContextWidth = null,
            Classes = Classes,
        };
        using var model = new LatentDiffusionUNet(config, 1);
        var generator = new Generator(3, CPU);
        var schedule = NoiseSchedule.Cosine(100);
        double error = Train(
            model,
            100,
            () =>
            {
                var labels = randint(0, Classes, [Batch], dtype: ScalarType.Int64, generator: generator);
                var (clean, steps) = (Images(labels), schedule.DrawSteps(Batch, generator));
                var noise = NoiseSource.Like(clean, generator);
                var prediction = model.call(schedule.AddNoise(clean, noise, steps), steps, new() { ClassLabels = labels }, null);
                return DiffusionObjectives.MeanSquaredError(prediction, noise);
            },
            () => { }
        );
        Assert.True(error < 0.4, $"error {error}"); // the best constant, 0, has 1
    }

    private static double Train(nn.Module model, int steps, Func<Tensor> loss, Action afterStep)
    {
        const int Last = 25;
        using var optimiser = optim.AdamW(model.parameters(), 3e-3, weight_decay: 0);
        double sum = 0;
        for (int step = 0; step < steps; step++)
        {
            using var scope = NewDisposeScope();
            var error = loss();
            optimiser.zero_grad();
            error.backward();
            optimiser.step();
            afterStep();
            if (step >= steps - Last)
                sum += error.item<float>() / Last;
        }
        return sum;
    }

    private static Tensor Images(Tensor labels)
    {
        var images = full(labels.size(0), 1, 8, 8, -1.0f);
        for (long number = 0; number < labels.size(0); number++)
        {
            long label = labels[number].item<long>();
            images[number, 0].narrow(0, label / 2 * 4, 4).narrow(1, label % 2 * 4, 4).fill_(1);
        }
        return images;
    }
}
