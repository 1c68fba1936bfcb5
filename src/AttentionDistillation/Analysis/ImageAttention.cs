using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Statistics of attention over the patches of an image.</summary>
public static class ImageAttention
{
    /// <summary>
    /// Mean distance of each query patch to the patches it attends to, weighted by attention, in pixels, [B, H, N] (Dosovitskiy et al. 2020, "An Image is
    /// Worth 16x16 Words", figure 11): distances of patch centres times the patch's size. <see cref="AttentionStatistics.PerHead"/> averages.
    /// </summary>
    /// <param name="probabilities">The map [B, H, skip + N, skip + N].</param>
    /// <param name="grid">The grid of N patches.</param>
    /// <param name="patch">Side of a patch in pixels; 1 for distances in patches.</param>
    /// <param name="skip">Leading tokens that are no patches (class, distillation); their rows and columns are cut and rows brought back to a sum of 1.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Distance(Tensor probabilities, ImageSize grid, double patch = 1.0, int skip = 0)
    {
        using var scope = NewDisposeScope();
        var map = Patches(probabilities, grid, skip);
        var place = arange(grid.Area, dtype: ScalarType.Float64, device: map.device);
        var row = place.div(grid.Width).floor();
        var column = place - row * grid.Width;
        var distance = (
            (row.unsqueeze(1) - row.unsqueeze(0)).square() + (column.unsqueeze(1) - column.unsqueeze(0)).square()
        ).sqrt();
        return ((map * distance).sum(-1) * patch).MoveToOuterDisposeScope();
    }

    /// <summary>The part of a map that lies between patches, rows brought to a sum of 1, float64 [B, H, N, N].</summary>
    /// <param name="probabilities">The map [B, H, skip + N, skip + N].</param>
    /// <param name="grid">The grid of N patches.</param>
    /// <param name="skip">Leading tokens that are no patches.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Patches(Tensor probabilities, ImageSize grid, int skip = 0)
    {
        Shapes.Require(probabilities, "[B, H, L, S]");
        ArgumentOutOfRangeException.ThrowIfNegative(skip);
        if (probabilities.size(2) != grid.Area + skip || probabilities.size(3) != grid.Area + skip)
            throw new ArgumentException(
                $"A grid of {grid} with {skip} tokens before it has maps of {grid.Area + skip} x {grid.Area + skip}, but the map is {Shapes.Describe(probabilities)}. Name the tokens that are no patches with skip.",
                nameof(probabilities)
            );
        using var scope = NewDisposeScope();
        var map = probabilities.detach().to(ScalarType.Float64).narrow(2, skip, grid.Area).narrow(3, skip, grid.Area);
        return (map / map.sum(-1, keepdim: true)).MoveToOuterDisposeScope();
    }
}
