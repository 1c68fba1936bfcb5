using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Driving;

/// <summary>Scenes in memory.</summary>
/// <remarks>
/// Batches carry, for N = 6 agents: <c>views</c> float32 [B, 2, 3, 16, 32]; <c>geometry</c> float32 [B, N, 4] (measured x, y, velocities, scaled);
/// <c>valid</c> bool [B, N]; <c>classes</c> int64 [B, N] with <see cref="Batch.IgnoredLabel"/> where there is no agent; <c>relevant</c> int64 [B];
/// <c>caption</c> and <c>teacher_caption</c> int64 [B, 12] with <c>caption_mask</c> and <c>teacher_caption_mask</c> bool; <c>descriptions</c> int64
/// [B, N, 2] (colour and class in words); <c>trajectory</c> float32 [B, 6, 2] in metres; <c>obstacles</c> float32 [B, N, 6, 2], agents that are not there
/// far away; <c>index</c> int64 [B].
/// </remarks>
public sealed class SceneSet
{
    private const float FarAway = 1e4f;

    private readonly IReadOnlyList<SceneRecord> scenes;

    internal SceneSet(IReadOnlyList<SceneRecord> scenes) => this.scenes = scenes;

    /// <summary>Number of scenes n.</summary>
    public int Count => scenes.Count;

    /// <summary>Of twenty scenes eleven normal ones and three of every other difficulty: what models are trained on.</summary>
    public static SceneDifficulty Mixture(int number) =>
        (number % 20) switch
        {
            < 11 => SceneDifficulty.Normal,
            < 14 => SceneDifficulty.Night,
            < 17 => SceneDifficulty.Mute,
            _ => SceneDifficulty.Fog,
        };

    /// <summary>What the scene's teacher says; empty in a mute one.</summary>
    public string TeacherCaption(int index) => SceneCaptions.Read(scenes[Checked(index)].Teacher.Select(token => (long)token));

    /// <summary>What is left of it in the student's caption.</summary>
    public string Caption(int index) => SceneCaptions.Read(scenes[Checked(index)].Caption.Select(token => (long)token));

    /// <summary>The agents of a scene: name, true place and velocity, whether it is the relevant one, and its middle in both views in pixels (null: not seen).</summary>
    public IReadOnlyList<SceneAgent> Agents(int index)
    {
        var scene = scenes[Checked(index)];
        return
        [
            .. Enumerable
                .Range(0, scene.Count)
                .Select(agent => new SceneAgent(
                    $"{SceneCaptions.ColourNames[scene.Colours[agent]]} {SceneCaptions.ClassNames[scene.Classes[agent]]}",
                    scene.X[agent],
                    scene.Y[agent],
                    scene.VelocityX[agent],
                    scene.VelocityY[agent],
                    agent == scene.Relevant,
                    scene.Stays[agent],
                    [.. Enumerable.Range(0, ScenePainter.Views).Select(view => Pixel(scene, agent, view))]
                )),
        ];
    }

    /// <summary>Whether the own vehicle waits in a scene.</summary>
    public bool Waits(int index) => scenes[Checked(index)].Waits;

    /// <summary>The first scenes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are not so many.</exception>
    public SceneSet First(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Count);
        return new([.. scenes.Take(count)]);
    }

    /// <summary>The scenes of these numbers, in this order.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No such scene.</exception>
    public SceneSet Select(IEnumerable<int> indices)
    {
        ArgumentNullException.ThrowIfNull(indices);
        return new([.. indices.Select(index => scenes[Checked(index)])]);
    }

    /// <summary>Endless training batches: every epoch a new order, a pure function of the seed and the step.</summary>
    /// <param name="seed">Seed of the order.</param>
    /// <param name="batchSize">B.</param>
    public IBatchSource Training(long seed, int batchSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return new Batches(this, seed, batchSize);
    }

    /// <summary>Every scene once, in order.</summary>
    /// <param name="batchSize">B.</param>
    public EvaluationSource Evaluation(int batchSize) => EvaluationSource.InOrder(Count, batchSize, BatchOf);

    /// <summary>Scenes per epoch over B, rounded down and at least 1.</summary>
    public int StepsPerEpoch(int batchSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return Math.Max(1, Count / batchSize);
    }

    private static (double X, double Y)? Pixel(SceneRecord scene, int agent, int view) =>
        ScenePainter.Seen(scene, agent, view) is var (across, down, _) ? (across, down) : null;

    private Batch BatchOf(int[] chosen)
    {
        const int agents = StreetScenes.MostAgents,
            steps = StreetScenes.Steps;
        int count = chosen.Length;
        float[] views = new float[count * ScenePainter.Values],
            geometry = new float[count * agents * 4],
            trajectory = new float[count * steps * 2],
            obstacles = new float[count * agents * steps * 2];
        bool[] valid = new bool[count * agents];
        long[] classes = new long[count * agents],
            descriptions = new long[count * agents * 2],
            relevant = new long[count];
        long[] caption = new long[count * SceneCaptions.Length],
            teacher = new long[count * SceneCaptions.Length];
        for (int row = 0; row < count; row++)
        {
            var scene = scenes[chosen[row]];
            scene.Views.CopyTo(views.AsSpan(row * ScenePainter.Values));
            scene.Geometry.CopyTo(geometry.AsSpan(row * agents * 4));
            relevant[row] = scene.Relevant;
            Write(scene.Caption, caption, row);
            Write(scene.Teacher, teacher, row);
            for (int step = 0; step < steps; step++)
            {
                trajectory[(row * steps + step) * 2] = (float)StreetScenes.OwnX;
                trajectory[(row * steps + step) * 2 + 1] = (float)scene.OwnY[step];
            }
            for (int agent = 0; agent < agents; agent++)
            {
                int at = row * agents + agent;
                bool there = agent < scene.Count;
                valid[at] = there;
                classes[at] = there ? scene.Classes[agent] : Batch.IgnoredLabel;
                if (there)
                {
                    descriptions[at * 2] = SceneCaptions.ColourToken(scene.Colours[agent]);
                    descriptions[at * 2 + 1] = SceneCaptions.ClassToken(scene.Classes[agent]);
                }
                for (int step = 0; step < steps; step++)
                {
                    var (x, y) = there ? scene.At(agent, (step + 1) * StreetScenes.SecondsPerStep) : (FarAway, FarAway);
                    obstacles[(at * steps + step) * 2] = (float)x;
                    obstacles[(at * steps + step) * 2 + 1] = (float)y;
                }
            }
        }
        Tensor captions = tensor(caption, count, SceneCaptions.Length),
            teachers = tensor(teacher, count, SceneCaptions.Length);
        return new(
            ("views", tensor(views, [count, ScenePainter.Views, 3, ScenePainter.Height, ScenePainter.Width])),
            ("geometry", tensor(geometry, count, agents, 4)),
            ("valid", tensor(valid, count, agents)),
            ("classes", tensor(classes, count, agents)),
            ("relevant", tensor(relevant)),
            ("caption", captions),
            ("caption_mask", captions.ne(SceneCaptions.Padding)),
            ("teacher_caption", teachers),
            ("teacher_caption_mask", teachers.ne(SceneCaptions.Padding)),
            ("descriptions", tensor(descriptions, count, agents, 2)),
            ("trajectory", tensor(trajectory, count, steps, 2)),
            ("obstacles", tensor(obstacles, [count, agents, steps, 2])),
            ("index", tensor([.. chosen.Select(index => (long)index)]))
        );
    }

    private static void Write(int[] tokens, long[] into, int row)
    {
        for (int place = 0; place < Math.Min(tokens.Length, SceneCaptions.Length); place++)
            into[row * SceneCaptions.Length + place] = tokens[place];
    }

    private int Checked(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        return index;
    }

    private sealed class Batches(SceneSet set, long seed, int batchSize) : IBatchSource
    {
        private readonly EpochOrder order = new(set.Count, Seeds.Derive(seed, "scenes"));

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            return set.BatchOf([.. Enumerable.Range(0, batchSize).Select(row => order.At(step * batchSize + row))]);
        }
    }
}

/// <summary>An agent of a street scene.</summary>
/// <param name="Name">Colour and class.</param>
/// <param name="X">Metres across, the own vehicle at 16.</param>
/// <param name="Y">Metres ahead.</param>
/// <param name="VelocityX">Metres a second.</param>
/// <param name="VelocityY">Metres a second.</param>
/// <param name="IsRelevant">Whether it is the one that crosses.</param>
/// <param name="Yields">Whether it is the other one of the two, which stays.</param>
/// <param name="Pixels">Its middle in the left and the right view, in pixels; null where it is not seen.</param>
public sealed record SceneAgent(
    string Name,
    double X,
    double Y,
    double VelocityX,
    double VelocityY,
    bool IsRelevant,
    bool Yields,
    IReadOnlyList<(double X, double Y)?> Pixels
);
