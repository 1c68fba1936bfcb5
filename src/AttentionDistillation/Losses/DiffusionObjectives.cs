using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Training objectives of diffusion and flow models.</summary>
public static class DiffusionObjectives
{
    /// <summary>Mean over the batch of weight times mean squared error (Ho et al. 2020, equation 14, with weights 1).</summary>
    /// <param name="prediction">[B, ...]: noise, velocity or clean sample.</param>
    /// <param name="target">The same shape; receives no gradient.</param>
    /// <param name="weights">[B]; null for 1.</param>
    /// <returns>A scalar.</returns>
    /// <exception cref="ArgumentException">Shapes differ.</exception>
    public static Tensor MeanSquaredError(Tensor prediction, Tensor target, Tensor? weights = null)
    {
        ArgumentNullException.ThrowIfNull(prediction);
        Shapes.RequireExact(target, prediction.shape);
        using var scope = NewDisposeScope();
        var type = prediction.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var errors = (prediction.to(type) - target.detach().to(type)).square().flatten(1).mean([1L]);
        if (weights is null)
            return errors.mean().MoveToOuterDisposeScope();
        Shapes.RequireExact(weights, [prediction.size(0)]);
        return (errors * weights.detach().to(type).to(errors.device)).mean().MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Weights that count every step as its clean sample's error with weight min(SNR, gamma) (Hang et al., "Efficient Diffusion Training via
    /// Min-SNR Weighting Strategy", 2023, section 3.4): for a clean prediction min(SNR, gamma), for noise that divided by SNR, for velocity
    /// divided by SNR + 1.
    /// </summary>
    /// <param name="signalToNoise">SNR of each step, [B].</param>
    /// <param name="type">What the model predicts.</param>
    /// <param name="gamma">gamma; 5 in the paper.</param>
    /// <returns>[B].</returns>
    /// <exception cref="ArgumentException">gamma is not above 0.</exception>
    public static Tensor MinSnrWeights(Tensor signalToNoise, PredictionType type, double gamma = 5.0)
    {
        Shapes.RequireExact(signalToNoise, [-1]);
        if (!(gamma > 0))
            throw new ArgumentException(FormattableString.Invariant($"gamma must be above 0, but is {gamma}."), nameof(gamma));
        using var scope = NewDisposeScope();
        var least = signalToNoise.clamp_max(gamma);
        var weights = type switch
        {
            // At a step without signal the quotient's limit is 1.
            PredictionType.Noise => (least / signalToNoise).masked_fill(signalToNoise == 0, 1.0),
            PredictionType.Velocity => least / (signalToNoise + 1),
            _ => least.alias(),
        };
        return weights.MoveToOuterDisposeScope();
    }
}
