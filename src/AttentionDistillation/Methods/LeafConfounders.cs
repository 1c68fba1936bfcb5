using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>A run of flagged tokens.</summary>
/// <param name="Start">Its first token, counted from the start of the analysed span.</param>
/// <param name="Length">How many tokens.</param>
public readonly record struct LeafRun(int Start, int Length);

/// <summary>
/// The tokens of one prompt that the student leans on and the teacher does not (LeaF, arXiv 2506.07851, section 3): where the difference of their
/// normalised sensitivities, teacher less student, is smallest.
/// </summary>
public sealed class LeafConfounders
{
    /// <summary>The highest threshold on the difference, whatever the ratio.</summary>
    public const double DefaultCap = 0.5;

    private readonly bool[] flags;

    private LeafConfounders(double[] difference, double threshold, bool[] flags)
    {
        (Difference, Threshold, this.flags) = (difference, threshold, flags);
        var runs = new List<LeafRun>();
        for (int token = 0; token < flags.Length; token++)
            if (flags[token] && (token == 0 || !flags[token - 1]))
                runs.Add(new LeafRun(token, 1));
            else if (flags[token])
                runs[^1] = runs[^1] with { Length = runs[^1].Length + 1 };
        Runs = runs;
    }

    /// <summary>Teacher less student for each token, moved to [0, 1] within the span.</summary>
    public IReadOnlyList<double> Difference { get; }

    /// <summary>Tokens with a difference up to this one are flagged.</summary>
    public double Threshold { get; }

    /// <summary>Which tokens are flagged.</summary>
    public IReadOnlyList<bool> Flags => flags;

    /// <summary>The longest runs of neighbouring flagged tokens, in order.</summary>
    public IReadOnlyList<LeafRun> Runs { get; }

    /// <summary>Finds the confounders of a prompt.</summary>
    /// <param name="studentSensitivity">[N], the student's sensitivity of each token of the span, normalised or not.</param>
    /// <param name="teacherSensitivity">[N], the teacher's, of the same tokens: both models must split the span alike.</param>
    /// <param name="isProtected">bool [N], true = never flagged (white space, line ends, lone backslashes); null for none.</param>
    /// <param name="ratio">
    /// The share of tokens to flag, from 0 to below 1: the threshold is the difference that int(N x ratio) others lie below, so one token more is
    /// flagged, and all that equal it; protected tokens count among them.
    /// </param>
    /// <param name="cap">The highest threshold.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, the span is empty, or the ratio is out of its range.</exception>
    public static LeafConfounders Detect(
        Tensor studentSensitivity,
        Tensor teacherSensitivity,
        Tensor? isProtected,
        double ratio,
        double cap = DefaultCap
    )
    {
        Shapes.Require(studentSensitivity, "[N]");
        Shapes.RequireExact(teacherSensitivity, studentSensitivity.shape);
        if (isProtected is not null)
            Shapes.RequireExact(isProtected, studentSensitivity.shape);
        int count = checked((int)studentSensitivity.size(0));
        if (count == 0)
            throw new ArgumentException("The analysed span has no tokens.", nameof(studentSensitivity));
        if (!(ratio is >= 0 and < 1))
            throw new ArgumentException($"The ratio must be from 0 to below 1, but is {ratio}.", nameof(ratio));
        using var scope = NewDisposeScope();
        var apart = LeafSensitivity.MinMax(teacherSensitivity) - LeafSensitivity.MinMax(studentSensitivity);
        double[] difference = [.. LeafSensitivity.MinMax(apart).cpu().data<double>()];
        bool[]? spared = isProtected is null ? null : [.. isProtected.to(ScalarType.Bool).cpu().data<bool>()];
        double[] sorted = [.. difference.Order()];
        double threshold = Math.Min(sorted[(int)(count * ratio)], cap);
        return new LeafConfounders(
            difference,
            threshold,
            [.. difference.Select((value, token) => value <= threshold && spared?[token] != true)]
        );
    }

    /// <summary>Flags the tokens with the lowest values, for example a model's loss of each: the control of gradients against perplexity.</summary>
    /// <param name="values">[N].</param>
    /// <param name="isProtected">bool [N], true = never flagged; null for none.</param>
    /// <param name="ratio">The share to flag: int(N x ratio) + 1 tokens, and all that equal the last.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or the ratio is out of its range.</exception>
    public static LeafConfounders Lowest(Tensor values, Tensor? isProtected, double ratio)
    {
        using var scope = NewDisposeScope();
        var (all, none) = (LeafSensitivity.MinMax(values), zeros_like(values));
        return Detect(none, all, isProtected, ratio, cap: double.PositiveInfinity);
    }

    /// <summary>Whether a token is never flagged: white space, line ends, a lone backslash.</summary>
    /// <param name="text">The token as text.</param>
    public static bool IsProtected(string text) => string.IsNullOrWhiteSpace(text) || text.Trim() == "\\";

    /// <summary>
    /// The paper's second condition, which its code leaves to the preparation of the data: only runs that pass a test stay flagged, for example
    /// those without which both models answer right.
    /// </summary>
    /// <param name="keeps">Told a run, says whether it stays.</param>
    public LeafConfounders Where(Func<LeafRun, bool> keeps)
    {
        ArgumentNullException.ThrowIfNull(keeps);
        var kept = new bool[flags.Length];
        foreach (var run in Runs.Where(keeps))
            Array.Fill(kept, true, run.Start, run.Length);
        return new LeafConfounders([.. Difference], Threshold, kept);
    }

    /// <summary>As many runs, each as long, at places drawn at random: the control of gradients against chance. Runs may touch.</summary>
    /// <param name="seed">The seed of the draw.</param>
    public LeafConfounders AtRandomPlaces(long seed)
    {
        var random = Runtime.Seeds.Random(seed, "leaf random places");
        // The free tokens and the runs in a random order: every arrangement is equally likely.
        int free = flags.Length - Runs.Sum(run => run.Length);
        int[] items = [.. Enumerable.Repeat(1, free), .. Runs.Select(run => -run.Length)];
        random.Shuffle(items);
        var kept = new bool[flags.Length];
        int place = 0;
        foreach (int item in items)
        {
            if (item < 0)
                Array.Fill(kept, true, place, -item);
            place += Math.Abs(item);
        }
        return new LeafConfounders([.. Difference], Threshold, kept);
    }

    /// <summary>Flags chosen otherwise, for example by an oracle or by perplexity, to be pruned in the same way.</summary>
    /// <param name="isFlagged">Which tokens are flagged.</param>
    public static LeafConfounders Given(IReadOnlyList<bool> isFlagged)
    {
        ArgumentNullException.ThrowIfNull(isFlagged);
        return new LeafConfounders(new double[isFlagged.Count], double.NaN, [.. isFlagged]);
    }

    /// <summary>bool [N], true = flagged.</summary>
    public Tensor FlagTensor() => tensor(flags);

    /// <summary>int64 [N], the number of the run a token belongs to, -1 outside of runs.</summary>
    public Tensor RunTensor()
    {
        long[] numbers = [.. Enumerable.Repeat(-1L, flags.Length)];
        for (int run = 0; run < Runs.Count; run++)
            Array.Fill(numbers, run, Runs[run].Start, Runs[run].Length);
        return tensor(numbers);
    }
}
