using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>A token of a piece.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Start">First UTF-16 unit in the piece.</param>
/// <param name="End">Behind its last.</param>
/// <param name="Text">How it shows; null means as the vocabulary has it.</param>
internal readonly record struct PieceToken(int Id, int Start, int End, string? Text = null);

/// <summary>Breaks one piece of text into tokens.</summary>
internal abstract class TokenModel
{
    private readonly Dictionary<string, int> ids;
    private readonly Dictionary<int, string> tokens;

    /// <summary>Keeps the vocabulary.</summary>
    /// <exception cref="TokenizerFormatException">Two tokens have one number.</exception>
    protected TokenModel(Dictionary<string, int> vocabulary, string where)
    {
        if (vocabulary.Count == 0)
            throw new TokenizerFormatException($"{where} has an empty vocabulary.");
        ids = vocabulary;
        tokens = new Dictionary<int, string>(vocabulary.Count);
        foreach (var (token, id) in vocabulary)
        {
            if (id < 0)
                throw new TokenizerFormatException($"{where} gives the token '{token}' the number {id}.");
            if (!tokens.TryAdd(id, token))
                throw new TokenizerFormatException($"{where} gives the number {id} to both '{tokens[id]}' and '{token}'.");
        }
    }

    /// <summary>The vocabulary.</summary>
    public IReadOnlyDictionary<string, int> Vocabulary => ids;

    /// <summary>The number of a token; null when the vocabulary lacks it.</summary>
    public int? Id(string token) => ids.TryGetValue(token, out int id) ? id : null;

    /// <summary>The token of a number; null when there is none.</summary>
    public string? Token(int id) => tokens.GetValueOrDefault(id);

    /// <summary>The token that stands for what the vocabulary lacks; null when it has none.</summary>
    public virtual string? UnknownToken => null;

    /// <summary>Breaks a piece, which is not empty, into tokens in order.</summary>
    public abstract void Encode(string piece, List<PieceToken> into);

    /// <summary>Reads the member <c>model</c> of a tokenizer.json.</summary>
    public static TokenModel Read(JsonPlace place) =>
        (place.Text("type") ?? Guess(place)) switch
        {
            "BPE" => BytePairModel.Read(place),
            "WordPiece" => WordPieceModel.Read(place),
            "Unigram" => UnigramModel.Read(place),
            "WordLevel" => WordLevelModel.Read(place),
            _ => throw place.Unsupported("model", "BPE", "WordPiece", "Unigram", "WordLevel"),
        };

    /// <summary>A vocabulary as an object from tokens to numbers.</summary>
    internal static Dictionary<string, int> ReadVocabulary(JsonObject json, string where)
    {
        var vocabulary = new Dictionary<string, int>(json.Count, StringComparer.Ordinal);
        foreach (var (token, node) in json)
            vocabulary[token] =
                node is JsonValue value && value.TryGetValue(out int id)
                    ? id
                    : throw new TokenizerFormatException(
                        $"{where} gives the token '{token}' the number {node?.ToJsonString() ?? "null"}."
                    );
        return vocabulary;
    }

    /// <summary>The member <c>vocab</c>.</summary>
    internal static Dictionary<string, int> ReadVocabulary(JsonPlace place) =>
        ReadVocabulary((place.Object("vocab") ?? throw place.Wrong("vocab", "an object")).Json, place.Where);

    // Files older than the member "type".
    private static string Guess(JsonPlace place) =>
        place.Has("merges") ? "BPE"
        : place.Json["vocab"] is JsonArray ? "Unigram"
        : place.Has("continuing_subword_prefix") || place.Has("max_input_chars_per_word") ? "WordPiece"
        : "WordLevel";
}

/// <summary>A vocabulary of whole words.</summary>
internal sealed class WordLevelModel : TokenModel
{
    private readonly int? unknown;

    private WordLevelModel(Dictionary<string, int> vocabulary, string? unknownToken, string where)
        : base(vocabulary, where) => (UnknownToken, unknown) = (unknownToken, unknownToken is null ? null : Id(unknownToken));

    /// <inheritdoc/>
    public override string? UnknownToken { get; }

    /// <summary>Reads it.</summary>
    public static new WordLevelModel Read(JsonPlace place) => new(ReadVocabulary(place), place.Text("unk_token"), place.Where);

    /// <inheritdoc/>
    public override void Encode(string piece, List<PieceToken> into)
    {
        if ((Id(piece) ?? unknown) is { } id)
            into.Add(new PieceToken(id, 0, piece.Length));
    }
}
