using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Diffusion;

/// <summary>A model as samplers see it.</summary>
/// <param name="sample">x_t, [B, ...].</param>
/// <param name="times">[B]: steps (int64) of a discrete schedule, or times.</param>
/// <returns>The prediction, [B, ...].</returns>
public delegate Tensor Denoiser(Tensor sample, Tensor times);

/// <summary>Noise from explicit generators.</summary>
public static class NoiseSource
{
    /// <summary>Standard normal noise drawn on the CPU, so that a seed gives the same numbers on every device.</summary>
    /// <param name="shape">Shape of the result.</param>
    /// <param name="generator">Draws; on the CPU.</param>
    /// <param name="device">Where the result goes; null means the CPU.</param>
    /// <param name="type">Element type; draws are float32 unless it is float64.</param>
    public static Tensor Normal(
        ReadOnlySpan<long> shape,
        Generator generator,
        Device? device = null,
        ScalarType type = ScalarType.Float32
    )
    {
        using var scope = NewDisposeScope();
        var drawn = randn(
            shape.ToArray(),
            dtype: type == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32,
            generator: generator
        );
        return drawn.to(type).to(device ?? CPU).MoveToOuterDisposeScope();
    }

    /// <summary>Noise of a tensor's shape, element type and device.</summary>
    public static Tensor Like(Tensor tensor, Generator generator) => Normal(tensor.shape, generator, tensor.device, tensor.dtype);
}
