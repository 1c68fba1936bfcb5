using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>A question and a context in one row, and where the answer is.</summary>
/// <param name="Question">The question's tokens, without special tokens.</param>
/// <param name="Context">The context's tokens, without special tokens.</param>
/// <param name="Start">The answer's first token, counted from the context's start; negative when this context does not hold it.</param>
/// <param name="End">Its last token, inclusive.</param>
/// <param name="QuestionLanguage">The question's language.</param>
/// <param name="ContextLanguage">The context's language.</param>
/// <param name="Example">The number of the example that the row belongs to; several rows may share it.</param>
public sealed record QuestionRow(
    long[] Question,
    long[] Context,
    int Start,
    int End,
    int QuestionLanguage,
    int ContextLanguage,
    int Example
);

/// <summary>
/// Rows for extractive question answering, [CLS] question [SEP] context [SEP], and their batches: <c>input_ids</c>, <c>attention_mask</c>,
/// <c>token_type_ids</c> [B, L], <c>context</c> bool [B, L] (true = may be part of an answer), <c>start</c>, <c>end</c> int64 [B] (L = the answer is not here)
/// and <c>row</c> int64 [B].
/// </summary>
public sealed class QuestionRows
{
    private readonly SentenceLayout layout;
    private readonly int length;

    /// <summary>Makes the set.</summary>
    /// <param name="rows">The rows, at least one.</param>
    /// <param name="layout">Special tokens.</param>
    /// <param name="length">L.</param>
    /// <exception cref="ArgumentException">There is no row, or one does not fit into the length.</exception>
    public QuestionRows(IReadOnlyList<QuestionRow> rows, SentenceLayout layout, int length)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(layout);
        if (rows.Count == 0)
            throw new ArgumentException("There is no row. Give at least one.", nameof(rows));
        (Rows, this.layout, this.length) = (rows, layout, length);
        int longest = rows.Max(row => ContextAt(row) + row.Context.Length + 1);
        if (longest > length)
            throw new ArgumentException(
                $"A row has {longest} tokens, but the length is {length}. Use a longer length or shorter windows of context."
            );
    }

    /// <summary>The rows.</summary>
    public IReadOnlyList<QuestionRow> Rows { get; }

    /// <summary>Training batches, a new order in every epoch.</summary>
    public IBatchSource Train(long seed, int batchSize) => new Shuffled(this, new EpochOrder(Rows.Count, seed), batchSize);

    /// <summary>All rows once, in order.</summary>
    public EvaluationSource All(int batchSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return new(
            (Rows.Count + batchSize - 1) / batchSize,
            Rows.Count,
            batch => Make([.. Enumerable.Range(batch * batchSize, Math.Min(batchSize, Rows.Count - (batch * batchSize)))])
        );
    }

    /// <summary>The batch of some rows, by their numbers.</summary>
    /// <exception cref="ArgumentException">No row is chosen.</exception>
    public Batch Make(IReadOnlyList<int> chosen)
    {
        ArgumentNullException.ThrowIfNull(chosen);
        if (chosen.Count == 0)
            throw new ArgumentException("No row is chosen. Name at least one.", nameof(chosen));
        var rows = new RowSet(chosen.Count, length, layout.Padding);
        var context = new bool[chosen.Count * length];
        var (starts, ends) = (new long[chosen.Count], new long[chosen.Count]);
        for (int at = 0; at < chosen.Count; at++)
        {
            var row = Rows[chosen[at]];
            int from = Put(rows, at, row);
            context.AsSpan((at * length) + from, row.Context.Length).Fill(true);
            bool here = row.Start >= 0 && row.End < row.Context.Length;
            (starts[at], ends[at]) = here ? (from + row.Start, from + row.End) : (length, length);
        }
        var batch = rows.ToBatch();
        batch["context"] = tensor(context, [chosen.Count, length]);
        (batch["start"], batch["end"]) = (tensor(starts), tensor(ends));
        batch["row"] = tensor([.. chosen.Select(number => (long)number)]);
        return batch;
    }

    /// <summary>The gold spans as positions of the rows, int64 [N, 2].</summary>
    public Tensor GoldSpans() =>
        tensor(
            [
                .. Rows.SelectMany(row =>
                    (long[])(row.Start < 0 ? [length, length] : [ContextAt(row) + row.Start, ContextAt(row) + row.End])
                ),
            ],
            [Rows.Count, 2]
        );

    /// <summary>Where a row's context starts.</summary>
    public int ContextAt(QuestionRow row)
    {
        ArgumentNullException.ThrowIfNull(row);
        return row.Question.Length + (layout.DoublesSeparator ? 3 : 2);
    }

    private int Put(RowSet rows, int at, QuestionRow row)
    {
        int separators = layout.DoublesSeparator ? 2 : 1;
        int column = rows.Put(at, [layout.Classify, .. row.Question, .. Enumerable.Repeat(layout.Separator, separators)], 0);
        rows.Put(at, [.. row.Context, layout.Separator], column, segment: 1);
        return column;
    }

    private sealed class Shuffled : IBatchSource
    {
        private readonly QuestionRows rows;
        private readonly EpochOrder order;
        private readonly int batchSize;

        public Shuffled(QuestionRows rows, EpochOrder order, int batchSize)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
            (this.rows, this.order, this.batchSize) = (rows, order, batchSize);
        }

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            return rows.Make([.. Enumerable.Range(0, batchSize).Select(row => order.At((step * batchSize) + row))]);
        }
    }
}
