namespace AttentionDistillation.Worlds.Images;

/// <summary>
/// Bilinear resizing with antialiasing of 8-bit images: a triangle over as many source pixels as one result pixel covers, rows first, then columns, each in
/// fixed point and rounded to 8 bits in between, as Pillow does it and with it torchvision's <c>Resize</c>.
/// </summary>
internal static class BilinearResize
{
    private const int FractionBits = 22;

    private readonly record struct Tap(int First, int[] Weights);

    /// <summary>An image of another size.</summary>
    /// <param name="image">[height, width, 3].</param>
    /// <param name="width">Its width.</param>
    /// <param name="height">Its height.</param>
    /// <param name="newWidth">The result's width.</param>
    /// <param name="newHeight">The result's height.</param>
    /// <returns>[newHeight, newWidth, 3]; the same array where the size is the same.</returns>
    internal static byte[] Apply(byte[] image, int width, int height, int newWidth, int newHeight)
    {
        if (newWidth != width)
        {
            var taps = Taps(width, newWidth);
            byte[] narrow = new byte[height * newWidth * 3];
            for (int y = 0; y < height; y++)
            for (int x = 0; x < newWidth; x++)
            for (int channel = 0; channel < 3; channel++)
                narrow[(y * newWidth + x) * 3 + channel] = Sum(taps[x], image, (y * width * 3) + channel, 3);
            image = narrow;
        }
        if (newHeight != height)
        {
            var taps = Taps(height, newHeight);
            byte[] low = new byte[newHeight * newWidth * 3];
            int row = newWidth * 3;
            for (int y = 0; y < newHeight; y++)
            for (int at = 0; at < row; at++)
                low[y * row + at] = Sum(taps[y], image, at, row);
            image = low;
        }
        return image;
    }

    private static byte Sum(Tap tap, byte[] image, int start, int step)
    {
        int sum = 1 << (FractionBits - 1);
        for (int at = 0, from = start + tap.First * step; at < tap.Weights.Length; at++, from += step)
            sum += image[from] * tap.Weights[at];
        return (byte)Math.Clamp(sum >> FractionBits, 0, 255);
    }

    private static Tap[] Taps(int size, int newSize)
    {
        double scale = (double)size / newSize,
            reach = Math.Max(scale, 1);
        var taps = new Tap[newSize];
        for (int at = 0; at < newSize; at++)
        {
            double middle = (at + 0.5) * scale;
            int first = Math.Max(0, (int)(middle - reach + 0.5)),
                end = Math.Min(size, (int)(middle + reach + 0.5));
            double[] weights =
            [
                .. Enumerable.Range(first, end - first).Select(pixel => Triangle((pixel - middle + 0.5) / reach)),
            ];
            double sum = weights.Sum();
            taps[at] = new(first, [.. weights.Select(weight => (int)((weight / sum * (1 << FractionBits)) + 0.5))]);
        }
        return taps;
    }

    private static double Triangle(double distance) => Math.Max(0, 1 - Math.Abs(distance));
}
