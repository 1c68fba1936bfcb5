using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// Clipping by the global norm (Pascanu, Mikolov and Bengio 2013, Algorithm 1), the same numbers as <c>torch.nn.utils.clip_grad_norm_</c> but
/// without reading the norm on the host.
/// </summary>
public static class GradientClipping
{
    // Added to the norm by torch.nn.utils.clip_grad_norm_, against a division by zero.
    private const double Epsilon = 1e-6;

    /// <summary>Scales gradients in place so that their norm over all elements is at most <paramref name="maxNorm"/>.</summary>
    /// <param name="gradients">On one device; changed in place.</param>
    /// <param name="maxNorm">The largest norm, positive.</param>
    /// <returns>The norm before clipping, a scalar on their device.</returns>
    /// <exception cref="ArgumentException">The list is empty, or the norm is not positive.</exception>
    public static Tensor ByGlobalNorm(Tensor[] gradients, double maxNorm)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        RequirePositive(maxNorm);
        var norm = TorchScriptOperators.GlobalNorm(gradients);
        TorchScriptOperators.ScaleAll(gradients, norm.add(Epsilon).reciprocal().mul(maxNorm).clamp_max(1.0));
        return norm.MoveToOuterDisposeScope();
    }

    /// <summary>What gradients of a norm must be divided by so that their norm is at most <paramref name="maxNorm"/>: 1 or more.</summary>
    /// <param name="norm">A scalar on the gradients' device.</param>
    /// <param name="maxNorm">The largest norm, positive.</param>
    /// <returns>A scalar on the gradients' device.</returns>
    /// <exception cref="ArgumentException">The norm is not positive.</exception>
    public static Tensor Divisor(Tensor norm, double maxNorm)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        RequirePositive(maxNorm);
        return norm.add(Epsilon).div(maxNorm).clamp_min(1.0).MoveToOuterDisposeScope();
    }

    private static void RequirePositive(double maxNorm)
    {
        if (!(maxNorm > 0))
            throw new ArgumentException($"The largest norm must be positive, but is {maxNorm}.", nameof(maxNorm));
    }
}
