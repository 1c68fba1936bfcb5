using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Patches of an image as tokens behind a class token and, for DeiT, a distillation token; learned positions; dropout.</summary>
public sealed class VisionEmbeddings : nn.Module<Tensor, Tensor>
{
    private readonly Parameter classToken;
    private readonly Parameter? distillationToken;
    private readonly PatchEmbedding patches;
    private readonly GridPositions positions;
    private readonly Dropout dropout;
    private readonly bool interpolates;

    /// <summary>Builds the tables.</summary>
    /// <param name="image">Pixels of the images that the positions are learned for.</param>
    /// <param name="channels">Channels of the images.</param>
    /// <param name="patch">Pixels of a patch.</param>
    /// <param name="width">C.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="standardDeviation">Of the initial weights of patches and positions.</param>
    /// <param name="interpolates">Whether images of other sizes are taken, with interpolated positions.</param>
    /// <param name="distillation">Whether there is a distillation token after the class token.</param>
    /// <param name="patchBias">Whether the patches' projection has biases.</param>
    /// <param name="dropout">Dropout probability of the tokens.</param>
    public VisionEmbeddings(
        ImageSize image,
        long channels,
        ImageSize patch,
        long width,
        SeededLayers layers,
        double standardDeviation,
        bool interpolates,
        bool distillation = false,
        bool patchBias = true,
        double dropout = 0.0
    )
        : base(nameof(VisionEmbeddings))
    {
        (Image, this.interpolates) = (image, interpolates);
        classToken = layers.NormalParameter(standardDeviation, 1, 1, width);
        distillationToken = distillation ? layers.NormalParameter(standardDeviation, 1, 1, width) : null;
        patches = new PatchEmbedding(channels, width, patch, layers, standardDeviation, patchBias);
        positions = new GridPositions(image.Whole(patch), distillation ? 2 : 1, width, layers, standardDeviation);
        this.dropout = nn.Dropout(dropout);
        RegisterComponents();
    }

    /// <summary>Pixels of the images that the positions are learned for.</summary>
    public ImageSize Image { get; }

    /// <summary>Positions by fixed sines and cosines from now on (<see cref="GridPositions.FixSineCosine"/>).</summary>
    /// <exception cref="ArgumentException">4 does not divide the width.</exception>
    public void FixPositions() => positions.FixSineCosine();

    /// <summary>[B, channels, height, width] to [B, tokens, C]: class, distillation (if there is one), patches row by row.</summary>
    /// <exception cref="ArgumentException">The images have another size and positions are not interpolated, or are smaller than a patch.</exception>
    public override Tensor forward(Tensor images)
    {
        var size = new ImageSize(images.size(2), images.size(3));
        if (size != Image && !interpolates)
            throw new ArgumentException(
                $"The images are {size}, but the model's positions are for {Image}. Resize the images, or let the configuration interpolate positions.",
                nameof(images)
            );
        var grid = size.Whole(patches.Patch);
        if (grid.Area < 1)
            throw new ArgumentException(
                $"The images are {size}, smaller than one patch of {patches.Patch}. Give larger images.",
                nameof(images)
            );
        using var scope = NewDisposeScope();
        long batch = images.size(0);
        Tensor[] leading = distillationToken is null ? [classToken] : [classToken, distillationToken];
        var tokens = cat([.. leading.Select(token => token.expand(batch, -1, -1)), patches.call(images)], 1);
        return dropout.call(tokens + positions.call(grid)).MoveToOuterDisposeScope();
    }
}
