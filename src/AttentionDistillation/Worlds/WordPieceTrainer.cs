using System.Globalization;
using System.Runtime.InteropServices;

namespace AttentionDistillation.Worlds;

/// <summary>
/// Trains a WordPiece vocabulary: byte-pair merges by frequency (Sennrich, Haddow, Birch 2016) over word pieces, written in BERT's notation with
/// <c>##</c> for a piece inside a word. Ties are broken by ordinal order, so the same text gives the same vocabulary on every machine.
/// </summary>
public static class WordPieceTrainer
{
    /// <summary>The special tokens that open a BERT vocabulary, in the order of their numbers.</summary>
    public static IReadOnlyList<string> SpecialTokens { get; } = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

    private const string Inside = "##";

    /// <summary>Trains a vocabulary.</summary>
    /// <param name="texts">The training texts.</param>
    /// <param name="size">Most entries, special tokens included; fewer come back when the texts have no more pairs.</param>
    /// <param name="minimumCount">A character or pair that occurs less often gets no entry.</param>
    /// <returns>The entries in the order of their numbers: special tokens, characters in ordinal order, merges in the order of learning.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The size leaves no room for the characters.</exception>
    public static IReadOnlyList<string> Train(IEnumerable<string> texts, int size, int minimumCount = 2)
    {
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentOutOfRangeException.ThrowIfLessThan(minimumCount, 1);
        var counts = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (string text in texts)
        foreach (string word in Words(text))
            CollectionsMarshal.GetValueRefOrAddDefault(counts, word, out _)++;
        var pieces = new PieceTable();
        var corpus = new List<(List<int> Pieces, int Count)>();
        var alphabet = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (word, count) in counts)
        foreach (string piece in Split(word))
            CollectionsMarshal.GetValueRefOrAddDefault(alphabet, piece, out _) += count;
        foreach (
            string piece in alphabet
                .Where(pair => pair.Value >= minimumCount)
                .Select(pair => pair.Key)
                .Order(StringComparer.Ordinal)
        )
            pieces.Add(piece);
        if (pieces.Count + SpecialTokens.Count > size)
            throw new ArgumentOutOfRangeException(
                nameof(size),
                size,
                $"The texts have {pieces.Count} characters that occur at least {minimumCount} times; with {SpecialTokens.Count} special tokens "
                    + "they leave no room for pieces. Raise the size or the minimum count."
            );
        foreach (var (word, count) in counts.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            string[] parts = [.. Split(word)];
            if (parts.Length > 1 && parts.All(pieces.Contains))
                corpus.Add(([.. parts.Select(pieces.Number)], count));
        }
        new PairMerger(pieces, corpus, minimumCount).Run(size - SpecialTokens.Count);
        return [.. SpecialTokens, .. pieces.Names];
    }

    /// <summary>BERT's basic tokenisation in lower case: words of letters and digits; each punctuation sign is a word.</summary>
    public static IEnumerable<string> Words(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string lower = text.ToLowerInvariant();
        int start = 0;
        for (int position = 0; position <= lower.Length; position++)
        {
            bool end = position == lower.Length;
            bool space = !end && char.IsWhiteSpace(lower[position]);
            bool sign = !end && IsSign(lower[position]);
            if (!end && !space && !sign)
                continue;
            if (position > start)
                yield return lower[start..position];
            if (sign)
                yield return lower[position].ToString();
            start = position + 1;
        }
    }

    // BERT counts every ASCII sign as punctuation, also those that Unicode calls symbols.
    private static bool IsSign(char character) =>
        char.IsAscii(character)
            ? !char.IsLetterOrDigit(character) && character > ' ' && character != '\x7f'
            : char.IsPunctuation(character);

    private static IEnumerable<string> Split(string word)
    {
        var elements = StringInfo.GetTextElementEnumerator(word);
        for (bool first = true; elements.MoveNext(); first = false)
            yield return first ? elements.GetTextElement() : Inside + elements.GetTextElement();
    }

    private sealed class PieceTable
    {
        private readonly Dictionary<string, int> numbers = new(StringComparer.Ordinal);
        public List<string> Names { get; } = [];
        public int Count => Names.Count;

        public bool Contains(string piece) => numbers.ContainsKey(piece);

        public int Number(string piece) => numbers[piece];

        public int Add(string piece)
        {
            // Two ways of merging can spell one piece; it keeps its first number.
            if (numbers.TryGetValue(piece, out int known))
                return known;
            Names.Add(piece);
            return numbers[piece] = Names.Count - 1;
        }
    }

    private sealed class PairMerger(PieceTable pieces, List<(List<int> Pieces, int Count)> corpus, int minimumCount)
    {
        private readonly Dictionary<(int, int), int> counts = [];
        private readonly Dictionary<(int, int), HashSet<int>> places = [];
        private readonly PriorityQueue<(int Left, int Right), (int Count, string Left, string Right)> queue = new(
            Comparer<(int Count, string Left, string Right)>.Create(
                static (a, b) =>
                    a.Count != b.Count ? b.Count.CompareTo(a.Count)
                    : string.CompareOrdinal(a.Left, b.Left) is var left and not 0 ? left
                    : string.CompareOrdinal(a.Right, b.Right)
            )
        );

        public void Run(int size)
        {
            for (int word = 0; word < corpus.Count; word++)
                Tally(word, +1);
            foreach (var pair in counts.Keys)
                Enqueue(pair);
            while (pieces.Count < size && queue.TryDequeue(out var pair, out var priority))
            {
                // An entry whose count has changed since is stale; its present count has an entry of its own.
                if (counts[pair] != priority.Count || priority.Count < minimumCount)
                    continue;
                Merge(pair);
            }
        }

        private void Merge((int Left, int Right) pair)
        {
            int merged = pieces.Add(pieces.Names[pair.Left] + pieces.Names[pair.Right][Inside.Length..]);
            var touched = new HashSet<(int, int)>();
            foreach (int word in places[pair].ToArray())
            {
                var parts = corpus[word].Pieces;
                Tally(word, -1, touched);
                for (int at = 0; at + 1 < parts.Count; at++)
                    if (parts[at] == pair.Left && parts[at + 1] == pair.Right)
                    {
                        parts[at] = merged;
                        parts.RemoveAt(at + 1);
                    }
                Tally(word, +1, touched);
            }
            foreach (var other in touched)
                Enqueue(other);
        }

        private void Tally(int word, int sign, HashSet<(int, int)>? touched = null)
        {
            var (parts, count) = corpus[word];
            for (int at = 0; at + 1 < parts.Count; at++)
            {
                var pair = (parts[at], parts[at + 1]);
                CollectionsMarshal.GetValueRefOrAddDefault(counts, pair, out _) += sign * count;
                touched?.Add(pair);
                ref var where = ref CollectionsMarshal.GetValueRefOrAddDefault(places, pair, out _);
                where ??= [];
                if (sign > 0)
                    where.Add(word);
                else
                    where.Remove(word);
            }
        }

        private void Enqueue((int Left, int Right) pair)
        {
            if (counts[pair] >= minimumCount)
                queue.Enqueue(pair, (counts[pair], pieces.Names[pair.Left], pieces.Names[pair.Right]));
        }
    }
}
