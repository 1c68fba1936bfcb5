using AttentionDistillation.Runtime;

namespace AttentionDistillation.Worlds.Driving;

/// <summary>Which scenes are drawn.</summary>
public enum SceneSplit
{
    /// <summary>Training scenes.</summary>
    Train,

    /// <summary>Scenes to choose settings by.</summary>
    Validation,

    /// <summary>Test scenes.</summary>
    Test,
}

/// <summary>What is degraded in a scene.</summary>
public enum SceneDifficulty
{
    /// <summary>Nothing.</summary>
    Normal,

    /// <summary>Pixel noise three times as strong.</summary>
    Night,

    /// <summary>There is no caption.</summary>
    Mute,

    /// <summary>Positions and velocities three times as uncertain.</summary>
    Fog,
}

/// <summary>Sizes and difficulty of <see cref="StreetScenes"/>.</summary>
public sealed record StreetSceneOptions
{
    /// <summary>Deviation of pixel noise; colours lie between 0 and 1.</summary>
    public double PixelNoise { get; init; } = 0.1;

    /// <summary>Deviation of measured positions in metres; velocities have a quarter of it in metres a second.</summary>
    public double GeometryNoise { get; init; } = 1.0;

    /// <summary>Chance of every word of a student's caption to be dropped or exchanged.</summary>
    public double CaptionNoise { get; init; } = 0.15;

    /// <summary>Factor on the noise of a degraded sense.</summary>
    public double Degradation { get; init; } = 3.0;

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">A number is out of its range; the message names it.</exception>
    public void Validate()
    {
        if (!(PixelNoise >= 0) || !(GeometryNoise >= 0) || !(Degradation >= 1))
            throw new ArgumentException(
                $"PixelNoise and GeometryNoise must be 0 or above and Degradation 1 or above, but are {PixelNoise}, {GeometryNoise} and {Degradation}."
            );
        if (!(CaptionNoise is >= 0 and <= 1))
            throw new ArgumentException($"CaptionNoise is a chance and must be 0 to 1, but is {CaptionNoise}.");
    }
}

/// <summary>
/// A street seen from above, 32 x 32 metres, the own vehicle at its lower edge, driving up: three to six agents of four classes and six colours, of which
/// exactly two are about to cross its way. Which of the two yields is told by the caption alone; the other one is RELEVANT. Measured positions do not tell
/// class or colour, images do, so that all three senses are needed. Scene i of a split is drawn from the seed, the split and i alone.
/// </summary>
/// <remarks>
/// A toy of nuScenes' kind (Caesar et al. 2020) for studies of fusion. The own truth is a rule: it drives at 4 m/s; if the relevant agent crosses within a
/// second of the moment it would be there itself, it waits 3 metres before the crossing until three quarters of a second after the agent; else it drives on.
/// The agent that yields stays where it is. No two agents of a scene share class and colour.
/// <code>
/// var world = new StreetScenes();
/// var train = world.Scenes(seed: 1, SceneSplit.Train, 3000, SceneSet.Mixture);
/// using var batch = train.Training(seed: 1, batchSize: 64).BatchAt(0); // views [64, 2, 3, 16, 32], geometry [64, 6, 4], caption [64, 12], ...
/// </code>
/// </remarks>
public sealed class StreetScenes
{
    /// <summary>Most agents of a scene.</summary>
    public const int MostAgents = 6;

    /// <summary>Points of a trajectory.</summary>
    public const int Steps = 6;

    /// <summary>Seconds between two points.</summary>
    public const double SecondsPerStep = 0.5;

    /// <summary>Side of the street in metres.</summary>
    public const double Side = 32;

    /// <summary>The own place across the street.</summary>
    public const double OwnX = Side / 2;

    /// <summary>The own speed, metres a second.</summary>
    public const double OwnSpeed = 4;

    // Metres kept before a crossing, seconds waited after the agent, seconds that make a conflict.
    private const double Gap = 3;
    private const double Wait = 0.75;
    private const double Conflict = 1;

    /// <summary>Creates the world.</summary>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public StreetScenes(StreetSceneOptions? options = null)
    {
        Options = options ?? new StreetSceneOptions();
        Options.Validate();
    }

    /// <summary>Sizes and difficulty.</summary>
    public StreetSceneOptions Options { get; }

    /// <summary>The first scenes of a split, all of one difficulty.</summary>
    /// <param name="seed">Seed, from 0.</param>
    /// <param name="split">Which split.</param>
    /// <param name="count">How many scenes n.</param>
    /// <param name="difficulty">What is degraded; the scene itself is the same under every difficulty.</param>
    /// <exception cref="ArgumentOutOfRangeException">The seed or the number is out of range.</exception>
    public SceneSet Scenes(long seed, SceneSplit split, int count, SceneDifficulty difficulty) =>
        Scenes(seed, split, count, _ => difficulty);

    /// <summary>The first scenes of a split.</summary>
    /// <param name="seed">Seed, from 0.</param>
    /// <param name="split">Which split.</param>
    /// <param name="count">How many scenes n.</param>
    /// <param name="difficulties">The difficulty of every scene's number, for example <see cref="SceneSet.Mixture"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">The seed or the number is out of range.</exception>
    public SceneSet Scenes(long seed, SceneSplit split, int count, Func<int, SceneDifficulty> difficulties)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(seed);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Array.MaxLength / ScenePainter.Values);
        ArgumentNullException.ThrowIfNull(difficulties);
        long stream = Seeds.Derive(seed, $"street scenes {split}");
        var scenes = new SceneRecord[count];
        Parallel.For(0, count, number => scenes[number] = Draw(stream, number, difficulties(number)));
        return new SceneSet(scenes);
    }

    private SceneRecord Draw(long stream, int number, SceneDifficulty difficulty)
    {
        var random = SplitMix.At(stream, number);
        int count = 3 + random.NextInt(MostAgents - 2);
        var scene = new SceneRecord(difficulty);
        // Pairs of class and colour without repetition.
        int[] kinds = [.. Enumerable.Range(0, SceneCaptions.ClassNames.Count * SceneCaptions.ColourNames.Count)];
        random.Shuffle(kinds);
        int[] places = [.. Enumerable.Range(0, count)];
        random.Shuffle(places);
        int going = places[0],
            yielding = places[1];
        // Two crossings apart from each other, which of the two is the nearer one being a matter of chance.
        double near = 4.5 + 2 * random.NextDouble(),
            far = near + 3 + 2 * random.NextDouble();
        bool goesNear = random.NextInt(2) == 0;
        // One chance for both, so that being late says nothing about who goes.
        for (int agent = 0; agent < count; agent++)
        {
            scene.Classes[agent] = kinds[agent] % SceneCaptions.ClassNames.Count;
            scene.Colours[agent] = kinds[agent] / SceneCaptions.ClassNames.Count;
            bool crosses = agent == going || agent == yielding;
            double side = random.NextInt(2) == 0 ? -1 : 1;
            double late = random.NextDouble() < 0.3 ? 2 + random.NextDouble() : 0.6 * random.NextDouble() - 0.3;
            double speed = 1.5 + 1.5 * random.NextDouble(),
                first = random.NextDouble(),
                second = random.NextDouble();
            var path = crosses
                ? Crossing((agent == going) == goesNear ? near : far, late, side, speed)
                : (
                    X: OwnX + side * (4 + 9 * first),
                    Y: 3 + 17 * second,
                    VelocityX: side * 0.3 * speed,
                    VelocityY: (first - 0.5) * 2 * speed
                );
            scene.Place(agent, path.X, path.Y, path.VelocityX, path.VelocityY, stays: agent == yielding);
        }
        scene.Count = count;
        scene.Relevant = going;
        Drive(scene);
        bool namesYielding = random.NextInt(2) == 1;
        int named = namesYielding ? yielding : going;
        scene.Teacher = SceneCaptions.Sentence(
            namesYielding,
            random.NextInt(SceneCaptions.Forms),
            scene.Colours[named],
            scene.Classes[named]
        );
        scene.Caption = SceneCaptions.Noisy(scene.Teacher, Options.CaptionNoise, ref random);
        if (difficulty == SceneDifficulty.Mute)
            (scene.Teacher, scene.Caption) = ([], []);
        double noise = Options.GeometryNoise * (difficulty == SceneDifficulty.Fog ? Options.Degradation : 1);
        for (int agent = 0; agent < count; agent++)
        {
            var (x, y) = random.NextNormals();
            var (velocityX, velocityY) = random.NextNormals();
            scene.Measure(agent, noise * x, noise * y, noise / 4 * velocityX, noise / 4 * velocityY);
        }
        ScenePainter.Paint(
            scene,
            Options.PixelNoise * (difficulty == SceneDifficulty.Night ? Options.Degradation : 1),
            ref random
        );
        return scene;
    }

    // Crosses the own way at a height, some seconds later than the own vehicle would be there.
    private static (double X, double Y, double VelocityX, double VelocityY) Crossing(
        double height,
        double late,
        double side,
        double speed
    )
    {
        double time = Math.Max(0.5, height / OwnSpeed + late);
        // At least 3 metres away now, so that who stays does not stand in the way.
        speed = Math.Max(speed, 3 / time);
        return (OwnX + side * speed * time, height, -side * speed, 0);
    }

    private static void Drive(SceneRecord scene)
    {
        int agent = scene.Relevant;
        double height = scene.Y[agent],
            time = Math.Abs((scene.X[agent] - OwnX) / scene.VelocityX[agent]);
        bool waits = Math.Abs(time - height / OwnSpeed) < Conflict;
        for (int step = 0; step < Steps; step++)
        {
            double now = (step + 1) * SecondsPerStep,
                driven = OwnSpeed * now;
            if (waits)
            {
                double stop = height - Gap,
                    go = time + Wait;
                driven = now < go ? Math.Min(driven, stop) : Math.Min(driven, stop + OwnSpeed * (now - go));
            }
            scene.OwnY[step] = driven;
        }
        scene.Waits = waits;
    }
}

/// <summary>One scene before it is tensors.</summary>
internal sealed class SceneRecord(SceneDifficulty difficulty)
{
    public SceneDifficulty Difficulty { get; } = difficulty;
    public int Count { get; set; }
    public int Relevant { get; set; }
    public bool Waits { get; set; }
    public int[] Classes { get; } = new int[StreetScenes.MostAgents];
    public int[] Colours { get; } = new int[StreetScenes.MostAgents];
    public double[] X { get; } = new double[StreetScenes.MostAgents];
    public double[] Y { get; } = new double[StreetScenes.MostAgents];
    public double[] VelocityX { get; } = new double[StreetScenes.MostAgents];
    public double[] VelocityY { get; } = new double[StreetScenes.MostAgents];
    public bool[] Stays { get; } = new bool[StreetScenes.MostAgents];
    public double[] OwnY { get; } = new double[StreetScenes.Steps];
    public int[] Teacher { get; set; } = [];
    public int[] Caption { get; set; } = [];

    /// <summary>Measured, scaled to about -1 to 1: x and y over half the side, velocities over 4 m/s.</summary>
    public float[] Geometry { get; } = new float[StreetScenes.MostAgents * 4];

    public float[] Views { get; } = new float[ScenePainter.Values];

    public void Place(int agent, double x, double y, double velocityX, double velocityY, bool stays) =>
        (X[agent], Y[agent], VelocityX[agent], VelocityY[agent], Stays[agent]) = (x, y, velocityX, velocityY, stays);

    public void Measure(int agent, double x, double y, double velocityX, double velocityY)
    {
        double half = StreetScenes.Side / 2;
        var row = Geometry.AsSpan(agent * 4, 4);
        row[0] = (float)((X[agent] + x - half) / half);
        row[1] = (float)((Y[agent] + y - half) / half);
        row[2] = (float)((VelocityX[agent] + velocityX) / 4);
        row[3] = (float)((VelocityY[agent] + velocityY) / 4);
    }

    /// <summary>Where an agent is after some seconds; one that yields stays.</summary>
    public (double X, double Y) At(int agent, double seconds) =>
        Stays[agent] ? (X[agent], Y[agent]) : (X[agent] + VelocityX[agent] * seconds, Y[agent] + VelocityY[agent] * seconds);
}
