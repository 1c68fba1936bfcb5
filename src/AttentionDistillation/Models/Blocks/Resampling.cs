using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Halves an image: a 3 x 3 convolution of stride 2.</summary>
public sealed class Downsample2d : nn.Module<Tensor, Tensor>
{
    private readonly Conv2d convolution;

    /// <summary>Builds the convolution.</summary>
    public Downsample2d(long channels, SeededLayers layers)
        : base(nameof(Downsample2d))
    {
        ArgumentNullException.ThrowIfNull(layers);
        convolution = layers.Convolution(channels, channels, 3, stride: 2, padding: 1);
        RegisterComponents();
    }

    /// <summary>[B, C, H, W] to [B, C, ceil(H / 2), ceil(W / 2)].</summary>
    public override Tensor forward(Tensor image) => ImageLayout.Convolve(convolution, image);
}

/// <summary>Enlarges an image by its nearest pixels, followed by a 3 x 3 convolution.</summary>
public sealed class Upsample2d : nn.Module<Tensor, long[], Tensor>
{
    private readonly Conv2d convolution;

    /// <summary>Builds the convolution.</summary>
    public Upsample2d(long channels, SeededLayers layers)
        : base(nameof(Upsample2d))
    {
        ArgumentNullException.ThrowIfNull(layers);
        convolution = layers.Convolution(channels, channels, 3, padding: 1);
        RegisterComponents();
    }

    /// <summary>[B, C, h, w] to [B, C, H, W], the size given: that of the skip connection to join, which odd sizes make other than twice.</summary>
    public override Tensor forward(Tensor image, long[] size)
    {
        using var scope = NewDisposeScope();
        var enlarged = nn.functional.interpolate(image, size: size, mode: InterpolationMode.Nearest);
        return ImageLayout.Convolve(convolution, enlarged).MoveToOuterDisposeScope();
    }
}
