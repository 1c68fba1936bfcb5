using System.Globalization;

namespace AttentionDistillation.Tensors;

/// <summary>Height and width, in pixels or in patches. A single number stands for a square.</summary>
/// <param name="Height">Rows.</param>
/// <param name="Width">Columns.</param>
public readonly record struct ImageSize(long Height, long Width)
{
    /// <summary>A square.</summary>
    public static ImageSize Square(long side) => new(side, side);

    /// <summary>A square.</summary>
    public static implicit operator ImageSize(long side) => new(side, side);

    /// <summary>Height times width.</summary>
    public long Area => Height * Width;

    /// <summary>How many whole patches of a size fit, per direction.</summary>
    public ImageSize Whole(ImageSize patch) => new(Height / patch.Height, Width / patch.Width);

    /// <summary>For example <c>224 x 224</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Height} x {Width}");
}
