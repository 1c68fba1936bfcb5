using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>How images and maps [B, C, height, width] lie in memory.</summary>
public static class ImageLayout
{
    // Who counts operations by watching layers hears here of the convolutions that are computed without calling the layer.
    [ThreadStatic]
    private static Action<Conv2d, Tensor>? computedDirectly;

    /// <summary>
    /// Tells of every convolution of this thread that <see cref="Convolve"/> computes by itself, past the layer and so past its hooks: the layer and
    /// its output.
    /// </summary>
    /// <returns>Stops telling.</returns>
    internal static Action WatchDirect(Action<Conv2d, Tensor> seen)
    {
        computedDirectly += seen;
        return () => computedDirectly -= seen;
    }

    /// <summary>
    /// Calls a convolution on channels-last maps: on the CPU, and in low precision on CUDA. Every convolution of this library is called through here.
    /// </summary>
    /// <remarks>
    /// On the CPU this is more than speed. The oneDNN kernels of libtorch 2.10 for the default layout work on channels in blocks of 16 (8 without
    /// AVX-512), and were seen not to clear what pads the last block: forward passes with 24 channels and gradients with 12 were wrong, and differed
    /// from run to run. The kernels for channels last have no such padding. One channel lies the same way in both layouts, so it gets a second one
    /// of zeros.
    /// </remarks>
    /// <param name="convolution">The layer.</param>
    /// <param name="map">[B, C, height, width].</param>
    /// <returns>What the layer gives, [B, C', height', width'].</returns>
    public static Tensor Convolve(Conv2d convolution, Tensor map)
    {
        ArgumentNullException.ThrowIfNull(convolution);
        Shapes.Require(map, "[B, C, height, width]");
        bool onCuda = map.device_type == DeviceType.CUDA;
        if (onCuda && map.dtype is not (ScalarType.BFloat16 or ScalarType.Float16))
            return convolution.call(map);
        using var scope = NewDisposeScope();
        if (!onCuda && IsPointwise(convolution, map))
            return Told(convolution, Pointwise(convolution, map)).MoveToOuterDisposeScope();
        if (onCuda || map.size(1) > 1)
            return convolution.call(ChannelsLast(map)).MoveToOuterDisposeScope();
        var weight = convolution.weight;
        var output = nn.functional.conv2d(
            ChannelsLast(cat([map, zeros_like(map)], 1)),
            cat([weight, zeros_like(weight)], 1),
            convolution.bias,
            convolution.stride,
            convolution.padding,
            convolution.dilation
        );
        return Told(convolution, output).MoveToOuterDisposeScope();
    }

    private static Tensor Told(Conv2d convolution, Tensor output)
    {
        computedDirectly?.Invoke(convolution, output);
        return output;
    }

    private static bool IsPointwise(Conv2d convolution, Tensor map)
    {
        var weight = convolution.weight;
        return weight.size(2) == 1
            && weight.size(3) == 1
            && weight.size(1) == map.size(1)
            && convolution.padding is { } padding
            && padding.All(side => side == 0);
    }

    // A convolution of single pixels is a linear layer on them. As a convolution, wide ones ended the process on a virtual processor (a division by
    // zero in libtorch 2.10's oneDNN).
    private static Tensor Pointwise(Conv2d convolution, Tensor map)
    {
        using var scope = NewDisposeScope();
        var weight = convolution.weight;
        if (convolution.stride is [var down, var right] && (down > 1 || right > 1))
            map = map.slice(2, 0, map.size(2), down).slice(3, 0, map.size(3), right);
        var pixels = map.permute(0, 2, 3, 1);
        var product = LinearProduct.Of(pixels, weight.view(weight.size(0), weight.size(1)), convolution.bias);
        return product.permute(0, 3, 1, 2).MoveToOuterDisposeScope();
    }

    /// <summary>The same values with the channels of a pixel side by side.</summary>
    /// <param name="map">[B, C, height, width].</param>
    public static Tensor ChannelsLast(Tensor map)
    {
        Shapes.Require(map, "[B, C, height, width]");
        using var scope = NewDisposeScope();
        long channels = map.size(1),
            height = map.size(2),
            width = map.size(3);
        var pixels = map.permute(0, 2, 3, 1).contiguous();
        // One pixel lies the same way in both layouts; libtorch then looks at the strides, which must say so.
        bool ambiguous = height * width == 1;
        var last = ambiguous
            ? pixels.as_strided(
                [map.size(0), channels, height, width],
                [height * width * channels, 1, width * channels, channels],
                pixels.storage_offset()
            )
            : pixels.permute(0, 3, 1, 2);
        return last.MoveToOuterDisposeScope();
    }
}
