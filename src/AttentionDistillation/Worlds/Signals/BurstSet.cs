using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Signals;

/// <summary>Random changes of a training burst that leave its modulation what it is. Everything is a pure function of a seed.</summary>
public sealed record BurstAugmentation
{
    /// <summary>Changes nothing.</summary>
    public static BurstAugmentation None { get; } = new();

    /// <summary>Random phase, circular shift and mirrored spectrum: right for the symmetric modulations of <see cref="RadioBurstOptions.Classes"/>.</summary>
    public static BurstAugmentation Standard { get; } =
        new()
        {
            Rotate = true,
            Shift = true,
            Mirror = true,
        };

    /// <summary>Turns the whole burst by an angle from 0 to 2π.</summary>
    public bool Rotate { get; init; }

    /// <summary>Moves the samples round by 0 to L - 1 places; where the ends meet, one symbol is torn.</summary>
    public bool Shift { get; init; }

    /// <summary>
    /// Exchanges in phase and quadrature every other time, which mirrors the spectrum: right where a modulation's conjugate is the same modulation, wrong
    /// for one-sided ones.
    /// </summary>
    public bool Mirror { get; init; }

    internal void Apply(ReadOnlySpan<float> burst, Span<float> result, long seed)
    {
        int length = burst.Length / 2;
        var random = SplitMix.At(seed, 0);
        // All draws are made, so that one switch does not change what another draws.
        double angle = 2 * Math.PI * random.NextDouble();
        int by = random.NextInt(length);
        bool mirrors = random.NextInt(2) == 1;
        float cosine = Rotate ? (float)Math.Cos(angle) : 1,
            sine = Rotate ? (float)Math.Sin(angle) : 0;
        for (int sample = 0; sample < length; sample++)
        {
            int from = Shift ? (sample + by) % length : sample;
            float i = burst[from],
                q = burst[length + from];
            if (Mirror && mirrors)
                (i, q) = (q, i);
            result[sample] = i * cosine - q * sine;
            result[length + sample] = i * sine + q * cosine;
        }
    }
}

/// <summary>Labelled bursts [n, 2, L] in memory, drawn (<see cref="RadioBursts"/>) or read (<see cref="BurstFiles"/>).</summary>
/// <remarks>
/// Subsets share the samples. Batches carry <c>signals</c> float32 [B, 2, L] (in phase, quadrature), <c>labels</c> int64 [B], <c>snr_db</c> float32 [B] and
/// <c>index</c> int64 [B], the burst's number in this set; training batches also <c>augmentation_seed</c> int64 [B].
/// </remarks>
public sealed class BurstSet
{
    /// <summary>The name of the samples in a batch.</summary>
    public const string Signals = "signals";

    /// <summary>The name of the signal-to-noise ratios in a batch, decibels.</summary>
    public const string SnrDb = "snr_db";

    private readonly float[] samples;
    private readonly int[] labels;
    private readonly float[] snrDb;
    private readonly int[] rows;

    internal BurstSet(float[] samples, int[] labels, float[] snrDb, IReadOnlyList<string> classNames, int length)
        : this(samples, labels, snrDb, classNames, length, [.. Enumerable.Range(0, labels.Length)]) { }

    private BurstSet(float[] samples, int[] labels, float[] snrDb, IReadOnlyList<string> classNames, int length, int[] rows)
    {
        this.samples = samples;
        this.labels = labels;
        this.snrDb = snrDb;
        this.rows = rows;
        (ClassNames, Length) = (classNames, length);
    }

    /// <summary>Number of bursts n.</summary>
    public int Count => rows.Length;

    /// <summary>Samples L of a burst.</summary>
    public int Length { get; }

    /// <summary>The names of the classes.</summary>
    public IReadOnlyList<string> ClassNames { get; }

    /// <summary>The label of every burst.</summary>
    public IReadOnlyList<int> Labels => [.. rows.Select(row => labels[row])];

    /// <summary>The signal-to-noise ratio of every burst in decibels.</summary>
    public IReadOnlyList<float> Ratios => [.. rows.Select(row => snrDb[row])];

    /// <summary>A burst, float32 [2, L]; the caller disposes it.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No such burst.</exception>
    public Tensor Burst(int index) => tensor(SamplesOf(Checked(index)).ToArray(), 2, Length);

    /// <summary>A burst as an augmentation with a seed makes it, float32 [2, L]: what a training batch held under that seed, to the bit.</summary>
    /// <param name="index">The burst's number in this set: the batch's <c>index</c>.</param>
    /// <param name="augmentation">The augmentation of the batch.</param>
    /// <param name="seed">The batch's <c>augmentation_seed</c>.</param>
    /// <exception cref="ArgumentOutOfRangeException">No such burst.</exception>
    public Tensor Augmented(int index, BurstAugmentation augmentation, long seed)
    {
        ArgumentNullException.ThrowIfNull(augmentation);
        float[] burst = new float[2 * Length];
        augmentation.Apply(SamplesOf(Checked(index)), burst, seed);
        return tensor(burst, 2, Length);
    }

    /// <summary>The bursts of these numbers, in this order; a number may come twice.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No such burst.</exception>
    public BurstSet Select(IEnumerable<int> indices)
    {
        ArgumentNullException.ThrowIfNull(indices);
        return new(samples, labels, snrDb, ClassNames, Length, [.. indices.Select(index => rows[Checked(index)])]);
    }

    /// <summary>The first bursts.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are not so many.</exception>
    public BurstSet First(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Count);
        return Select(Enumerable.Range(0, count));
    }

    /// <summary>Endless training batches: every epoch a new order and new augmentations, all a pure function of the seed and the step.</summary>
    /// <param name="seed">Seed of order and augmentation.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="augmentation">Augmentation; null for <see cref="BurstAugmentation.None"/>.</param>
    public IBatchSource Training(long seed, int batchSize, BurstAugmentation? augmentation = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return new Batches(this, seed, batchSize, augmentation ?? BurstAugmentation.None);
    }

    /// <summary>Every burst once, in order, as it is.</summary>
    /// <param name="batchSize">B.</param>
    public EvaluationSource Evaluation(int batchSize) => EvaluationSource.InOrder(Count, batchSize, Plain);

    /// <summary>Bursts per epoch over B, rounded down and at least 1: the steps of one pass over the set.</summary>
    public int StepsPerEpoch(int batchSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return Math.Max(1, Count / batchSize);
    }

    internal ReadOnlySpan<float> SamplesOf(int index) => samples.AsSpan(rows[index] * 2 * Length, 2 * Length);

    private Batch Plain(int[] chosen)
    {
        float[] all = new float[chosen.Length * 2 * Length];
        for (int row = 0; row < chosen.Length; row++)
            SamplesOf(chosen[row]).CopyTo(all.AsSpan(row * 2 * Length));
        return BatchOf(chosen, all);
    }

    private Batch BatchOf(int[] chosen, float[] all) =>
        new(
            (Signals, tensor(all, chosen.Length, 2, Length)),
            ("labels", tensor([.. chosen.Select(index => (long)labels[rows[index]])])),
            (SnrDb, tensor([.. chosen.Select(index => snrDb[rows[index]])])),
            ("index", tensor([.. chosen.Select(index => (long)index)]))
        );

    private int Checked(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        return index;
    }

    private sealed class Batches(BurstSet bursts, long seed, int batchSize, BurstAugmentation augmentation) : IBatchSource
    {
        private readonly EpochOrder order = new(bursts.Count, Seeds.Derive(seed, "bursts"));
        private readonly long stream = Seeds.Derive(seed, "burst augmentation");

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            int[] chosen = new int[batchSize];
            long[] seeds = new long[batchSize];
            float[] all = new float[batchSize * 2 * bursts.Length];
            for (int row = 0; row < batchSize; row++)
            {
                long position = step * batchSize + row;
                chosen[row] = order.At(position);
                var random = SplitMix.At(stream, position);
                seeds[row] = (long)(random.Next() >> 1);
                augmentation.Apply(
                    bursts.SamplesOf(chosen[row]),
                    all.AsSpan(row * 2 * bursts.Length, 2 * bursts.Length),
                    seeds[row]
                );
            }
            var batch = bursts.BatchOf(chosen, all);
            batch["augmentation_seed"] = tensor(seeds);
            return batch;
        }
    }
}
