using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

public sealed class DiffusionObjectivesTests
{
    [Fact]
    public void ErrorsAreMeansOfSamplesWithTheirWeights()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(1);
        var (prediction, target) = (random.Normal(3, 2, 2), random.Normal(3, 2, 2));
        var weights = tensor(new[] { 1.0, 0.0, 3.0 });
        var errors = (prediction - target).square().mean([1L, 2L]);
        Check.Close(errors.mean(), DiffusionObjectives.MeanSquaredError(prediction, target), 1e-12);
        Check.Close((errors[0] + errors[2] * 3) / 3, DiffusionObjectives.MeanSquaredError(prediction, target, weights), 1e-12);
        Check.Gradients(inputs => DiffusionObjectives.MeanSquaredError(inputs[0], target, weights), [prediction]);
        Assert.Throws<ArgumentException>(() => DiffusionObjectives.MeanSquaredError(prediction, target[0]));
    }

    [Fact]
    public void MinSnrWeightsMeanTheSameForEveryPrediction()
    {
        using var scope = NewDisposeScope();
        var ratios = tensor(new[] { 0.0, 0.1, 1.0, 5.0, 400.0 });
        var clean = DiffusionObjectives.MinSnrWeights(ratios, PredictionType.Clean);
        Check.Close(tensor(new[] { 0.0, 0.1, 1.0, 5.0, 5.0 }), clean, 1e-12);
        var noise = DiffusionObjectives.MinSnrWeights(ratios, PredictionType.Noise);
        Check.Close(tensor(new[] { 1.0, 1.0, 1.0, 1.0, 5.0 / 400 }), noise, 1e-12);
        // An error d of the clean sample is sqrt(SNR) d of the noise and sqrt(SNR + 1) d of the velocity.
        var velocity = DiffusionObjectives.MinSnrWeights(ratios, PredictionType.Velocity);
        Check.Close(clean, velocity * (ratios + 1), 1e-12);
        Check.Close(clean.narrow(0, 1, 4), (noise * ratios).narrow(0, 1, 4), 1e-12);
    }
}
