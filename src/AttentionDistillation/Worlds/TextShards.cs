using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>
/// Plain text from a folder of shards (<c>*.txt</c>, UTF-8, a paragraph a line), as masked-language batches: rows are filled with text and masked as BERT
/// does (15 %; of these 80 % [MASK], 10 % a random token, 10 % unchanged). The same seed and step give the same batch.
/// </summary>
public sealed class TextShards
{
    private readonly List<int[]> rows = [];
    private readonly SpecialTokens tokens;
    private readonly int length;

    private TextShards(SpecialTokens tokens, int length) => (this.tokens, this.length) = (tokens, length);

    /// <summary>Rows of tokens.</summary>
    public int Count => rows.Count;

    /// <summary>Reads a folder.</summary>
    /// <param name="folder">Holds one or more <c>*.txt</c>.</param>
    /// <param name="tokens">Tokeniser and special tokens.</param>
    /// <param name="length">L of a row, at least 3.</param>
    /// <param name="mostRows">Stops after so many rows; null reads all.</param>
    /// <exception cref="DirectoryNotFoundException">The folder does not exist.</exception>
    /// <exception cref="InvalidDataException">It holds no shard, or too little text for one row.</exception>
    public static TextShards Open(string folder, SpecialTokens tokens, int length, int? mostRows = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(tokens);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 3);
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"There is no folder '{folder}'. It should hold text shards, *.txt.");
        string[] shards = [.. Directory.EnumerateFiles(folder, "*.txt").Order(StringComparer.Ordinal)];
        if (shards.Length == 0)
            throw new InvalidDataException($"'{folder}' holds no text shard (*.txt).");
        var text = new TextShards(tokens, length);
        var row = new List<int>(length - 2);
        foreach (string line in shards.SelectMany(File.ReadLines).Where(line => !string.IsNullOrWhiteSpace(line)))
        {
            foreach (int token in tokens.Encode(line).Append(tokens.Separator))
            {
                row.Add(token);
                if (row.Count < length - 2)
                    continue;
                text.rows.Add([.. row]);
                row.Clear();
            }
            if (text.rows.Count >= mostRows)
                break;
        }
        return text.rows.Count > 0
            ? text
            : throw new InvalidDataException($"'{folder}' has too little text for one row of {length} tokens.");
    }

    /// <summary>Masked-language batches: all rows in a new order every epoch.</summary>
    /// <param name="seed">Seed of order and masks.</param>
    /// <param name="batchSize">B.</param>
    public IBatchSource Masked(long seed, int batchSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return new Source(this, seed, batchSize);
    }

    private sealed class Source(TextShards text, long seed, int batchSize) : IBatchSource
    {
        private readonly EpochOrder order = new(text.rows.Count, Seeds.Derive(seed, "order"));
        private readonly long maskSeed = Seeds.Derive(seed, "masks");

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            var random = SplitMix.At(maskSeed, step);
            var (tokens, length) = (text.tokens, text.length);
            var rows = new Rows(batchSize, length);
            var labels = new long[batchSize * length];
            Array.Fill(labels, Batch.IgnoredLabel);
            for (int row = 0; row < batchSize; row++)
            {
                rows.Put(row, 0, tokens.Classify);
                int column = 1;
                foreach (int original in text.rows[order.At(step * batchSize + row)])
                {
                    int token = original;
                    if (!tokens.IsSpecial(token) && random.NextDouble() < MaskedLanguageSource.MaskedShare)
                    {
                        labels[row * length + column] = token;
                        double choice = random.NextDouble();
                        if (choice < MaskedLanguageSource.MaskTokenShare)
                            token = tokens.Mask;
                        else if (choice < MaskedLanguageSource.MaskTokenShare + MaskedLanguageSource.RandomTokenShare)
                            token = random.NextInt(tokens.VocabularySize);
                    }
                    rows.Put(row, column++, token);
                }
                rows.Put(row, column, tokens.Separator);
            }
            return rows.ToBatch(labels);
        }
    }
}
