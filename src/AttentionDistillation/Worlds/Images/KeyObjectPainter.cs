namespace AttentionDistillation.Worlds.Images;

/// <summary>Draws one image of <see cref="KeyObjects"/>: background, objects, bar, noise; and beside it, which pixel shows what.</summary>
internal sealed class KeyObjectPainter
{
    private const int Channels = 3;
    private const double KeyDot = 2.0;
    private const double DistractorDot = -1.6;
    private const int Tries = 20;

    private static readonly double[][] Discs =
    [
        [1, -.6, -.6],
        [-.6, 1, -.6],
        [-.6, -.6, 1],
        [0, 0, 0],
    ];
    private static readonly double[][] Rings =
    [
        [.9, .9, -.8],
        [.9, -.8, .9],
        [-.8, .9, .9],
    ];

    private readonly KeyObjectOptions options;
    private readonly int size;
    private readonly double[] scene;
    private readonly byte[] seen;
    private double spare;
    private bool hasSpare;
    private SplitMix random;

    public KeyObjectPainter(KeyObjectOptions options)
    {
        this.options = options;
        size = options.Size;
        scene = new double[Channels * size * size];
        seen = new byte[size * size];
    }

    /// <summary>Draws an image of a class from the random stream that begins at a seed.</summary>
    /// <param name="seed">The stream's seed.</param>
    /// <param name="label">The key's class.</param>
    /// <param name="pixels">Receives [3, S, S].</param>
    /// <param name="parts">Receives [S, S], one of <see cref="ImagePart"/> a pixel.</param>
    /// <returns>The key's place.</returns>
    public KeyPlace Paint(ulong seed, int label, Span<float> pixels, Span<byte> parts)
    {
        random = new SplitMix(seed);
        hasSpare = false;
        PaintBackground();
        Array.Clear(seen);
        var placed = new List<KeyPlace>(1 + options.DistractorCount);
        for (int number = 0; number <= options.DistractorCount; number++)
            placed.Add(Place(placed, key: number == 0));
        // The key comes last, so that a crowded image never hides what its label speaks of.
        for (int number = options.DistractorCount; number >= 0; number--)
        {
            bool key = number == 0;
            int drawn = key ? label : random.NextInt(options.Classes);
            if (options.Cue == KeyObjectCue.Colour)
                PaintRings(placed[number], drawn, key);
            else
                PaintShape(placed[number], drawn, key);
        }
        if (options.Bar)
            PaintBar();
        for (int at = 0; at < scene.Length; at++)
            pixels[at] = (float)(scene[at] + options.PixelNoise * Normal());
        seen.CopyTo(parts);
        return placed[0];
    }

    private KeyPlace Place(List<KeyPlace> earlier, bool key)
    {
        var (least, most) =
            options.Cue == KeyObjectCue.Colour ? (0.15, 0.20)
            : key ? (0.17, 0.25)
            : (0.12, 0.20);
        double radius = Between(least, most) * size;
        KeyPlace place = default;
        for (int attempt = 0; attempt < Tries; attempt++)
        {
            place = new(Between(0.2, 0.8) * size, Between(0.2, 0.8) * size, radius);
            bool free = true;
            foreach (var other in earlier)
                free &= Math.Sqrt(Square(place.X - other.X) + Square(place.Y - other.Y)) > place.Radius + other.Radius + 1;
            if (free)
                break;
        }
        return place;
    }

    private void PaintBackground()
    {
        int blocks = size / 4;
        for (int channel = 0; channel < Channels; channel++)
        for (int row = 0; row < blocks; row++)
        for (int column = 0; column < blocks; column++)
        {
            double value = options.Background * Normal();
            for (int y = row * 4; y < row * 4 + 4; y++)
                Array.Fill(scene, value, (channel * size + y) * size + column * 4, 4);
        }
    }

    private void PaintRings(KeyPlace place, int label, bool key)
    {
        double[] disc = Jittered(Discs[label % 4]),
            ring = Jittered(Rings[label / 4 % 3]),
            dot = Jittered(key ? [KeyDot, KeyDot, KeyDot] : [DistractorDot, DistractorDot, DistractorDot]);
        int texture = label / 12;
        for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
        {
            double distance = Distance(place, x, y) / place.Radius;
            if (distance > 1)
                continue;
            if (distance <= 0.32)
                Set(x, y, dot, 1, key ? ImagePart.KeyDot : ImagePart.Distractor);
            else if (distance <= 0.68)
                Set(x, y, disc, Shade(texture, x, y), key ? ImagePart.KeyDisc : ImagePart.Distractor);
            else
                Set(x, y, ring, 1, key ? ImagePart.KeyRing : ImagePart.Distractor);
        }
    }

    /// <summary>Solid, horizontal stripes, vertical stripes, checks: period 4 pixels, every other pair at half intensity.</summary>
    private static double Shade(int texture, int x, int y) =>
        texture switch
        {
            1 => y / 2 % 2 == 0 ? 1 : 0.5,
            2 => x / 2 % 2 == 0 ? 1 : 0.5,
            3 => (x / 2 + y / 2) % 2 == 0 ? 1 : 0.5,
            _ => 1,
        };

    private void PaintShape(KeyPlace place, int label, bool key)
    {
        int shape = label % 4,
            texture = label / 4;
        double[] colour = Jittered([Between(-1, 1), Between(-1, 1), Between(-1, 1)]);
        double angle = Between(0, Math.PI),
            phase = Between(0, 5);
        double along = Math.Cos(angle),
            across = Math.Sin(angle);
        for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
        {
            double right = x + 0.5 - place.X,
                down = y + 0.5 - place.Y;
            double distance = Math.Sqrt(right * right + down * down);
            if (key && Math.Abs(distance - 1.25 * place.Radius) <= 0.75)
                Set(x, y, [KeyDot, KeyDot, KeyDot], 1, ImagePart.KeyRing);
            if (!Inside(shape, right / place.Radius, down / place.Radius))
                continue;
            double first = right * along + down * across + phase,
                second = down * along - right * across + phase;
            bool dark = texture switch
            {
                1 => Odd(first / 2),
                2 => Odd(first / 2.5) != Odd(second / 2.5),
                _ => false,
            };
            Set(x, y, colour, dark ? -1 : 1, key ? ImagePart.KeyDisc : ImagePart.Distractor);
        }
    }

    /// <summary>Disc, square, triangle, cross, all within the unit disc; x to the right, y down.</summary>
    private static bool Inside(int shape, double x, double y) =>
        shape switch
        {
            0 => x * x + y * y <= 1,
            1 => Math.Max(Math.Abs(x), Math.Abs(y)) <= 0.8,
            2 => y <= 0.6 && Math.Abs(x) <= (y + 1) * 0.6,
            _ => Math.Min(Math.Abs(x), Math.Abs(y)) <= 0.28 && Math.Max(Math.Abs(x), Math.Abs(y)) <= 0.95,
        };

    private static bool Odd(double stripes) => ((long)Math.Floor(stripes) & 1) != 0;

    private void PaintBar()
    {
        double angle = Between(0, Math.PI),
            x0 = Between(0.2, 0.8) * size,
            y0 = Between(0.2, 0.8) * size,
            half = 0.06 * size;
        for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
            if (Math.Abs((x + 0.5 - x0) * Math.Sin(angle) - (y + 0.5 - y0) * Math.Cos(angle)) <= half)
                Set(x, y, [0, 0, 0], 1, ImagePart.Background);
    }

    private void Set(int x, int y, double[] colour, double shade, ImagePart part)
    {
        for (int channel = 0; channel < Channels; channel++)
            scene[(channel * size + y) * size + x] = colour[channel] * shade;
        seen[y * size + x] = (byte)part;
    }

    private double[] Jittered(double[] colour) => [.. colour.Select(value => value + options.ColourJitter * Normal())];

    private static double Distance(KeyPlace place, int x, int y) =>
        Math.Sqrt(Square(x + 0.5 - place.X) + Square(y + 0.5 - place.Y));

    private static double Square(double value) => value * value;

    private double Between(double least, double most) => least + (most - least) * random.NextDouble();

    /// <summary>A standard normal draw by Box and Muller; each pair of uniform draws gives two.</summary>
    private double Normal()
    {
        if (hasSpare)
        {
            hasSpare = false;
            return spare;
        }
        var (first, second) = random.NextNormals();
        spare = second;
        hasSpare = true;
        return first;
    }
}
