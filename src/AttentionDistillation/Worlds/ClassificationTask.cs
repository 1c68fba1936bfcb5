using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>One labelled example: a text, or two.</summary>
internal readonly record struct LabelledExample(int First, int Second, int Label);

/// <summary>A labelled task over the corpus, with train, validation and test parts that share no near-duplicates.</summary>
public sealed class ClassificationTask
{
    private readonly TokenTexts first;
    private readonly TokenTexts? second;
    private readonly LabelledExample[][] examples;

    internal ClassificationTask(
        string name,
        IReadOnlyList<string> classNames,
        TokenTexts first,
        TokenTexts? second,
        LabelledExample[][] examples
    )
    {
        Name = name;
        ClassNames = classNames;
        this.first = first;
        this.second = second;
        this.examples = examples;
    }

    /// <summary>The task's name.</summary>
    public string Name { get; }

    /// <summary>The classes, in the order of the labels.</summary>
    public IReadOnlyList<string> ClassNames { get; }

    /// <summary>Examples of a split.</summary>
    public int ExampleCount(DocSplit split) => examples[(int)split].Length;

    /// <summary>Examples of a split by class.</summary>
    public IReadOnlyList<int> ClassCounts(DocSplit split)
    {
        var counts = new int[ClassNames.Count];
        foreach (var example in examples[(int)split])
            counts[example.Label]++;
        return counts;
    }

    internal IReadOnlyList<LabelledExample> ExamplesOf(DocSplit split) => examples[(int)split];

    internal TokenTexts First => first;

    internal TokenTexts? Second => second;

    /// <summary>Training batches: labels int64 [B], a new order in every epoch.</summary>
    /// <param name="seed">The seed of the order.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L; longer texts are cut, shorter ones padded.</param>
    /// <param name="examplesLimit">Only the first so many examples (of a fixed random order), for small data studies.</param>
    public IBatchSource Train(long seed, int batchSize, int length, int? examplesLimit = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        RequireLength(length);
        int count = TrainCount(examplesLimit);
        return new TrainingSource(this, new EpochOrder(count, Seeds.Derive(seed, Name)), batchSize, length);
    }

    /// <summary>Training batches of examples of near lengths, cut to what the longest of each needs: the rows of <see cref="Train"/> with less padding.</summary>
    /// <param name="seed">The seed of the order.</param>
    /// <param name="batchSize">The most examples of a batch.</param>
    /// <param name="length">The longest L; longer texts are cut.</param>
    /// <param name="bucketing">How examples come together; null for multiples of 8 without a limit of tokens.</param>
    /// <param name="examplesLimit">Only the first so many examples (of a fixed random order), for small data studies.</param>
    /// <exception cref="ArgumentException">The limit of tokens is below an example's length.</exception>
    public BucketedBatches TrainBucketed(
        long seed,
        int batchSize,
        int length,
        LengthBucketing? bucketing = null,
        int? examplesLimit = null
    )
    {
        RequireLength(length);
        var all = examples[(int)DocSplit.Train];
        int count = TrainCount(examplesLimit);
        return new(
            [.. all.Take(count).Select(example => LengthOf(example, length))],
            Seeds.Derive(seed, Name),
            batchSize,
            length,
            bucketing,
            (chosen, rowLength, _) => Make([.. chosen.Select(example => all[example])], length, rowLength)
        );
    }

    private int TrainCount(int? limit)
    {
        var all = examples[(int)DocSplit.Train];
        int count = Math.Min(all.Length, limit ?? all.Length);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1, "examplesLimit");
        return count;
    }

    /// <summary>The validation examples, each once, in a fixed order.</summary>
    public EvaluationSource Validation(int batchSize, int length) => Evaluation(DocSplit.Validation, batchSize, length);

    /// <summary>The test examples, each once, in a fixed order.</summary>
    public EvaluationSource Test(int batchSize, int length) => Evaluation(DocSplit.Test, batchSize, length);

    private EvaluationSource Evaluation(DocSplit split, int batchSize, int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        RequireLength(length);
        var all = examples[(int)split];
        return new(
            (all.Length + batchSize - 1) / batchSize,
            all.Length,
            batch => Make(all.AsSpan(batch * batchSize, Math.Min(batchSize, all.Length - (batch * batchSize))), length)
        );
    }

    // Room for [CLS], a token of each text and a [SEP] after each.
    private void RequireLength(int length) => ArgumentOutOfRangeException.ThrowIfLessThan(length, second is null ? 3 : 5);

    // Tokens of each text that fit a row of a length; a signature may take half of a pair's room at most, so that the summary is always seen.
    private (int First, int Second) Fit(LabelledExample example, int length)
    {
        int first = Math.Min(this.first[example.First].Length, second is null ? length - 2 : Math.Max(1, (length - 3) / 2));
        return (first, second is null ? 0 : Math.Min(second[example.Second].Length, length - 3 - first));
    }

    private int LengthOf(LabelledExample example, int length)
    {
        var (ofFirst, ofSecond) = Fit(example, length);
        return second is null ? ofFirst + 2 : ofFirst + ofSecond + 3;
    }

    // Texts are cut to a length; rows may be shorter where no text needs it.
    private Batch Make(ReadOnlySpan<LabelledExample> chosen, int length, int? rowLength = null)
    {
        var rows = new Rows(chosen.Length, rowLength ?? length);
        var labels = new long[chosen.Length];
        for (int row = 0; row < chosen.Length; row++)
        {
            var example = chosen[row];
            labels[row] = example.Label;
            rows.Put(row, 0, WordPieceVocabulary.Classify);
            var (ofFirst, ofSecond) = Fit(example, length);
            int column = Append(rows, row, 1, first[example.First][..ofFirst], 0);
            if (second is not null)
                Append(rows, row, column, second[example.Second][..ofSecond], 1);
        }
        return rows.ToBatch(labels);
    }

    private static int Append(Rows rows, int row, int column, ReadOnlySpan<ushort> text, long type)
    {
        foreach (ushort token in text)
            rows.Put(row, column++, token, type);
        rows.Put(row, column++, WordPieceVocabulary.Separator, type);
        return column;
    }

    private sealed class TrainingSource(ClassificationTask task, EpochOrder order, int batchSize, int length) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            var all = task.examples[(int)DocSplit.Train];
            var chosen = new LabelledExample[batchSize];
            for (int row = 0; row < batchSize; row++)
                chosen[row] = all[order.At((step * batchSize) + row)];
            return task.Make(chosen, length);
        }
    }
}
