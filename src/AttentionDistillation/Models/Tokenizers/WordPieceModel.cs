using System.Text;
using Microsoft.ML.Tokenizers;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>
/// WordPiece: the longest token that a word begins with, then the longest that the rest begins with, and so on; a word that cannot be built is
/// unknown as a whole (Wu et al., 2016; Devlin et al., 2019). The search is that of Microsoft.ML.Tokenizers.
/// </summary>
internal sealed class WordPieceModel : TokenModel
{
    /// <summary>BERT's longest word.</summary>
    public const int UsualLongest = 100;

    private readonly WordPieceTokenizer search;
    private readonly int longest;
    private readonly int unknown;

    /// <summary>Builds it.</summary>
    /// <exception cref="TokenizerFormatException">The vocabulary lacks the unknown token.</exception>
    public WordPieceModel(
        Dictionary<string, int> vocabulary,
        string unknownToken,
        string where,
        string continuingPrefix = "##",
        int longest = UsualLongest
    )
        : base(vocabulary, where)
    {
        (UnknownToken, this.longest) = (unknownToken, longest);
        unknown =
            Id(unknownToken)
            ?? throw new TokenizerFormatException(
                $"{where} names the unknown token '{unknownToken}', which its vocabulary lacks."
            );
        // The package numbers lines. A number without a token is an empty line; so is a token with a line end, which no word can hold.
        var lines = new string[vocabulary.Values.Max() + 1];
        foreach (var (token, id) in vocabulary)
            lines[id] = token.AsSpan().ContainsAny('\r', '\n') ? "" : token;
        using var file = new MemoryStream(Encoding.UTF8.GetBytes(string.Join('\n', lines.Select(line => line ?? "")) + "\n"));
        search = WordPieceTokenizer.Create(
            file,
            new WordPieceOptions
            {
                UnknownToken = unknownToken,
                ContinuingSubwordPrefix = continuingPrefix,
                // It counts UTF-16 units; code points are counted here.
                MaxInputCharsPerWord = 2 * longest,
            }
        );
    }

    /// <inheritdoc/>
    public override string? UnknownToken { get; }

    /// <summary>Reads it from a tokenizer.json.</summary>
    public static new WordPieceModel Read(JsonPlace place) =>
        new(
            ReadVocabulary(place),
            place.Text("unk_token") ?? "[UNK]",
            place.Where,
            place.Text("continuing_subword_prefix") ?? "##",
            place.Integer("max_input_chars_per_word") ?? UsualLongest
        );

    /// <inheritdoc/>
    public override void Encode(string piece, List<PieceToken> into)
    {
        if (piece.Length > longest && piece.EnumerateRunes().Count() > longest)
        {
            into.Add(new PieceToken(unknown, 0, piece.Length));
            return;
        }
        foreach (var token in search.EncodeToTokens(piece, out _, considerPreTokenization: false, considerNormalization: false))
            into.Add(new PieceToken(token.Id, token.Offset.Start.Value, token.Offset.End.Value));
    }
}
