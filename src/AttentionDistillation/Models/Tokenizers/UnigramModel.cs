using System.Text;
using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>
/// The unigram language model: of all ways to break a piece into tokens the most probable one (Kudo, 2018, section 3.2), found by Viterbi's
/// algorithm. Microsoft.ML.Tokenizers has it behind SentencePiece's own files only.
/// </summary>
internal sealed class UnigramModel : TokenModel
{
    /// <summary>How much less probable than the least probable token an unknown character is, in log (sentencepiece, unigram_model.cc).</summary>
    private const double UnknownPenalty = 10.0;

    private readonly double[] scores;
    private readonly double unknownScore;
    private readonly int? unknown;
    private readonly int longest;
    private readonly bool byteFallback;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> lookup;

    /// <summary>Builds it.</summary>
    /// <param name="pieces">Tokens with their log probabilities, in the order of their numbers.</param>
    /// <param name="unknown">The number of the unknown token; null when there is none.</param>
    /// <param name="byteFallback">Whether unknown characters become the tokens of their bytes.</param>
    /// <param name="where">The file, for messages.</param>
    public UnigramModel(IReadOnlyList<(string Token, double Score)> pieces, int? unknown, bool byteFallback, string where)
        : base(Numbered(pieces), where)
    {
        if (unknown is { } number && (number < 0 || number >= pieces.Count))
            throw new TokenizerFormatException(
                $"{where} has {pieces.Count} tokens, of which the unknown one is to be number {number}."
            );
        (this.unknown, this.byteFallback) = (unknown, byteFallback);
        scores = [.. pieces.Select(piece => piece.Score)];
        unknownScore = scores.Min() - UnknownPenalty;
        longest = pieces.Max(piece => piece.Token.Length);
        lookup = ((Dictionary<string, int>)Vocabulary).GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <inheritdoc/>
    public override string? UnknownToken => unknown is { } id ? Token(id) : null;

    /// <summary>Reads it from a tokenizer.json.</summary>
    public static new UnigramModel Read(JsonPlace place)
    {
        var pieces = new List<(string, double)>();
        foreach (var (index, node) in (place.Array("vocab") ?? throw place.Wrong("vocab", "a list")).Index())
            pieces.Add(
                node is JsonArray { Count: 2 } pair
                && pair[0] is JsonValue token
                && token.TryGetValue(out string? text)
                && pair[1] is JsonValue score
                && score.TryGetValue(out double number)
                    ? (text, number)
                    : throw new TokenizerFormatException(
                        $"{place.Where}, vocab[{index}] is {node?.ToJsonString() ?? "null"}, expected a token and its log probability."
                    )
            );
        return new UnigramModel(pieces, place.Integer("unk_id"), place.Flag("byte_fallback", false), place.Where);
    }

    /// <inheritdoc/>
    public override void Encode(string piece, List<PieceToken> into)
    {
        foreach (var (start, end) in BestPath(piece))
        {
            if (lookup.TryGetValue(piece.AsSpan(start, end - start), out int id))
                into.Add(new PieceToken(id, start, end));
            else if (!(byteFallback && AddBytes(piece.AsSpan(start, end - start), start, end, into)) && unknown is { } none)
                into.Add(new PieceToken(none, start, end, piece[start..end]));
        }
    }

    /// <summary>The most probable tokens' ranges; neighbouring unknown characters are one.</summary>
    private List<(int Start, int End)> BestPath(string piece)
    {
        var best = new (double Score, int From, bool Unknown)[piece.Length + 1];
        Array.Fill(best, (double.NegativeInfinity, -1, false));
        best[0] = (0, 0, false);
        int width;
        for (int start = 0; start < piece.Length; start += width)
        {
            width = char.IsHighSurrogate(piece[start]) && start + 1 < piece.Length ? 2 : 1;
            double here = best[start].Score;
            bool single = false;
            int most = Math.Min(longest, piece.Length - start);
            for (int length = 1; length <= most; length++)
            {
                if (!lookup.TryGetValue(piece.AsSpan(start, length), out int id))
                    continue;
                single |= length == width;
                Offer(start + length, here + scores[id], start, false);
            }
            if (!single)
                Offer(start + width, here + unknownScore, start, true);
        }
        var path = new List<(int Start, int End)>();
        bool wasUnknown = false;
        for (int end = piece.Length; end > 0; end = best[end].From)
        {
            var (_, from, isUnknown) = best[end];
            if (isUnknown && wasUnknown)
                path[^1] = (from, path[^1].End);
            else
                path.Add((from, end));
            wasUnknown = isUnknown;
        }
        path.Reverse();
        return path;

        void Offer(int end, double score, int from, bool isUnknown)
        {
            if (best[end].From < 0 || score > best[end].Score)
                best[end] = (score, from, isUnknown);
        }
    }

    private bool AddBytes(ReadOnlySpan<char> characters, int start, int end, List<PieceToken> into)
    {
        byte[] bytes = new byte[Encoding.UTF8.GetByteCount(characters)];
        Encoding.UTF8.GetBytes(characters, bytes);
        int?[] ids = [.. bytes.Select(value => Id($"<0x{value:X2}>"))];
        if (ids.Any(id => id is null))
            return false;
        into.AddRange(ids.Select(id => new PieceToken(id!.Value, start, end)));
        return true;
    }

    private static Dictionary<string, int> Numbered(IReadOnlyList<(string Token, double Score)> pieces)
    {
        var vocabulary = new Dictionary<string, int>(pieces.Count, StringComparer.Ordinal);
        foreach (var (id, piece) in pieces.Index())
            if (!vocabulary.TryAdd(piece.Token, id))
                throw new TokenizerFormatException(
                    $"The vocabulary holds '{piece.Token}' twice, as numbers {vocabulary[piece.Token]} and {id}."
                );
        return vocabulary;
    }
}
