using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>
/// Convolutions over sequences [b, c, l], computed as those of images one pixel high whose channels lie last, for the reason that
/// <see cref="ImageLayout.Convolve"/> gives.
/// </summary>
public static class SequenceConvolution
{
    /// <summary>A convolution, the sequence padded by half of the kernel at both ends.</summary>
    /// <param name="sequence">[b, c, l].</param>
    /// <param name="weight">[o, c / groups, k], k odd.</param>
    /// <param name="bias">[o], or null.</param>
    /// <param name="stride">Step.</param>
    /// <param name="groups">Groups of channels that do not see each other.</param>
    /// <returns>[b, o, ceil(l / stride)].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, the kernel is even, or the stride below 1.</exception>
    public static Tensor Of(Tensor sequence, Tensor weight, Tensor? bias, long stride = 1, long groups = 1)
    {
        Shapes.Require(sequence, "[b, c, l]");
        Shapes.RequireExact(weight, [-1, sequence.size(1) / groups, -1]);
        long kernel = weight.size(2);
        if (kernel % 2 == 0)
            throw new ArgumentException(
                $"The kernel must be odd, so that the sequence keeps its middle, but is {kernel}.",
                nameof(weight)
            );
        if (stride < 1)
            throw new ArgumentException($"The stride must be 1 or more, but is {stride}.", nameof(stride));
        using var scope = NewDisposeScope();
        var output = nn.functional.conv2d(
            ImageLayout.ChannelsLast(sequence.unsqueeze(2)),
            weight.unsqueeze(2),
            bias,
            [1, stride],
            [0, kernel / 2],
            [1, 1],
            groups
        );
        return output.squeeze(2).MoveToOuterDisposeScope();
    }

    /// <summary>A convolution of every channel by itself.</summary>
    /// <param name="sequence">[b, c, l].</param>
    /// <param name="weight">[c, 1, k], k odd.</param>
    /// <param name="stride">Step.</param>
    /// <inheritdoc cref="Of" path="/returns"/>
    /// <inheritdoc cref="Of" path="/exception"/>
    public static Tensor Depthwise(Tensor sequence, Tensor weight, long stride = 1)
    {
        Shapes.Require(sequence, "[b, c, l]");
        Shapes.RequireExact(weight, [sequence.size(1), 1, -1]);
        return Of(sequence, weight, null, stride, sequence.size(1));
    }
}
