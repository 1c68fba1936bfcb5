using System.Globalization;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>
/// Batches of examples of near lengths, each cut to what its longest example needs, so that little of what a device computes is padding. A pass holds every
/// example exactly once, with other companions of its length and in another order of batches each time; the batch of a step depends on nothing but
/// the lengths, the seed and the step.
/// </summary>
/// <remarks>
/// Examples are sorted by the multiple of <see cref="LengthBucketing.Multiple"/> that holds them, those of one multiple are shuffled anew in every pass, and the
/// row of them is cut into batches, always at the same places: so all passes have equally many batches. Batches differ in size where tokens are
/// limited, and the last of each pass may be smaller: a loss that is a mean over the batch then weighs examples by their batch.
/// </remarks>
public sealed class BucketedBatches : IBatchSource
{
    private readonly Func<int[], int, long, Batch> make;
    private readonly int[] sorted; // examples by length, those of equal length in the given order
    private readonly (int Start, int Count)[] alike; // stretches of sorted whose order is free
    private readonly (int Start, int Count, int Length)[] cuts; // the batches of a pass
    private readonly long seed;
    private readonly long tokens;
    private readonly long unbucketed;
    private Tuple<long, int[], int[]>? last; // a pass: its examples and its order of batches

    /// <summary>Plans the batches of examples.</summary>
    /// <param name="lengths">Tokens of each example, special tokens included; longer ones than <paramref name="longest"/> count as cut to it.</param>
    /// <param name="seed">The seed of the order.</param>
    /// <param name="batchSize">The most examples of a batch.</param>
    /// <param name="longest">The longest length of a batch.</param>
    /// <param name="bucketing">How examples come together; null for multiples of 8 without a limit of tokens.</param>
    /// <param name="make">Makes the batch of examples (their numbers), of a length L, at a step, which is for what else is drawn by step. It is called by one thread at a time.</param>
    /// <exception cref="ArgumentException">There are no examples, one is empty, or the limit of tokens is below an example's length.</exception>
    public BucketedBatches(
        IReadOnlyList<int> lengths,
        long seed,
        int batchSize,
        int longest,
        LengthBucketing? bucketing,
        Func<int[], int, long, Batch> make
    )
    {
        ArgumentNullException.ThrowIfNull(lengths);
        ArgumentNullException.ThrowIfNull(make);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(longest, 1);
        if (lengths.Count == 0)
            throw new ArgumentException("There are no examples to make batches of.", nameof(lengths));
        bucketing ??= new();
        int[] needed = new int[lengths.Count];
        for (int example = 0; example < needed.Length; example++)
        {
            if (lengths[example] < 1)
                throw new ArgumentException(
                    $"Example {example} has a length of {lengths[example]} tokens. Leave empty examples out.",
                    nameof(lengths)
                );
            int length = Math.Min(lengths[example], longest);
            tokens += length;
            needed[example] = (int)
                Math.Min(longest, (length + (long)bucketing.Multiple - 1) / bucketing.Multiple * bucketing.Multiple);
        }
        unbucketed = (long)longest * needed.Length;
        sorted = [.. Enumerable.Range(0, needed.Length).OrderBy(example => needed[example])];
        if (bucketing.TokensPerBatch is { } limit && needed[sorted[^1]] > limit)
            throw new ArgumentException(
                $"LengthBucketing.TokensPerBatch is {limit}, but the longest example needs {needed[sorted[^1]]} tokens. Allow at least as many, or cut examples to a smaller length.",
                nameof(bucketing)
            );
        alike = [.. Stretches(sorted, needed)];
        cuts = [.. Cut(sorted, needed, batchSize, bucketing.TokensPerBatch)];
        (this.make, this.seed) = (make, seed);
    }

    /// <summary>Batches of a pass over all examples.</summary>
    public int BatchesPerPass => cuts.Length;

    /// <summary>Examples of a pass.</summary>
    public int Examples => sorted.Length;

    /// <summary>The share of the tokens of a pass that is padding, from 0 to below 1.</summary>
    public double PaddingShare => 1 - (double)tokens / cuts.Sum(cut => (long)cut.Count * cut.Length);

    /// <summary>The same share if all examples were padded to the longest length, as batches of one length are.</summary>
    public double PaddingShareOfOneLength => 1 - (double)tokens / unbucketed;

    /// <summary>The examples of a step and the length L of its batch.</summary>
    /// <param name="step">The step, from 0.</param>
    public (int[] Examples, int Length) ExamplesAt(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        long pass = step / cuts.Length;
        // One reference is read and written, so threads may share the plan; the worst is to shuffle twice.
        var plan = last;
        if (plan is null || plan.Item1 != pass)
            last = plan = Plan(pass);
        var (start, count, length) = cuts[plan.Item3[step % cuts.Length]];
        return (plan.Item2[start..(start + count)], length);
    }

    /// <inheritdoc/>
    public Batch BatchAt(long step)
    {
        var (examples, length) = ExamplesAt(step);
        return make(examples, length, step);
    }

    /// <summary>Examples, batches and padding in words.</summary>
    public override string ToString() =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{Examples} examples in {BatchesPerPass} batches a pass, {PaddingShare:p1} padding ({PaddingShareOfOneLength:p1} at one length)"
        );

    private Tuple<long, int[], int[]> Plan(long pass)
    {
        int[] examples = [.. sorted];
        var random = SplitMix.At(Seeds.Derive(seed, "companions"), pass);
        foreach (var (start, count) in alike)
        {
            int[] part = examples[start..(start + count)];
            random.Shuffle(part);
            part.CopyTo(examples, start);
        }
        int[] order = [.. Enumerable.Range(0, cuts.Length)];
        var batches = SplitMix.At(Seeds.Derive(seed, "batches"), pass);
        batches.Shuffle(order);
        return Tuple.Create(pass, examples, order);
    }

    private static IEnumerable<(int Start, int Count)> Stretches(int[] sorted, int[] needed)
    {
        for (int start = 0, end; start < sorted.Length; start = end)
        {
            for (end = start + 1; end < sorted.Length && needed[sorted[end]] == needed[sorted[start]]; )
                end++;
            yield return (start, end - start);
        }
    }

    private static IEnumerable<(int Start, int Count, int Length)> Cut(int[] sorted, int[] needed, int batchSize, int? limit)
    {
        for (int start = 0, end; start < sorted.Length; start = end)
        {
            // Sorted, so the next example is the longest so far.
            for (end = start + 1; end < sorted.Length && end - start < batchSize; end++)
                if ((long)needed[sorted[end]] * (end - start + 1) > limit)
                    break;
            yield return (start, end - start, needed[sorted[end - 1]]);
        }
    }
}
