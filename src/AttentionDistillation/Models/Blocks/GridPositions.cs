using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Learned positions of a grid of patches, after those of leading tokens that have no place in the image (class, distillation). For another grid
/// the patches' positions are interpolated bicubically, without aligned corners, as transformers' <c>interpolate_pos_encoding</c> does.
/// </summary>
public sealed class GridPositions : nn.Module<ImageSize, Tensor>
{
    private readonly Parameter table;

    /// <summary>Builds the table.</summary>
    /// <param name="grid">Patches it is learned for.</param>
    /// <param name="leading">Tokens before the patches.</param>
    /// <param name="width">C.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="standardDeviation">Of the initial weights.</param>
    public GridPositions(ImageSize grid, long leading, long width, SeededLayers layers, double standardDeviation)
        : base(nameof(GridPositions))
    {
        (Grid, Leading) = (grid, leading);
        table = layers.NormalParameter(standardDeviation, 1, leading + grid.Area, width);
        RegisterComponents();
    }

    /// <summary>Patches the table is learned for.</summary>
    public ImageSize Grid { get; }

    /// <summary>Tokens before the patches.</summary>
    public long Leading { get; }

    /// <summary>The table [1, leading + N, C].</summary>
    public Parameter Table => table;

    /// <summary>
    /// Puts sines and cosines of the patches' rows and columns into the table, zeros for the leading tokens, and lets nothing learn them, as MAE does
    /// (He et al. 2022, its code's <c>get_2d_sincos_pos_embed</c>).
    /// </summary>
    /// <exception cref="ArgumentException">4 does not divide the width.</exception>
    public void FixSineCosine()
    {
        using var scope = NewDisposeScope();
        using var _ = no_grad();
        var patches = SineCosinePositions.Image(Grid.Height, Grid.Width, table.size(2)).unsqueeze(0);
        table.zero_();
        table.narrow(1, Leading, Grid.Area).copy_(patches);
        table.requires_grad_(false);
    }

    /// <summary>Positions for a grid, [1, leading + N, C].</summary>
    public override Tensor forward(ImageSize grid) => grid == Grid ? table.alias() : Interpolated(grid);

    private Tensor Interpolated(ImageSize grid)
    {
        using var scope = NewDisposeScope();
        long width = table.size(2);
        // In float32 also for bfloat16 tables: the kernels of low precision are not on every device.
        var wide = table.dtype is ScalarType.BFloat16 or ScalarType.Float16 ? table.to(ScalarType.Float32) : table.alias();
        var patches = wide.narrow(1, Leading, Grid.Area).view(1, Grid.Height, Grid.Width, width).permute(0, 3, 1, 2);
        var scaled = nn.functional.interpolate(
            patches,
            [grid.Height, grid.Width],
            mode: InterpolationMode.Bicubic,
            align_corners: false
        );
        var tokens = scaled.permute(0, 2, 3, 1).reshape(1, grid.Area, width);
        return cat([wide.narrow(1, 0, Leading), tokens], 1).to(table.dtype).MoveToOuterDisposeScope();
    }
}
