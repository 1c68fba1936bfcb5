using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Fixed positions of image tokens by sines and cosines per axis, as DiT has them.</summary>
/// <remarks>
/// Peebles and Xie 2023, section 3.2, after MAE (He et al. 2022): the first half of the channels encodes the column, the second the row, each half
/// sines then cosines with frequencies 10000^(-i / (C / 4)).
/// </remarks>
public static class SineCosinePositions
{
    private const double Period = 10_000.0;

    /// <summary>Positions of an image's tokens.</summary>
    /// <param name="rows">Rows of tokens.</param>
    /// <param name="columns">Columns of tokens.</param>
    /// <param name="width">C, divisible by 4.</param>
    /// <param name="baseRows">Rows the model was made for: another number of rows spans the same range; null for <paramref name="rows"/>.</param>
    /// <param name="baseColumns">Columns the model was made for; null for <paramref name="columns"/>.</param>
    /// <returns>float64 [rows x columns, C].</returns>
    /// <exception cref="ArgumentException">4 does not divide the width.</exception>
    public static Tensor Image(long rows, long columns, long width, long? baseRows = null, long? baseColumns = null)
    {
        if (width < 4 || width % 4 != 0)
            throw new ArgumentException($"Positions of two axes need a width divisible by 4, but it is {width}.", nameof(width));
        using var scope = NewDisposeScope();
        var column = Axis(columns, (double)(baseColumns ?? columns) / columns, width / 2)
            .unsqueeze(0)
            .expand(rows, columns, width / 2);
        var row = Axis(rows, (double)(baseRows ?? rows) / rows, width / 2).unsqueeze(1).expand(rows, columns, width / 2);
        return cat([column, row], -1).reshape(rows * columns, width).MoveToOuterDisposeScope();
    }

    /// <summary>Positions of a video's tokens: a quarter of the channels for the frame, the rest as an image's (as CogVideoX has them).</summary>
    /// <returns>float64 [frames x rows x columns, C], frame by frame.</returns>
    /// <exception cref="ArgumentException">16 does not divide the width.</exception>
    public static Tensor Video(long frames, long rows, long columns, long width)
    {
        if (width < 16 || width % 16 != 0)
            throw new ArgumentException(
                $"Positions of three axes need a width divisible by 16, but it is {width}.",
                nameof(width)
            );
        using var scope = NewDisposeScope();
        long temporal = width / 4,
            area = rows * columns;
        var frame = Axis(frames, 1.0, temporal).unsqueeze(1).expand(frames, area, temporal);
        var image = Image(rows, columns, width - temporal).unsqueeze(0).expand(frames, area, width - temporal);
        return cat([frame, image], -1).reshape(frames * area, width).MoveToOuterDisposeScope();
    }

    private static Tensor Axis(long count, double step, long width)
    {
        var positions = arange(count, dtype: ScalarType.Float64).unsqueeze(1) * step;
        var angles = positions * (arange(width / 2, dtype: ScalarType.Float64) * (-Math.Log(Period) / (width / 2))).exp();
        return cat([angles.sin(), angles.cos()], -1);
    }
}
