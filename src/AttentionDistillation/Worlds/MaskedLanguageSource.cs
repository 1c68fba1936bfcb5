using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>Masked-language-model batches (Devlin et al. 2019, section 3.1, task 1).</summary>
internal sealed class MaskedLanguageSource : IBatchSource
{
    /// <summary>The share of tokens that are asked for.</summary>
    public const double MaskedShare = 0.15;

    /// <summary>Of these, the share that becomes [MASK].</summary>
    public const double MaskTokenShare = 0.8;

    /// <summary>Of these, the share that becomes a random token; the rest stays as it is.</summary>
    public const double RandomTokenShare = 0.1;

    // Evaluation masks must be the same for every model, so their seed is fixed.
    private const long EvaluationSeed = 0;
    private readonly List<ushort[]> rows;
    private readonly int vocabularySize;
    private readonly long maskSeed;
    private readonly int batchSize;
    private readonly int length;
    private readonly EpochOrder order;

    public MaskedLanguageSource(
        IReadOnlyList<ushort[]> texts,
        int vocabularySize,
        long seed,
        int batchSize,
        int length,
        RowLayout layout,
        bool shuffleTexts = true
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        // [CLS], one token, [SEP].
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 3);
        this.vocabularySize = vocabularySize;
        this.batchSize = batchSize;
        this.length = length;
        maskSeed = Seeds.Derive(seed, "masks");
        int[] textOrder = [.. Enumerable.Range(0, texts.Count)];
        if (shuffleTexts)
        {
            var random = SplitMix.At(Seeds.Derive(seed, "packing"), 0);
            random.Shuffle(textOrder);
        }
        rows =
            layout == RowLayout.OneText
                ? [.. textOrder.Select(text => Cut(texts[text], length - 2))]
                : Pack(texts, textOrder, length - 2);
        if (rows.Count == 0)
            throw new ArgumentException("The split has too little text for one row.", nameof(texts));
        order = new EpochOrder(rows.Count, Seeds.Derive(seed, "order"));
    }

    public Batch BatchAt(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        return Make(batchSize, row => order.At((step * batchSize) + row), step, length);
    }

    /// <summary>One text a row, texts of near lengths together, rows as long as the longest of a batch needs.</summary>
    public static BucketedBatches Bucketed(
        IReadOnlyList<ushort[]> texts,
        int vocabularySize,
        long seed,
        int batchSize,
        int length,
        LengthBucketing? bucketing
    )
    {
        var source = new MaskedLanguageSource(texts, vocabularySize, seed, batchSize, length, RowLayout.OneText);
        return new(
            [.. source.rows.Select(row => row.Length + 2)],
            Seeds.Derive(seed, "order"),
            batchSize,
            length,
            bucketing,
            (chosen, rowLength, step) => source.Make(chosen.Length, row => chosen[row], step, rowLength)
        );
    }

    public static EvaluationSource Evaluation(
        IReadOnlyList<ushort[]> texts,
        int vocabularySize,
        int batchSize,
        int length,
        RowLayout layout
    )
    {
        var source = new MaskedLanguageSource(
            texts,
            vocabularySize,
            EvaluationSeed,
            batchSize,
            length,
            layout,
            shuffleTexts: false
        );
        int count = (source.rows.Count + batchSize - 1) / batchSize;
        return new(
            count,
            source.rows.Count,
            batch =>
                source.Make(
                    Math.Min(batchSize, source.rows.Count - (batch * batchSize)),
                    row => (batch * batchSize) + row,
                    batch,
                    length
                )
        );
    }

    private Batch Make(int count, Func<int, int> rowAt, long step, int rowLength)
    {
        var random = SplitMix.At(maskSeed, step);
        var result = new Rows(count, rowLength);
        var labels = new long[count * rowLength];
        Array.Fill(labels, Batch.IgnoredLabel);
        for (int row = 0; row < count; row++)
        {
            ushort[] tokens = rows[rowAt(row)];
            result.Put(row, 0, WordPieceVocabulary.Classify);
            for (int at = 0; at < tokens.Length; at++)
            {
                long token = tokens[at];
                if (token >= WordPieceVocabulary.SpecialCount && random.NextDouble() < MaskedShare)
                {
                    labels[(row * rowLength) + at + 1] = token;
                    double choice = random.NextDouble();
                    if (choice < MaskTokenShare)
                        token = WordPieceVocabulary.Mask;
                    else if (choice < MaskTokenShare + RandomTokenShare)
                        token =
                            WordPieceVocabulary.SpecialCount + random.NextInt(vocabularySize - WordPieceVocabulary.SpecialCount);
                }
                result.Put(row, at + 1, token);
            }
            result.Put(row, tokens.Length + 1, WordPieceVocabulary.Separator);
        }
        return result.ToBatch(labels);
    }

    private static ushort[] Cut(ushort[] text, int length) => text.Length <= length ? text : text[..length];

    // The last, incomplete row is dropped: packed rows have no padding.
    private static List<ushort[]> Pack(IReadOnlyList<ushort[]> texts, int[] order, int length)
    {
        var rows = new List<ushort[]>();
        var row = new ushort[length];
        int used = 0;
        void Push(ushort token)
        {
            row[used++] = token;
            if (used < length)
                return;
            rows.Add(row);
            row = new ushort[length];
            used = 0;
        }
        foreach (int text in order)
        {
            if (used > 0)
                Push(WordPieceVocabulary.Separator);
            foreach (ushort token in texts[text])
                Push(token);
        }
        return rows;
    }
}
