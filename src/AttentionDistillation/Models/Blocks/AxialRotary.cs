using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Rotary positions over frames, rows and columns: of the D / 2 channel pairs, a third turns by the row, a third by the column and the rest by
/// the frame; pair i of m turns by position / base^(i / m). One frame makes it the positions of an image.
/// </summary>
/// <remarks>Su et al., "RoFormer", 2021, section 3.2.2, per axis as in Wan 2.1 (c pairs: c - 2 floor(c / 3) frame, floor(c / 3) row, floor(c / 3) column).</remarks>
public sealed class AxialRotary
{
    private readonly double period;
    private (Device Device, ScalarType Type, Tensor Cosine, Tensor Sine)? cached;

    /// <summary>Positions of a grid of tokens, frame by frame, row by row.</summary>
    /// <param name="frames">T; 1 for an image.</param>
    /// <param name="rows">Rows of tokens.</param>
    /// <param name="columns">Columns of tokens.</param>
    /// <param name="headWidth">D, even.</param>
    /// <param name="period">base of the frequencies.</param>
    /// <exception cref="ArgumentException">The head width is odd, or a size is not positive.</exception>
    public AxialRotary(long frames, long rows, long columns, long headWidth, double period = 10_000.0)
    {
        if (headWidth < 2 || headWidth % 2 != 0)
            throw new ArgumentException(
                $"Rotary positions turn pairs of channels, but the head width is {headWidth}.",
                nameof(headWidth)
            );
        if (frames < 1 || rows < 1 || columns < 1)
            throw new ArgumentException($"The grid must be at least 1 x 1 x 1, but is {frames} x {rows} x {columns}.");
        (Frames, Rows, Columns, HeadWidth, this.period) = (frames, rows, columns, headWidth, period);
    }

    /// <summary>T.</summary>
    public long Frames { get; }

    /// <summary>Rows of tokens.</summary>
    public long Rows { get; }

    /// <summary>Columns of tokens.</summary>
    public long Columns { get; }

    /// <summary>D.</summary>
    public long HeadWidth { get; }

    /// <summary>Turns each pair of channels (0, 1), (2, 3) ... by its token's position.</summary>
    /// <param name="heads">[B, H, L, D]; L a whole number of frames, at most those of the grid unless <paramref name="firstFrame"/> says otherwise.</param>
    /// <param name="firstFrame">The frame of the first token, for streams whose keys sit elsewhere than their queries.</param>
    /// <exception cref="ArgumentException">The tokens are no whole frames, or the width differs.</exception>
    public Tensor Rotate(Tensor heads, long firstFrame = 0)
    {
        Shapes.Require(heads, "[B, H, L, D]");
        long area = Rows * Columns,
            length = heads.size(2);
        if (heads.size(3) != HeadWidth || length % area != 0)
            throw new ArgumentException(
                $"Expected [B, H, frames x {Rows} x {Columns}, {HeadWidth}], but got {Shapes.Describe(heads)}.",
                nameof(heads)
            );
        using var scope = NewDisposeScope();
        var type = heads.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var (cosine, sine) = Table(firstFrame, length / area, heads.device, type);
        var pairs = heads.to(type).unflatten(3, [HeadWidth / 2, 2]);
        var (even, odd) = (pairs.select(-1, 0), pairs.select(-1, 1));
        var turned = stack([even * cosine - odd * sine, even * sine + odd * cosine], -1);
        return turned.flatten(3).to(heads.dtype).MoveToOuterDisposeScope();
    }

    // The whole grid's table is asked for at every layer and step, so it is kept.
    private (Tensor Cosine, Tensor Sine) Table(long firstFrame, long frames, Device device, ScalarType type)
    {
        bool whole = firstFrame == 0 && frames == Frames;
        if (
            whole
            && cached is { } table
            && table.Type == type
            && table.Device.type == device.type
            && table.Device.index == device.index
        )
            return (table.Cosine, table.Sine);
        using var guard = no_grad();
        var angles = Angles(firstFrame, frames, device);
        var (cosine, sine) = (angles.cos().to(type), angles.sin().to(type));
        if (whole)
        {
            cached?.Cosine.Dispose();
            cached?.Sine.Dispose();
            cached = (device, type, cosine.DetachFromDisposeScope(), sine.DetachFromDisposeScope());
        }
        return (cosine, sine);
    }

    private Tensor Angles(long firstFrame, long frames, Device device)
    {
        long pairs = HeadWidth / 2,
            side = pairs / 3;
        Tensor Axis(long first, long count, long share, params long[] view)
        {
            var positions = arange(first, first + count, dtype: ScalarType.Float64, device: device).unsqueeze(1);
            var exponents = arange(share, dtype: ScalarType.Float64, device: device) * (-Math.Log(period) / Math.Max(share, 1));
            return (positions * exponents.exp()).view([.. view, share]).expand(frames, Rows, Columns, share);
        }
        return cat(
                [
                    Axis(firstFrame, frames, pairs - 2 * side, frames, 1, 1),
                    Axis(0, Rows, side, 1, Rows, 1),
                    Axis(0, Columns, side, 1, 1, Columns),
                ],
                -1
            )
            .reshape(frames * Rows * Columns, pairs);
    }
}
