using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>The special tokens of a text encoder and how it joins two sentences.</summary>
/// <param name="Classify">Stands at the start: [CLS] or &lt;s&gt;.</param>
/// <param name="Separator">Ends each sentence: [SEP] or &lt;/s&gt;.</param>
/// <param name="Mask">Stands for a token that is asked for.</param>
/// <param name="Padding">Fills rows.</param>
/// <param name="SpecialCount">Tokens below this number are special and never masked.</param>
/// <param name="VocabularySize">V.</param>
/// <param name="DoublesSeparator">True for RoBERTa, which puts two separators between joined sentences and knows no segments.</param>
public sealed record SentenceLayout(
    long Classify,
    long Separator,
    long Mask,
    long Padding,
    int SpecialCount,
    int VocabularySize,
    bool DoublesSeparator = false
);

/// <summary>Two sentences as token numbers without special tokens.</summary>
/// <param name="First">The first sentence.</param>
/// <param name="Second">The second.</param>
/// <param name="Score">How similar they truly are, for evaluation only; NaN when nobody knows.</param>
/// <param name="Kind">A subset's name, for example the data set or <c>hard</c>.</param>
public sealed record SentencePair(long[] First, long[] Second, double Score, string Kind);

/// <summary>
/// A set of sentence pairs and the batches an encoder is fed with: each sentence alone (bi-encoder), both joined in one row (cross-encoder), single
/// sentences (contrastive training) and masked text. Longer sentences are cut.
/// </summary>
public sealed class SentencePairs
{
    private readonly int length;
    private readonly int jointLength;

    /// <summary>Makes the set.</summary>
    /// <param name="pairs">The pairs, at least one.</param>
    /// <param name="layout">Special tokens.</param>
    /// <param name="length">L of a single sentence, special tokens included.</param>
    /// <param name="jointLength">L of two sentences in one row, special tokens included.</param>
    /// <exception cref="ArgumentException">There is no pair, a length has no room for text, or a token is outside the vocabulary.</exception>
    public SentencePairs(IReadOnlyList<SentencePair> pairs, SentenceLayout layout, int length, int jointLength)
    {
        ArgumentNullException.ThrowIfNull(pairs);
        ArgumentNullException.ThrowIfNull(layout);
        if (pairs.Count == 0)
            throw new ArgumentException("There is no pair. Give at least one.", nameof(pairs));
        if (length < 3 || jointLength < 6)
            throw new ArgumentException(
                $"Rows need room for text: at least 3 tokens alone and 6 joined, but have {length} and {jointLength}."
            );
        foreach (long token in pairs.SelectMany(pair => pair.First.Concat(pair.Second)))
            if (token < 0 || token >= layout.VocabularySize)
                throw new ArgumentException(
                    $"Token {token} lies outside the vocabulary of {layout.VocabularySize}. Was another tokenizer used?",
                    nameof(pairs)
                );
        (Pairs, Layout, this.length, this.jointLength) = (pairs, layout, length, jointLength);
    }

    /// <summary>The pairs.</summary>
    public IReadOnlyList<SentencePair> Pairs { get; }

    /// <summary>Special tokens.</summary>
    public SentenceLayout Layout { get; }

    /// <summary>The true similarities, in the pairs' order.</summary>
    public double[] Scores => [.. Pairs.Select(pair => pair.Score)];

    /// <summary>
    /// Training batches for a bi-encoder: <c>input_ids</c>, <c>attention_mask</c> [B, L] of the first sentences, <c>second_ids</c>, <c>second_mask</c> [B, L] of
    /// the second, and <c>pair</c>, int64 [B], the pairs' numbers, by which labels are looked up. A new order in every epoch.
    /// </summary>
    public IBatchSource Apart(long seed, int batchSize) =>
        new Source(Pairs.Count, Seeds.Derive(seed, "apart"), batchSize, (chosen, _) => MakeApart(chosen));

    /// <summary>All pairs once, in order, as <see cref="Apart"/> makes them.</summary>
    public EvaluationSource AllApart(int batchSize) => All(Pairs.Count, batchSize, MakeApart);

    /// <summary>
    /// Training batches for a cross-encoder: <c>input_ids</c>, <c>attention_mask</c>, <c>token_type_ids</c> [B, L] and <c>pair</c>, int64 [B].
    /// </summary>
    /// <param name="seed">Seed of the order.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="bothOrders">True takes every pair in both orders, (a, b) and (b, a).</param>
    public IBatchSource Joined(long seed, int batchSize, bool bothOrders)
    {
        int orders = bothOrders ? 2 : 1;
        return new Source(
            orders * Pairs.Count,
            Seeds.Derive(seed, "joined"),
            batchSize,
            (chosen, _) => MakeJoined([.. chosen.Select(item => (item / orders, item % orders == 1))])
        );
    }

    /// <summary>All pairs once, in one order (a, b), as <see cref="Joined"/> makes them.</summary>
    public EvaluationSource AllJoined(int batchSize) =>
        All(Pairs.Count, batchSize, chosen => MakeJoined([.. chosen.Select(item => (item, false))]));

    /// <summary>Batches of single sentences: <c>input_ids</c> and <c>attention_mask</c> [B, L].</summary>
    public IBatchSource Sentences(long seed, int batchSize) =>
        new Source(
            2 * Pairs.Count,
            Seeds.Derive(seed, "sentences"),
            batchSize,
            (chosen, _) =>
            {
                var rows = new RowSet(chosen.Length, length, Layout.Padding);
                for (int row = 0; row < chosen.Length; row++)
                    rows.Put(row, Alone(Sentence(chosen[row])), 0);
                return rows.ToBatch();
            }
        );

    /// <summary>
    /// Masked-language-model batches with <c>labels</c> [B, L] (Devlin et al. 2019, section 3.1): steps of even number hold single sentences, steps of odd
    /// number pairs in one row, so that the model learns to compare sentences.
    /// </summary>
    public IBatchSource MaskedLanguage(long seed, int batchSize)
    {
        long masks = Seeds.Derive(seed, "masks");
        return new Source(
            2 * Pairs.Count,
            Seeds.Derive(seed, "masked language"),
            batchSize,
            (chosen, step) =>
            {
                bool joined = step % 2 == 1;
                var rows = new RowSet(chosen.Length, joined ? jointLength : length, Layout.Padding);
                for (int row = 0; row < chosen.Length; row++)
                    if (joined)
                        PutJoined(rows, row, chosen[row] / 2, chosen[row] % 2 == 1);
                    else
                        rows.Put(row, Alone(Sentence(chosen[row])), 0);
                return rows.ToBatch(rows.Hide(Layout, SplitMix.At(masks, step)));
            }
        );
    }

    private long[] Sentence(int number) => number % 2 == 0 ? Pairs[number / 2].First : Pairs[number / 2].Second;

    private long[] Alone(long[] sentence) =>
        [Layout.Classify, .. sentence.AsSpan(0, Math.Min(sentence.Length, length - 2)), Layout.Separator];

    private Batch MakeApart(int[] chosen)
    {
        var (first, second) = (
            new RowSet(chosen.Length, length, Layout.Padding),
            new RowSet(chosen.Length, length, Layout.Padding)
        );
        for (int row = 0; row < chosen.Length; row++)
        {
            first.Put(row, Alone(Pairs[chosen[row]].First), 0);
            second.Put(row, Alone(Pairs[chosen[row]].Second), 0);
        }
        var batch = first.ToBatch();
        (batch["second_ids"], batch["second_mask"]) = (second.Ids(), second.Mask());
        batch["pair"] = tensor([.. chosen.Select(item => (long)item)]);
        return batch;
    }

    private Batch MakeJoined((int Pair, bool Swapped)[] chosen)
    {
        var rows = new RowSet(chosen.Length, jointLength, Layout.Padding);
        for (int row = 0; row < chosen.Length; row++)
            PutJoined(rows, row, chosen[row].Pair, chosen[row].Swapped);
        var batch = rows.ToBatch();
        batch["pair"] = tensor([.. chosen.Select(item => (long)item.Pair)]);
        return batch;
    }

    private void PutJoined(RowSet rows, int row, int number, bool swapped)
    {
        var pair = Pairs[number];
        var (left, right) = swapped ? (pair.Second, pair.First) : (pair.First, pair.Second);
        int between = Layout.DoublesSeparator ? 2 : 1;
        int room = jointLength - 2 - between;
        // The longer sentence gives way first, as Hugging Face's longest_first does.
        int ours = left.Length,
            theirs = right.Length;
        while (ours + theirs > room)
            if (ours > theirs)
                ours--;
            else
                theirs--;
        int column = rows.Put(
            row,
            [Layout.Classify, .. left.AsSpan(0, ours), .. Enumerable.Repeat(Layout.Separator, between)],
            0
        );
        rows.Put(row, [.. right.AsSpan(0, theirs), Layout.Separator], column, segment: 1);
    }

    private static EvaluationSource All(int count, int batchSize, Func<int[], Batch> make)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return new(
            (count + batchSize - 1) / batchSize,
            count,
            batch => make([.. Enumerable.Range(batch * batchSize, Math.Min(batchSize, count - (batch * batchSize)))])
        );
    }

    private sealed class Source : IBatchSource
    {
        private readonly EpochOrder order;
        private readonly int batchSize;
        private readonly Func<int[], long, Batch> make;

        public Source(int count, long seed, int batchSize, Func<int[], long, Batch> make)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
            (order, this.batchSize, this.make) = (new EpochOrder(count, seed), batchSize, make);
        }

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            var chosen = new int[batchSize];
            for (int row = 0; row < batchSize; row++)
                chosen[row] = order.At((step * batchSize) + row);
            return make(chosen, step);
        }
    }
}
