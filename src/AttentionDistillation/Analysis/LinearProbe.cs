using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>
/// A linear classifier on frozen features: what they say without further training. Multinomial logistic regression with a ridge, on features brought to mean 0
/// and deviation 1, in float64, by steps that cannot overshoot: no learning rate, no seed.
/// </summary>
/// <remarks>
/// Every step uses the bound (1/2) XᵀX of the Hessian (Böhning, "Multinomial logistic regression algorithm", 1992), so that the loss falls at each. Least
/// squares on one-hot labels would be quicker and never chooses a rare class between two frequent ones: on per-patch labels it answers background.
/// </remarks>
public sealed class LinearProbe : IDisposable
{
    /// <summary>The default weight of the squared weights beside the mean cross-entropy.</summary>
    public const double DefaultRidge = 1e-3;

    private const int DefaultSteps = 200;

    private readonly Tensor mean;
    private readonly Tensor deviation;
    private readonly Tensor weights;

    private LinearProbe(Tensor mean, Tensor deviation, Tensor weights) =>
        (this.mean, this.deviation, this.weights) = (
            mean.DetachFromDisposeScope(),
            deviation.DetachFromDisposeScope(),
            weights.DetachFromDisposeScope()
        );

    /// <summary>Fits a probe.</summary>
    /// <param name="features">[..., C].</param>
    /// <param name="labels">int64 [...], from 0.</param>
    /// <param name="classes">Number of classes.</param>
    /// <param name="ridge">Weight of half the squared weights beside the mean cross-entropy.</param>
    /// <param name="steps">Steps of the fit.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or the ridge is not positive.</exception>
    public static LinearProbe Fit(
        Tensor features,
        Tensor labels,
        int classes,
        double ridge = DefaultRidge,
        int steps = DefaultSteps
    )
    {
        Shapes.RequireExact(labels, features.shape.AsSpan()[..^1], "labels");
        if (!(ridge > 0))
            throw new ArgumentException(
                $"The ridge must be above 0, or the fit may have no solution, but is {ridge}.",
                nameof(ridge)
            );
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var rows = Rows(features);
        var mean = rows.mean([0L], keepdim: true);
        // A channel that never changes says nothing; its deviation of 0 must not divide.
        var deviation = (rows - mean).square().mean([0L], keepdim: true).sqrt().clamp_min(1e-12);
        var inputs = WithConstant((rows - mean) / deviation);
        var targets = nn.functional.one_hot(labels.reshape(-1), classes).to(ScalarType.Float64);
        var bound =
            matmul(inputs.t(), inputs) / (2.0 * rows.size(0))
            + eye(inputs.size(1), dtype: ScalarType.Float64, device: inputs.device) * ridge;
        var inverse = linalg.inv(bound);
        var weights = zeros(inputs.size(1), classes, dtype: ScalarType.Float64, device: inputs.device);
        for (int step = 0; step < steps; step++)
        {
            using var inner = NewDisposeScope();
            var surplus = nn.functional.softmax(matmul(inputs, weights), -1) - targets;
            var gradient = matmul(inputs.t(), surplus) / rows.size(0) + weights * ridge;
            weights.sub_(matmul(inverse, gradient));
        }
        return new LinearProbe(mean, deviation, weights);
    }

    /// <summary>The class of every row, int64 [...].</summary>
    /// <param name="features">[..., C].</param>
    public Tensor Predict(Tensor features)
    {
        ArgumentNullException.ThrowIfNull(features);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var scores = matmul(WithConstant((Rows(features) - mean) / deviation), weights);
        return scores.argmax(-1).reshape(features.shape[..^1]).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        mean.Dispose();
        deviation.Dispose();
        weights.Dispose();
    }

    private static Tensor Rows(Tensor features) => features.detach().to(ScalarType.Float64).reshape(-1, features.size(-1));

    private static Tensor WithConstant(Tensor rows) =>
        cat([rows, ones(rows.size(0), 1, dtype: rows.dtype, device: rows.device)], 1);
}
