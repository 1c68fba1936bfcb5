namespace AttentionDistillation.Worlds.Driving;

/// <summary>
/// Two camera pictures of a scene from the own vehicle, [2, 3, 16, 32]: to the left and to the right, the bearing across, nearer things larger and
/// lower, nearer ones over farther ones. The class is the shape, the colour the agent's.
/// </summary>
internal static class ScenePainter
{
    public const int Views = 2;
    public const int Height = 16;
    public const int Width = 32;
    public const int Values = Views * 3 * Height * Width;

    // The cameras look 35 degrees to either side and see 45 degrees to each of theirs.
    private const double Yaw = 35 * Math.PI / 180;
    private const double HalfAngle = 45 * Math.PI / 180;

    private static readonly float[][] Colours =
    [
        [0.9f, 0.15f, 0.15f],
        [0.15f, 0.8f, 0.2f],
        [0.2f, 0.3f, 0.95f],
        [0.95f, 0.85f, 0.15f],
        [0.95f, 0.95f, 0.95f],
        [0.65f, 0.2f, 0.8f],
    ];

    public static void Paint(SceneRecord scene, double noise, ref SplitMix random)
    {
        var all = scene.Views.AsSpan();
        for (int view = 0; view < Views; view++)
        {
            var picture = all.Slice(view * 3 * Height * Width, 3 * Height * Width);
            for (int channel = 0; channel < 3; channel++)
            for (int row = 0; row < Height; row++)
                // Sky over road.
                picture.Slice((channel * Height + row) * Width, Width).Fill(row < 5 ? 0.45f : 0.3f);
            for (int clutter = 0; clutter < 2; clutter++)
            {
                int x = random.NextInt(Width),
                    y = 2 + random.NextInt(Height - 4),
                    width = 1 + random.NextInt(3),
                    height = 1 + random.NextInt(3);
                float grey = 0.15f + 0.5f * (float)random.NextDouble();
                Fill(picture, x, y, width, height, [grey, grey, grey]);
            }
            int[] order = [.. Enumerable.Range(0, scene.Count).OrderByDescending(agent => Distance(scene, agent))];
            foreach (int agent in order)
                if (Seen(scene, agent, view) is var (across, down, size))
                    Draw(picture, across, down, size, scene.Classes[agent], Colours[scene.Colours[agent]]);
        }
        for (int value = 0; value < all.Length; value += 2)
        {
            var (first, second) = random.NextNormals();
            all[value] += (float)(noise * first);
            all[value + 1] += (float)(noise * second);
        }
    }

    /// <summary>Where an agent stands in a view, in pixels, and half its height there; null when the camera does not see it.</summary>
    internal static (double Across, double Down, double Size)? Seen(SceneRecord scene, int agent, int view)
    {
        double bearing = Math.Atan2(scene.X[agent] - StreetScenes.OwnX, scene.Y[agent] + 1),
            angle = bearing - (view == 0 ? -Yaw : Yaw);
        if (Math.Abs(angle) > HalfAngle)
            return null;
        double distance = Distance(scene, agent);
        return (
            (angle / HalfAngle + 1) / 2 * (Width - 1),
            5 + Math.Min(8, 24 / Math.Max(distance, 3)),
            Math.Clamp(32 / Math.Max(distance, 2), 2, 6)
        );
    }

    private static double Distance(SceneRecord scene, int agent) =>
        Math.Sqrt(Math.Pow(scene.X[agent] - StreetScenes.OwnX, 2) + Math.Pow(scene.Y[agent] + 1, 2));

    // Pedestrian: upright bar; cyclist: diamond; car: flat block; van: square with a dark window.
    private static void Draw(Span<float> picture, double across, double down, double size, int kind, float[] colour)
    {
        double halfWidth = kind switch
            {
                0 => size * 0.35,
                1 => size * 0.9,
                2 => size * 1.3,
                _ => size,
            },
            halfHeight = kind switch
            {
                2 => size * 0.5,
                _ => size,
            };
        for (int y = 0; y < Height; y++)
        for (int x = 0; x < Width; x++)
        {
            double dx = (x - across) / Math.Max(halfWidth, 0.5),
                dy = (y - down) / Math.Max(halfHeight, 0.5);
            bool inside = kind == 1 ? Math.Abs(dx) + Math.Abs(dy) <= 1.05 : Math.Abs(dx) <= 1 && Math.Abs(dy) <= 1;
            if (!inside)
                continue;
            bool window = kind == 3 && Math.Abs(dx) < 0.6 && dy is > -0.8 and < -0.1;
            for (int channel = 0; channel < 3; channel++)
                picture[(channel * Height + y) * Width + x] = window ? 0.05f : colour[channel];
        }
    }

    private static void Fill(Span<float> picture, int x, int y, int width, int height, float[] colour)
    {
        for (int row = y; row < Math.Min(Height, y + height); row++)
        for (int column = x; column < Math.Min(Width, x + width); column++)
        for (int channel = 0; channel < 3; channel++)
            picture[(channel * Height + row) * Width + column] = colour[channel];
    }
}
