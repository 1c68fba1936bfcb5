using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>A finite number of batches in a fixed order: every example of a split once.</summary>
public sealed class EvaluationSource : IBatchSource
{
    private readonly Func<int, Batch> batchAt;

    internal EvaluationSource(int count, int examples, Func<int, Batch> batchAt)
    {
        Count = count;
        Examples = examples;
        this.batchAt = batchAt;
    }

    /// <summary>Examples 0 to n - 1 in order, B a batch; the last batch may be smaller.</summary>
    internal static EvaluationSource InOrder(int examples, int batchSize, Func<int[], Batch> batchOf)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return new(
            (examples + batchSize - 1) / batchSize,
            examples,
            number => batchOf([.. Enumerable.Range(number * batchSize, Math.Min(batchSize, examples - number * batchSize))])
        );
    }

    /// <summary>The number of batches.</summary>
    public int Count { get; }

    /// <summary>The number of examples (rows) of all batches.</summary>
    public int Examples { get; }

    /// <summary>The batch of a number from 0 to <see cref="Count"/> - 1; the caller disposes it.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No such batch.</exception>
    public Batch BatchAt(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(step, Count);
        return batchAt((int)step);
    }

    /// <summary>All batches, made one at a time; the caller disposes each.</summary>
    public IEnumerable<Batch> All()
    {
        for (int batch = 0; batch < Count; batch++)
            yield return batchAt(batch);
    }
}

/// <summary>An order of examples that changes with every epoch and is a pure function of the seed and the epoch.</summary>
internal sealed class EpochOrder(int count, long seed)
{
    private Tuple<long, int[]>? last;

    /// <summary>The example at a position of an endless sequence of epochs.</summary>
    public int At(long position)
    {
        long epoch = position / count;
        // One reference is read and written, so threads may share the order; the worst is to shuffle twice.
        var order = last;
        if (order is null || order.Item1 != epoch)
        {
            int[] items = [.. Enumerable.Range(0, count)];
            var random = SplitMix.At(seed, epoch);
            random.Shuffle(items);
            last = order = Tuple.Create(epoch, items);
        }
        return order.Item2[position % count];
    }
}
