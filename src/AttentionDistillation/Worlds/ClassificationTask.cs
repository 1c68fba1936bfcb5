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
        var all = examples[(int)DocSplit.Train];
        int count = Math.Min(all.Length, examplesLimit ?? all.Length);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1, nameof(examplesLimit));
        return new TrainingSource(this, new EpochOrder(count, Seeds.Derive(seed, Name)), batchSize, length);
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

    private Batch Make(ReadOnlySpan<LabelledExample> chosen, int length)
    {
        var rows = new Rows(chosen.Length, length);
        var labels = new long[chosen.Length];
        for (int row = 0; row < chosen.Length; row++)
        {
            var example = chosen[row];
            labels[row] = example.Label;
            rows.Put(row, 0, WordPieceVocabulary.Classify);
            var text = first[example.First];
            // A signature may take half of a pair's room at most, so that the summary is always seen.
            int room = second is null ? length - 2 : Math.Max(1, (length - 3) / 2);
            int column = Append(rows, row, 1, text[..Math.Min(text.Length, room)], 0);
            if (second is null)
                continue;
            var other = second[example.Second];
            Append(rows, row, column, other[..Math.Min(other.Length, length - column - 1)], 1);
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
