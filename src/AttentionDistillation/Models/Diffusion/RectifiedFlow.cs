using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Diffusion;

/// <summary>
/// Rectified flow: x_t = (1 - t) x + t e on the straight line from a clean sample (t = 0) to noise (t = 1), velocity v = e - x.
/// </summary>
/// <remarks>Liu et al., "Flow Straight and Fast", 2023; time sampling and shift: Esser et al. 2024, sections 3.1 and 5.3.2.</remarks>
public static class RectifiedFlow
{
    /// <summary>x_t.</summary>
    /// <param name="clean">x, [B, ...].</param>
    /// <param name="noise">e, the same shape.</param>
    /// <param name="times">[B], from 0 to 1.</param>
    public static Tensor Interpolate(Tensor clean, Tensor noise, Tensor times)
    {
        using var scope = NewDisposeScope();
        var time = Spread(times, clean);
        return ((1 - time) * clean + time * noise).MoveToOuterDisposeScope();
    }

    /// <summary>The velocity e - x, what a model is trained to give.</summary>
    public static Tensor Velocity(Tensor clean, Tensor noise) => noise - clean;

    /// <summary>The clean sample that a velocity implies: x_t - t v.</summary>
    public static Tensor CleanEstimate(Tensor sample, Tensor velocity, Tensor times)
    {
        using var scope = NewDisposeScope();
        return (sample - Spread(times, sample) * velocity).MoveToOuterDisposeScope();
    }

    /// <summary>The noise that a velocity implies: x_t + (1 - t) v.</summary>
    public static Tensor NoiseEstimate(Tensor sample, Tensor velocity, Tensor times)
    {
        using var scope = NewDisposeScope();
        return (sample + (1 - Spread(times, sample)) * velocity).MoveToOuterDisposeScope();
    }

    /// <summary>Times from a uniform distribution over [0, 1).</summary>
    /// <returns>float32 [B], on the CPU.</returns>
    public static Tensor UniformTimes(long count, Generator generator) => rand(count, generator: generator);

    /// <summary>Times sigmoid(N(mean, deviation^2)): most in the middle, where predicting is hardest.</summary>
    /// <param name="count">B.</param>
    /// <param name="generator">Draws; on the CPU.</param>
    /// <param name="mean">Above 0 prefers noisy samples.</param>
    /// <param name="deviation">The spread; 1 is usual.</param>
    /// <returns>float32 [B], on the CPU.</returns>
    public static Tensor LogitNormalTimes(long count, Generator generator, double mean = 0.0, double deviation = 1.0)
    {
        using var scope = NewDisposeScope();
        return (randn(count, generator: generator) * deviation + mean).sigmoid().MoveToOuterDisposeScope();
    }

    /// <summary>A time moved towards noise: s t / (1 + (s - 1) t), as larger images need.</summary>
    /// <param name="time">t, 0 to 1.</param>
    /// <param name="shift">s, above 0; 1 moves nothing.</param>
    public static double Shift(double time, double shift) => shift * time / (1 + (shift - 1) * time);

    /// <summary>Times moved towards noise, see <see cref="Shift(double, double)"/>.</summary>
    public static Tensor Shift(Tensor times, double shift)
    {
        using var scope = NewDisposeScope();
        return (times * shift / (1 + times * (shift - 1))).MoveToOuterDisposeScope();
    }

    /// <summary>The times of a sampler from 1 to 0: steps + 1 of them.</summary>
    /// <param name="steps">How many moves.</param>
    /// <param name="shift">s of <see cref="Shift(double, double)"/>.</param>
    /// <exception cref="ArgumentException">There is no step, or the shift is not above 0.</exception>
    public static double[] TimeGrid(int steps, double shift = 1.0)
    {
        if (steps < 1 || !(shift > 0))
            throw new ArgumentException(
                FormattableString.Invariant($"A sampler needs 1 step or more and a shift above 0, but has {steps} and {shift}.")
            );
        return [.. Enumerable.Range(0, steps + 1).Select(step => Shift(1 - (double)step / steps, shift))];
    }

    private static Tensor Spread(Tensor times, Tensor like)
    {
        Shapes.RequireExact(times, [like.size(0)]);
        return times.to(like.dtype).to(like.device).view([times.size(0), .. Enumerable.Repeat(1L, (int)like.dim() - 1)]);
    }
}
