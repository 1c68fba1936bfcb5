using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Cuts maps into square windows that do not overlap, and puts them together again (Liu et al., "Swin Transformer", 2021, section 3.2).</summary>
public static class Windows
{
    /// <summary>The score that Swin adds where two places of a shifted window do not belong together.</summary>
    private const double Apart = -100.0;

    /// <summary>Pads a map with zeros at the bottom and right to whole windows.</summary>
    /// <param name="map">[B, height, width, C].</param>
    /// <param name="window">Side of a window.</param>
    /// <returns>[B, height', width', C], the same tensor's alias when nothing is missing.</returns>
    public static Tensor Pad(Tensor map, long window)
    {
        Shapes.Require(map, "[B, height, width, C]");
        long below = Missing(map.size(1), window),
            right = Missing(map.size(2), window);
        return below == 0 && right == 0 ? map.alias() : nn.functional.pad(map, [0, 0, 0, right, 0, below]);
    }

    /// <summary>Cuts a map of whole windows up.</summary>
    /// <param name="map">[B, height, width, C], both sides multiples of <paramref name="window"/>.</param>
    /// <param name="window">Side of a window.</param>
    /// <returns>[B x windows, window x window, C]: the windows of an image one after another, row by row.</returns>
    /// <exception cref="ArgumentException">The sides are no multiples of the window.</exception>
    public static Tensor Cut(Tensor map, long window)
    {
        Shapes.Require(map, "[B, height, width, C]");
        if (window < 1 || Missing(map.size(1), window) != 0 || Missing(map.size(2), window) != 0)
            throw new ArgumentException(
                $"A map of {map.size(1)} x {map.size(2)} does not fall into windows of {window}. Pad it first.",
                nameof(map)
            );
        using var scope = NewDisposeScope();
        long down = map.size(1) / window,
            across = map.size(2) / window;
        return map.reshape(map.size(0), down, window, across, window, map.size(3))
            .transpose(2, 3)
            .reshape(map.size(0) * down * across, window * window, map.size(3))
            .MoveToOuterDisposeScope();
    }

    /// <summary>Puts windows together and leaves the padding out.</summary>
    /// <param name="windows">[B x windows, window x window, C] as <see cref="Cut"/> gives them.</param>
    /// <param name="window">Side of a window.</param>
    /// <param name="size">Height and width of the map without padding.</param>
    /// <returns>[B, height, width, C].</returns>
    public static Tensor Join(Tensor windows, long window, ImageSize size)
    {
        Shapes.RequireExact(windows, [-1, window * window, -1]);
        using var scope = NewDisposeScope();
        long down = (size.Height + window - 1) / window,
            across = (size.Width + window - 1) / window;
        var whole = windows
            .reshape(-1, down, across, window, window, windows.size(2))
            .transpose(2, 3)
            .reshape(-1, down * window, across * window, windows.size(2));
        return whole.narrow(1, 0, size.Height).narrow(2, 0, size.Width).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// What is added to the scores of windows of a map that was rolled up and left by a shift: places that only the roll brought together do not see
    /// each other (Liu et al., 2021, figure 4).
    /// </summary>
    /// <param name="padded">Height and width of the map, whole windows.</param>
    /// <param name="window">Side of a window.</param>
    /// <param name="shift">By how much it was rolled, above 0 and below the window.</param>
    /// <param name="type">Element type of the result.</param>
    /// <param name="device">Where the result lives.</param>
    /// <returns>[windows, window x window, window x window]: 0, or -100 where two places do not belong together.</returns>
    public static Tensor ShiftMask(ImageSize padded, long window, long shift, ScalarType type, Device device)
    {
        using var scope = NewDisposeScope();
        var rows = Region(padded.Height);
        var columns = Region(padded.Width);
        var regions = (rows.unsqueeze(1) * 3 + columns.unsqueeze(0)).view(1, padded.Height, padded.Width, 1);
        var cut = Cut(regions, window).squeeze(-1);
        var together = cut.unsqueeze(1).eq(cut.unsqueeze(2));
        return zeros_like(together, dtype: type, device: device)
            .masked_fill(together.logical_not().to(device), Apart)
            .MoveToOuterDisposeScope();

        // Along one side: what is before the last window, the part of it before the roll's seam, and what the roll brought there.
        Tensor Region(long side)
        {
            var place = arange(side, dtype: ScalarType.Int64, device: device);
            return place.ge(side - window).to(ScalarType.Int64) + place.ge(side - shift).to(ScalarType.Int64);
        }
    }

    private static long Missing(long side, long window) => (window - side % window) % window;
}
