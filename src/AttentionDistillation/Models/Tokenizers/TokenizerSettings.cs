using System.Text.Json;
using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>A tokenizer's special tokens and habits, as <c>tokenizer_config.json</c> and <c>special_tokens_map.json</c> say them.</summary>
public sealed record TokenizerSettings
{
    /// <summary>Lengths above this mean "unlimited" in the files.</summary>
    private const double Unlimited = 1e9;

    /// <summary>The padding token; null for none.</summary>
    public string? PaddingToken { get; init; }

    /// <summary>The unknown token; null for none.</summary>
    public string? UnknownToken { get; init; }

    /// <summary>What begins a text in language models; null for none.</summary>
    public string? BeginToken { get; init; }

    /// <summary>What ends a text in language models; null for none.</summary>
    public string? EndToken { get; init; }

    /// <summary>What begins an input of an encoder; null for none.</summary>
    public string? ClassifyToken { get; init; }

    /// <summary>What separates the texts of an encoder's input; null for none.</summary>
    public string? SeparatorToken { get; init; }

    /// <summary>What stands for a masked token; null for none.</summary>
    public string? MaskToken { get; init; }

    /// <summary>The longest input the model was made for; null when the files do not say.</summary>
    public int? MaximumLength { get; init; }

    /// <summary>Where padding goes.</summary>
    public TextSide PaddingSide { get; init; }

    /// <summary>Where texts are cut.</summary>
    public TextSide TruncationSide { get; init; }

    /// <summary>The segment number of padding.</summary>
    public int PaddingType { get; init; }

    /// <summary>The special tokens, without repetition.</summary>
    internal IEnumerable<string> Special =>
        new[] { BeginToken, EndToken, UnknownToken, SeparatorToken, PaddingToken, ClassifyToken, MaskToken }
            .OfType<string>()
            .Where(token => token.Length > 0)
            .Distinct();

    /// <summary>Reads the files of a folder over the defaults of a family.</summary>
    internal static TokenizerSettings Read(string folder, TokenizerSettings defaults)
    {
        var settings = defaults;
        foreach (string name in new[] { "special_tokens_map.json", "tokenizer_config.json" })
        {
            string path = Path.Combine(folder, name);
            if (File.Exists(path))
                settings = settings.With(JsonPlace.Read(path));
        }
        return settings;
    }

    private TokenizerSettings With(JsonPlace place) =>
        this with
        {
            PaddingToken = Token(place, "pad_token", PaddingToken),
            UnknownToken = Token(place, "unk_token", UnknownToken),
            BeginToken = Token(place, "bos_token", BeginToken),
            EndToken = Token(place, "eos_token", EndToken),
            ClassifyToken = Token(place, "cls_token", ClassifyToken),
            SeparatorToken = Token(place, "sep_token", SeparatorToken),
            MaskToken = Token(place, "mask_token", MaskToken),
            MaximumLength =
                place.Json["model_max_length"] is JsonValue value && value.TryGetValue(out double length)
                    ? length is >= 1 and < Unlimited
                        ? (int)length
                        : null
                    : MaximumLength,
            PaddingSide = Side(place, "padding_side", PaddingSide),
            TruncationSide = Side(place, "truncation_side", TruncationSide),
            PaddingType = place.Integer("pad_token_type_id") ?? PaddingType,
        };

    /// <summary>A token is its text, or an object that holds it; null takes a default away.</summary>
    private static string? Token(JsonPlace place, string name, string? fallback) =>
        !place.Json.TryGetPropertyValue(name, out var node) ? fallback
        : node is null ? null
        : node.GetValueKind() == JsonValueKind.String ? node.GetValue<string>()
        : (place.Object(name)!).RequiredText("content");

    private static TextSide Side(JsonPlace place, string name, TextSide fallback) =>
        place.Text(name) switch
        {
            null => fallback,
            "right" => TextSide.Right,
            "left" => TextSide.Left,
            _ => throw place.Wrong(name, "left or right"),
        };
}
