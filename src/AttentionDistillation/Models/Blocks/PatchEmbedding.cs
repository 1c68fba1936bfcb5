using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Cuts images into patches that do not overlap and projects each to a token: a convolution whose stride is its kernel (Dosovitskiy et al., "An
/// Image is Worth 16x16 Words", 2020, equation 1). Pixels beyond the last whole patch are left out, as a convolution does.
/// </summary>
public sealed class PatchEmbedding : nn.Module<Tensor, Tensor>
{
    private readonly Conv2d projection;

    /// <summary>Builds the projection.</summary>
    /// <param name="channels">Channels of the images.</param>
    /// <param name="width">C, width of the tokens.</param>
    /// <param name="patch">Pixels of a patch.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="standardDeviation">Of the initial weights.</param>
    /// <param name="hasBias">Whether the projection has biases.</param>
    public PatchEmbedding(
        long channels,
        long width,
        ImageSize patch,
        SeededLayers layers,
        double standardDeviation,
        bool hasBias = true
    )
        : base(nameof(PatchEmbedding))
    {
        Patch = patch;
        projection = layers.ImageConvolution(
            channels,
            width,
            (patch.Height, patch.Width),
            (patch.Height, patch.Width),
            padding: 0,
            hasBias: hasBias,
            standardDeviation: standardDeviation
        );
        RegisterComponents();
    }

    /// <summary>Pixels of a patch.</summary>
    public ImageSize Patch { get; }

    /// <summary>[B, channels, height, width] to tokens [B, N, C], row by row.</summary>
    public override Tensor forward(Tensor images)
    {
        using var scope = NewDisposeScope();
        return ImageLayout.Convolve(projection, images).flatten(2).transpose(1, 2).MoveToOuterDisposeScope();
    }
}
