using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Tokenizers;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>Options of a byte-pair model, under the names that tokenizer.json gives them.</summary>
/// <param name="UnknownToken">Stands for characters that the vocabulary lacks; null drops them.</param>
/// <param name="ContinuingPrefix">Precedes every part of a word but the first.</param>
/// <param name="EndOfWordSuffix">Follows the last part of a word.</param>
/// <param name="FuseUnknown">Whether neighbouring unknown characters are one token.</param>
/// <param name="ByteFallback">Whether an unknown character becomes the tokens of its bytes, <c>&lt;0xE2&gt;</c>.</param>
/// <param name="IgnoreMerges">Whether a piece that is a token is that token, whatever the merges say.</param>
internal sealed record BytePairOptions(
    string? UnknownToken = null,
    string? ContinuingPrefix = null,
    string? EndOfWordSuffix = null,
    bool FuseUnknown = false,
    bool ByteFallback = false,
    bool IgnoreMerges = false
);

/// <summary>
/// Byte-pair encoding (Sennrich, Haddow, Birch, 2016). The merging is that of Microsoft.ML.Tokenizers; unknown characters, byte fallback,
/// ignored merges and tokens that hold spaces, which it lacks, are dealt with around it.
/// </summary>
internal sealed class BytePairModel : TokenModel
{
    /// <summary>Stands in the package's vocabulary for what ours lacks; it cannot be typed, because characters are looked up one by one.</summary>
    private const string Absent = "\0absent";

    private const int AbsentId = -1;

    private readonly BpeTokenizer merger;
    private readonly BytePairOptions options;
    private readonly int? unknown;
    private readonly char? space;
    private readonly char spare;

    /// <summary>Builds it.</summary>
    /// <param name="vocabulary">Tokens and numbers.</param>
    /// <param name="merges">Pairs of tokens, the first merged first.</param>
    /// <param name="options">Options.</param>
    /// <param name="where">The file, for messages.</param>
    /// <exception cref="TokenizerFormatException">A merge names or makes a token that the vocabulary lacks.</exception>
    public BytePairModel(
        Dictionary<string, int> vocabulary,
        IReadOnlyList<(string Left, string Right)> merges,
        BytePairOptions options,
        string where
    )
        : base(vocabulary, where)
    {
        this.options = options;
        unknown = options.UnknownToken is null ? null : Id(options.UnknownToken);
        if (options.UnknownToken is { Length: > 0 } && unknown is null)
            throw new TokenizerFormatException(
                $"{where} names the unknown token '{options.UnknownToken}', which its vocabulary lacks."
            );
        int prefix = options.ContinuingPrefix?.Length ?? 0;
        foreach (var (left, right) in merges)
            if (Id(left) is null || Id(right) is null || right.Length < prefix || Id(left + right[prefix..]) is null)
                throw new TokenizerFormatException(
                    $"{where} merges '{left}' and '{right}', but its vocabulary lacks one of them or the token they make. Vocabulary and merges do not belong together."
                );
        if (merges.Any(pair => pair.Left.Contains(' ') || pair.Right.Contains(' ')))
            (space, spare) = Unused(vocabulary);
        merger = BpeTokenizer.Create(
            new BpeOptions(
                vocabulary.Select(pair => KeyValuePair.Create(Shown(pair.Key), pair.Value)).Append(new(Absent, AbsentId))
            )
            {
                Merges = merges.Distinct().Select(pair => $"{Shown(pair.Left)} {Shown(pair.Right)}"),
                UnknownToken = Absent,
                FuseUnknownTokens = false,
                ContinuingSubwordPrefix = string.IsNullOrEmpty(options.ContinuingPrefix) ? null : options.ContinuingPrefix,
                EndOfWordSuffix = string.IsNullOrEmpty(options.EndOfWordSuffix) ? null : options.EndOfWordSuffix,
                PreTokenizer = null,
            }
        );
    }

    /// <inheritdoc/>
    public override string? UnknownToken => options.UnknownToken;

    /// <summary>Reads it from a tokenizer.json.</summary>
    public static new BytePairModel Read(JsonPlace place)
    {
        if (place.Json["dropout"] is JsonValue value && value.TryGetValue(out double dropout) && dropout > 0)
            throw new NotSupportedException(
                $"{place.Where} drops merges with probability {dropout}: its encodings are random. Set dropout to null for the usual ones."
            );
        return new BytePairModel(
            ReadVocabulary(place),
            ReadMerges(place.Array("merges") ?? [], place.Where),
            new BytePairOptions(
                place.Text("unk_token"),
                place.Text("continuing_subword_prefix"),
                place.Text("end_of_word_suffix"),
                place.Flag("fuse_unk", false),
                place.Flag("byte_fallback", false),
                place.Flag("ignore_merges", false)
            ),
            place.Where
        );
    }

    /// <summary>Reads a merges.txt: a pair a line, in order; lines that begin with <c>#version</c> and empty ones do not count.</summary>
    public static List<(string Left, string Right)> ReadMergesFile(string path) =>
        [
            .. File.ReadLines(path)
                .Select((line, index) => (line, index))
                .Where(item => item.line.Length > 0 && !item.line.StartsWith("#version", StringComparison.Ordinal))
                .Select(item => Pair(item.line, $"'{path}', line {item.index + 1}")),
        ];

    /// <inheritdoc/>
    public override void Encode(string piece, List<PieceToken> into)
    {
        if (options.IgnoreMerges && Id(piece) is { } whole)
        {
            into.Add(new PieceToken(whole, 0, piece.Length));
            return;
        }
        bool fusing = false;
        foreach (
            var token in merger.EncodeToTokens(Shown(piece), out _, considerPreTokenization: false, considerNormalization: false)
        )
        {
            var (start, end) = (token.Offset.Start.Value, token.Offset.End.Value);
            bool known = token.Id != AbsentId;
            if (known)
                into.Add(new PieceToken(token.Id, start, end));
            else if (!(options.ByteFallback && AddBytes(piece.AsSpan(start, end - start), start, end, into)))
            {
                if (unknown is not { } id)
                    continue;
                if (options.FuseUnknown && fusing)
                    into[^1] = into[^1] with { End = end };
                else
                    into.Add(new PieceToken(id, start, end));
                fusing = true;
                continue;
            }
            fusing = false;
        }
    }

    private bool AddBytes(ReadOnlySpan<char> character, int start, int end, List<PieceToken> into)
    {
        Span<byte> bytes = stackalloc byte[Encoding.UTF8.GetMaxByteCount(2)];
        Span<int> ids = stackalloc int[bytes.Length];
        int count = Encoding.UTF8.GetBytes(character, bytes);
        for (int i = 0; i < count; i++)
        {
            if (Id($"<0x{bytes[i]:X2}>") is not { } id)
                return false;
            ids[i] = id;
        }
        for (int i = 0; i < count; i++)
            into.Add(new PieceToken(ids[i], start, end));
        return true;
    }

    private static List<(string Left, string Right)> ReadMerges(JsonArray merges, string where)
    {
        var result = new List<(string Left, string Right)>(merges.Count);
        foreach (var (index, node) in merges.Index())
        {
            string place = $"{where}, merges[{index}]";
            result.Add(
                node switch
                {
                    JsonArray { Count: 2 } pair when pair.All(part => part?.GetValueKind() == JsonValueKind.String) => (
                        pair[0]!.GetValue<string>(),
                        pair[1]!.GetValue<string>()
                    ),
                    JsonValue value when value.TryGetValue(out string? line) => Pair(line, place),
                    _ => throw new TokenizerFormatException($"{place} is {node?.ToJsonString() ?? "null"}, expected two tokens."),
                }
            );
        }
        return result;
    }

    private static (string Left, string Right) Pair(string line, string where)
    {
        string[] parts = line.Split(' ');
        return parts.Length == 2 && parts.All(part => part.Length > 0)
            ? (parts[0], parts[1])
            : throw new TokenizerFormatException($"{where} is '{line}', expected two tokens with a space between them.");
    }

    /// <summary>As the package is shown it, whose merges cannot hold spaces.</summary>
    private string Shown(string text) => space is { } sign ? text.Replace(sign, spare).Replace(' ', sign) : text;

    /// <summary>Two private characters that no token holds.</summary>
    private static (char Space, char Spare) Unused(Dictionary<string, int> vocabulary)
    {
        var used = vocabulary.Keys.SelectMany(token => token).ToHashSet();
        char[] free =
        [
            .. Enumerable.Range(0xE000, 0x1900).Select(value => (char)value).Where(value => !used.Contains(value)).Take(2),
        ];
        return (free[0], free[1]);
    }
}
