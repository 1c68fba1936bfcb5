using System.Globalization;

namespace AttentionDistillation.Worlds.Images;

/// <summary>Random changes of a training image. Everything is a pure function of a seed, so that an image can be made again exactly.</summary>
/// <remarks>
/// In this order: crop and resize, flip, circular shift, colour, noise, erasing. The map of parts follows the first three and the last.
/// </remarks>
public sealed record ImageAugmentation
{
    /// <summary>Changes nothing.</summary>
    public static ImageAugmentation None { get; } = new();

    /// <summary>Flip and a circular shift by at most 2 pixels: what classifiers train with.</summary>
    public static ImageAugmentation Standard { get; } = new() { Flip = true, Shift = 2 };

    /// <summary>Random resized crop of 0.6 to 1 of the area, flip, colour jitter 0.2, noise 0.1: for two views of an image in contrastive training.</summary>
    public static ImageAugmentation TwoView { get; } =
        new()
        {
            Flip = true,
            LeastCrop = 0.6,
            ColourJitter = 0.2,
            Noise = 0.1,
        };

    /// <summary>Mirrors left and right, every other time.</summary>
    public bool Flip { get; init; }

    /// <summary>Most pixels of the circular shift, in each direction.</summary>
    public int Shift { get; init; }

    /// <summary>The least share of the area that a random square crop keeps before it is resized (bilinear); 1 for no crop.</summary>
    public double LeastCrop { get; init; } = 1;

    /// <summary>Every channel is multiplied by U(1 - j, 1 + j) and moved by U(-j, j).</summary>
    public double ColourJitter { get; init; }

    /// <summary>Deviation of normal noise on every value.</summary>
    public double Noise { get; init; }

    /// <summary>
    /// Chance that a random box is filled with standard normal values (Zhong et al. 2017, arXiv 1708.04896): 2 % to a third of the area, sides 0.3 to 3.3.
    /// </summary>
    public double Erase { get; init; }

    /// <summary>True where nothing is computed from the pixels: flips and shifts.</summary>
    internal bool OnlyMovesPixels => LeastCrop >= 1 && ColourJitter == 0 && Noise == 0 && Erase == 0;

    /// <summary>Everything that decides what a seed makes of an image, in words that are the same in every culture.</summary>
    internal string Description =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"flip {Flip}, shift {Shift}, least crop {LeastCrop:R}, colour jitter {ColourJitter:R}, noise {Noise:R}, erase {Erase:R}"
        );

    /// <summary>Checks the numbers for images of a size.</summary>
    /// <exception cref="ArgumentException">A number is out of its range; the message names it.</exception>
    public void Validate(int size)
    {
        if (Shift < 0 || Shift >= size)
            throw new ArgumentException($"Shift is {Shift}. For images of {size} x {size} it must be 0 to {size - 1}.");
        if (!(LeastCrop > 0 && LeastCrop <= 1))
            throw new ArgumentException($"LeastCrop is {LeastCrop}. It must be above 0 and at most 1.");
        if (!(ColourJitter >= 0 && ColourJitter <= 1))
            throw new ArgumentException($"ColourJitter is {ColourJitter}. It must be between 0 and 1.");
        if (!(Noise >= 0) || double.IsInfinity(Noise))
            throw new ArgumentException($"Noise is {Noise}. A deviation must be 0 or above.");
        if (!(Erase >= 0 && Erase <= 1))
            throw new ArgumentException($"Erase is {Erase}. A chance must be between 0 and 1.");
    }

    /// <summary>Makes an image [channels, S, S] and, unless it is empty, its map of parts [S, S] (taken from the nearest pixel).</summary>
    internal void Apply(
        ReadOnlySpan<float> image,
        Span<float> result,
        ReadOnlySpan<byte> parts,
        Span<byte> resultParts,
        int channels,
        int size,
        long seed
    )
    {
        var random = new SplitMix(unchecked((ulong)seed));
        bool flipped = Flip && random.NextDouble() < 0.5;
        int right = Shift > 0 ? random.NextInt(2 * Shift + 1) - Shift : 0,
            down = Shift > 0 ? random.NextInt(2 * Shift + 1) - Shift : 0;
        double side = LeastCrop < 1 ? size * Math.Sqrt(LeastCrop + (1 - LeastCrop) * random.NextDouble()) : size;
        double left = LeastCrop < 1 ? (size - side) * random.NextDouble() : 0,
            top = LeastCrop < 1 ? (size - side) * random.NextDouble() : 0;
        double scale = side / size;
        for (int y = 0; y < size; y++)
        {
            int row = Wrapped(y - down, size);
            for (int x = 0; x < size; x++)
            {
                int column = Wrapped(x - right, size);
                if (flipped)
                    column = size - 1 - column;
                int at = y * size + x;
                if (LeastCrop >= 1)
                {
                    int from = row * size + column;
                    for (int channel = 0; channel < channels; channel++)
                        result[channel * size * size + at] = image[channel * size * size + from];
                    if (!parts.IsEmpty)
                        resultParts[at] = parts[from];
                    continue;
                }
                double sourceX = Math.Clamp(left + (column + 0.5) * scale - 0.5, 0, size - 1),
                    sourceY = Math.Clamp(top + (row + 0.5) * scale - 0.5, 0, size - 1);
                for (int channel = 0; channel < channels; channel++)
                    result[channel * size * size + at] = Bilinear(
                        image.Slice(channel * size * size, size * size),
                        size,
                        sourceX,
                        sourceY
                    );
                if (!parts.IsEmpty)
                    resultParts[at] = parts[(int)Math.Round(sourceY) * size + (int)Math.Round(sourceX)];
            }
        }
        Recolour(ref random, result, channels, size * size);
        if (Erase > 0 && random.NextDouble() < Erase)
            EraseBox(ref random, result, resultParts, channels, size);
    }

    private const int EraseTries = 10;

    private static void EraseBox(ref SplitMix random, Span<float> result, Span<byte> resultParts, int channels, int size)
    {
        for (int attempt = 0; attempt < EraseTries; attempt++)
        {
            double area = size * size * (0.02 + (1 / 3.0 - 0.02) * random.NextDouble()),
                aspect = Math.Exp(Math.Log(3.3) + (Math.Log(0.3) - Math.Log(3.3)) * random.NextDouble());
            int tall = (int)Math.Round(Math.Sqrt(area * aspect)),
                wide = (int)Math.Round(Math.Sqrt(area / aspect));
            if (tall < 1 || wide < 1 || tall >= size || wide >= size)
                continue;
            int top = random.NextInt(size - tall + 1),
                left = random.NextInt(size - wide + 1);
            for (int channel = 0; channel < channels; channel++)
            for (int y = top; y < top + tall; y++)
            for (int x = left; x < left + wide; x++)
                result[(channel * size + y) * size + x] = (float)random.NextNormals().First;
            if (!resultParts.IsEmpty)
                for (int y = top; y < top + tall; y++)
                    resultParts.Slice(y * size + left, wide).Fill((byte)ImagePart.Background);
            return;
        }
    }

    private void Recolour(ref SplitMix random, Span<float> result, int channels, int area)
    {
        if (ColourJitter > 0)
            for (int channel = 0; channel < channels; channel++)
            {
                float gain = (float)(1 + ColourJitter * (2 * random.NextDouble() - 1)),
                    offset = (float)(ColourJitter * (2 * random.NextDouble() - 1));
                foreach (ref float value in result.Slice(channel * area, area))
                    value = value * gain + offset;
            }
        if (Noise > 0)
            for (int at = 0; at < result.Length; at += 2)
            {
                var (first, second) = random.NextNormals();
                result[at] += (float)(Noise * first);
                if (at + 1 < result.Length)
                    result[at + 1] += (float)(Noise * second);
            }
    }

    private static float Bilinear(ReadOnlySpan<float> plane, int size, double x, double y)
    {
        int x0 = (int)x,
            y0 = (int)y,
            x1 = Math.Min(x0 + 1, size - 1),
            y1 = Math.Min(y0 + 1, size - 1);
        double ofRight = x - x0,
            ofLower = y - y0;
        double upper = plane[y0 * size + x0] * (1 - ofRight) + plane[y0 * size + x1] * ofRight,
            lower = plane[y1 * size + x0] * (1 - ofRight) + plane[y1 * size + x1] * ofRight;
        return (float)(upper * (1 - ofLower) + lower * ofLower);
    }

    private static int Wrapped(int value, int size) => (value % size + size) % size;
}
