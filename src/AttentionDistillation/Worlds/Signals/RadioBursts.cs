using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Signals;

/// <summary>Which bursts are drawn.</summary>
public enum SignalSplit
{
    /// <summary>Training bursts.</summary>
    Train,

    /// <summary>Bursts to choose settings by.</summary>
    Validation,

    /// <summary>Test bursts.</summary>
    Test,
}

/// <summary>Sizes and difficulty of <see cref="RadioBursts"/>.</summary>
public sealed record RadioBurstOptions
{
    /// <summary>The modulations: names of <see cref="Constellation.Names"/>, "cpfsk" or "gfsk". The place is the label.</summary>
    public IReadOnlyList<string> Classes { get; init; } = ["bpsk", "qpsk", "8psk", "pam4", "qam16", "qam64", "cpfsk", "gfsk"];

    /// <summary>Samples L of a burst.</summary>
    public int Length { get; init; } = 128;

    /// <summary>Samples a symbol.</summary>
    public int PerSymbol { get; init; } = 8;

    /// <summary>Symbols that a pulse spans.</summary>
    public int Span { get; init; } = 8;

    /// <summary>The least roll-off of the pulses.</summary>
    public double LeastRolloff { get; init; } = 0.25;

    /// <summary>The largest roll-off of the pulses.</summary>
    public double LargestRolloff { get; init; } = 0.45;

    /// <summary>Size of each tap of the channel: the first is 1 itself, the others are complex normal draws of this deviation.</summary>
    public IReadOnlyList<double> TapSizes { get; init; } = [1, 0.3, 0.1];

    /// <summary>Largest carrier offset in cycles a sample, to both sides.</summary>
    public double LargestShift { get; init; } = 0.005;

    /// <summary>Signal-to-noise ratios in decibels, equally often each.</summary>
    public IReadOnlyList<double> SnrDb { get; init; } = [-8, -4, 0, 4, 8, 12, 16];

    /// <summary>Modulation index of both frequency modulations.</summary>
    public double FrequencyIndex { get; init; } = 0.5;

    /// <summary>B of "gfsk"'s Gaussian, in parts of the symbol rate.</summary>
    public double GaussianBandwidth { get; init; } = 0.35;

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">A number is out of its range or a class unknown; the message names it.</exception>
    public void Validate()
    {
        if (Classes.Count < 2 || Classes.Distinct().Count() != Classes.Count)
            throw new ArgumentException("Name at least two classes, each once.");
        foreach (string name in Classes)
            if (!IsFrequency(name) && !Constellation.Names.Contains(name))
                throw new ArgumentException(
                    $"There is no modulation '{name}'. There are: {string.Join(", ", Constellation.Names)}, cpfsk, gfsk."
                );
        if (Length < 8 || PerSymbol < 1 || Span < 1)
            throw new ArgumentException(
                $"Length must be 8 or more, PerSymbol and Span 1 or more, but are {Length}, {PerSymbol} and {Span}."
            );
        if (!(LeastRolloff > 0 && LargestRolloff <= 1 && LeastRolloff <= LargestRolloff))
            throw new ArgumentException(
                $"Roll-offs must lie above 0 and at most at 1, the least first, but are {LeastRolloff} and {LargestRolloff}."
            );
        if (TapSizes.Count < 1 || TapSizes.Any(size => !(size >= 0)))
            throw new ArgumentException("TapSizes needs at least one number, all 0 or above.");
        if (!(LargestShift >= 0 && LargestShift < 0.5))
            throw new ArgumentException($"LargestShift is {LargestShift}. It must be 0 to below 0.5 cycles a sample.");
        if (SnrDb.Count < 1)
            throw new ArgumentException("Name at least one signal-to-noise ratio.");
        if (!(GaussianBandwidth > 0))
            throw new ArgumentException($"GaussianBandwidth is {GaussianBandwidth}. It must be above 0.");
    }

    internal static bool IsFrequency(string name) => name is "cpfsk" or "gfsk";
}

/// <summary>
/// Short bursts of complex baseband samples whose modulation is to be told: random symbols, roll-off, symbol phase, echoes, carrier offset, carrier phase
/// and noise. Burst i of a split is drawn from the seed, the split and i alone.
/// </summary>
/// <remarks>
/// The same textbook signals as the synthetic sets of the field (O'Shea and West 2016, RadioML 2016.10a). What makes it hard: below 4 dB the orders of
/// phase keying and of quadrature amplitudes run into each other, and 16 symbols a burst do not tell 16 from 64 points surely at any noise.
/// <code>
/// var world = new RadioBursts();
/// var train = world.Bursts(seed: 1, SignalSplit.Train, 2016);
/// using var batch = train.Training(seed: 1, batchSize: 128, BurstAugmentation.Standard).BatchAt(0); // signals [128, 2, 128], labels [128], snr_db [128]
/// </code>
/// </remarks>
public sealed class RadioBursts
{
    // Bursts of one class are computed together, this many at a time.
    private const int Together = 256;

    /// <summary>Creates the world.</summary>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public RadioBursts(RadioBurstOptions? options = null)
    {
        Options = options ?? new RadioBurstOptions();
        Options.Validate();
    }

    /// <summary>Sizes and difficulty.</summary>
    public RadioBurstOptions Options { get; }

    /// <summary>The first bursts of a split: burst i has the label i mod C and the ratio (i / C) mod R, so that any multiple of C R of them is balanced.</summary>
    /// <param name="seed">Seed, from 0.</param>
    /// <param name="split">Which split.</param>
    /// <param name="count">How many bursts n.</param>
    /// <exception cref="ArgumentOutOfRangeException">The seed or the number is out of range.</exception>
    public BurstSet Bursts(long seed, SignalSplit split, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(seed);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int area = 2 * Options.Length;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Array.MaxLength / area);
        long stream = Seeds.Derive(seed, $"radio bursts {split}");
        int classes = Options.Classes.Count;
        float[] samples = new float[count * area];
        int[] labels = [.. Enumerable.Range(0, count).Select(number => number % classes)];
        float[] snrDb =
        [
            .. Enumerable.Range(0, count).Select(number => (float)Options.SnrDb[number / classes % Options.SnrDb.Count]),
        ];
        for (int label = 0; label < Math.Min(classes, count); label++)
        {
            int[] numbers = [.. Enumerable.Range(0, (count - label + classes - 1) / classes).Select(at => at * classes + label)];
            foreach (int[] part in numbers.Chunk(Together))
            {
                using var scope = NewDisposeScope();
                float[] signals = Draw(stream, Options.Classes[label], part, snrDb)
                    .to(ScalarType.Float32)
                    .data<float>()
                    .ToArray();
                for (int at = 0; at < part.Length; at++)
                    signals.AsSpan(at * area, area).CopyTo(samples.AsSpan(part[at] * area, area));
            }
        }
        return new BurstSet(samples, labels, snrDb, Options.Classes, Options.Length);
    }

    private Tensor Draw(long stream, string name, int[] numbers, float[] snrDb)
    {
        int length = Options.Length,
            start = Options.Span * Options.PerSymbol,
            // The window may begin at any sample of a symbol.
            raw = length + Options.PerSymbol - 1,
            symbolCount = (start + raw + Options.PerSymbol - 1) / Options.PerSymbol,
            count = numbers.Length,
            tapCount = Options.TapSizes.Count;
        bool isFrequency = RadioBurstOptions.IsFrequency(name);
        using var points = isFrequency ? null : Constellation.Points(name);
        int levels = isFrequency ? 2 : (int)points!.size(0);
        long[] symbols = new long[count * symbolCount],
            window = new long[count * length];
        double[] noise = new double[count * 2 * length],
            shift = new double[count],
            phase = new double[count],
            taps = new double[count * tapCount * 2];
        var pulses = new Tensor[isFrequency ? 0 : count];
        for (int row = 0; row < count; row++)
        {
            var random = SplitMix.At(stream, numbers[row]);
            double rolloff = Options.LeastRolloff + (Options.LargestRolloff - Options.LeastRolloff) * random.NextDouble();
            int begin = random.NextInt(Options.PerSymbol);
            shift[row] = Options.LargestShift * (2 * random.NextDouble() - 1);
            phase[row] = 2 * Math.PI * random.NextDouble();
            for (int tap = 0; tap < tapCount; tap++)
            {
                var (first, second) = random.NextNormals();
                double size = Options.TapSizes[tap] / Math.Sqrt(2);
                taps[(row * tapCount + tap) * 2] = tap == 0 ? Options.TapSizes[0] : size * first;
                taps[(row * tapCount + tap) * 2 + 1] = tap == 0 ? 0 : size * second;
            }
            for (int symbol = 0; symbol < symbolCount; symbol++)
                symbols[row * symbolCount + symbol] = random.NextInt(levels);
            for (int sample = 0; sample < length; sample++)
            {
                window[row * length + sample] = begin + sample;
                (noise[row * 2 * length + sample], noise[(row * 2 + 1) * length + sample]) = random.NextNormals();
            }
            if (!isFrequency)
                pulses[row] = Modulation.RootRaisedCosine(rolloff, Options.Span, Options.PerSymbol);
        }
        var numbersOfPoints = tensor(symbols, count, symbolCount);
        var whole = isFrequency
            ? Modulation.Frequency(
                numbersOfPoints,
                Options.FrequencyIndex,
                Options.PerSymbol,
                start,
                raw,
                name == "gfsk" ? Options.GaussianBandwidth : null
            )
            : Modulation.Linear(numbersOfPoints, points!, stack(pulses), Options.PerSymbol, start, raw);
        var signal = whole.gather(2, tensor(window, count, 1, length).expand(count, 2, length));
        return RadioChannel.Apply(
            signal,
            tensor(noise, count, 2, length),
            tensor([.. numbers.Select(number => (double)snrDb[number])]),
            tensor(shift),
            tensor(phase),
            tensor(taps, count, tapCount, 2)
        );
    }
}
