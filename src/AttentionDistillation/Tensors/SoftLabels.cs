using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>Labels as distributions over classes.</summary>
public static class SoftLabels
{
    /// <summary>One-hot targets smoothed over all classes, as PyTorch's cross-entropy smooths them: 1 - s + s/V and s/V.</summary>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">V.</param>
    /// <param name="smoothing">s between 0 and 1.</param>
    /// <param name="type">Type of the targets.</param>
    /// <returns>[B, V].</returns>
    /// <exception cref="ArgumentException">s is out of range.</exception>
    public static Tensor Smoothed(Tensor labels, long classes, double smoothing, ScalarType type = ScalarType.Float32)
    {
        Shapes.Require(labels, "[B]");
        if (smoothing is not (>= 0 and <= 1))
            throw new ArgumentException($"Smoothing must be between 0 and 1, but is {smoothing}.", nameof(smoothing));
        using var scope = NewDisposeScope();
        return (
            nn.functional.one_hot(labels, classes).to(type) * (1 - smoothing) + smoothing / classes
        ).MoveToOuterDisposeScope();
    }
}
