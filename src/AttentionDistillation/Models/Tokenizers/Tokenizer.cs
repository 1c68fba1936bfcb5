using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>Turns text into a model's tokens and back, from the files that lie beside the model.</summary>
/// <remarks>
/// Added tokens are found, the rest is normalised, split into pieces, and each piece broken into tokens; then special tokens are added (as the
/// tokenizers library of Hugging Face does it). The merging of byte pairs and the search of WordPiece are those of Microsoft.ML.Tokenizers; what
/// that package lacks (offsets into the given text through normalisation, the steps of tokenizer.json, templates, unigram models in JSON, byte
/// fallback) is here. A tokenizer may be used from several threads at once.
/// </remarks>
public sealed class Tokenizer
{
    private readonly TokenModel model;
    private readonly AddedTokens added;
    private readonly PreTokenizer preTokenizer;
    private readonly PostProcessor postProcessor;
    private readonly TokenDecoder decoder;
    private readonly Dictionary<string, int> addedIds = new(StringComparer.Ordinal);
    private readonly Dictionary<int, AddedToken> addedTokens = [];

    internal Tokenizer(
        TokenModel model,
        IReadOnlyList<AddedToken> added,
        Normalizer normalizer,
        PreTokenizer preTokenizer,
        PostProcessor postProcessor,
        TokenDecoder decoder,
        TokenizerSettings settings
    )
    {
        (this.model, this.preTokenizer, this.postProcessor, this.decoder) = (model, preTokenizer, postProcessor, decoder);
        this.added = new AddedTokens(added, normalizer);
        foreach (var token in added)
        {
            addedIds[token.Content] = token.Id;
            addedTokens[token.Id] = token;
        }
        Settings = settings;
        Padding = settings.PaddingToken is { } text ? Id(text) : null;
        Unknown = (model.UnknownToken ?? settings.UnknownToken) is { } unknown ? Id(unknown) : null;
    }

    /// <summary>Loads the tokenizer of a model's folder.</summary>
    /// <remarks>
    /// From <c>tokenizer.json</c> where there is one; else from <c>vocab.txt</c> (BERT's WordPiece), <c>vocab.json</c> with <c>merges.txt</c> (GPT-2,
    /// RoBERTa, Qwen2, CLIP) or a SentencePiece model (<c>tokenizer.model</c>, <c>spiece.model</c>, <c>sentencepiece.bpe.model</c>), with what
    /// <c>tokenizer_config.json</c> and <c>config.json</c> say of the family.
    /// </remarks>
    /// <param name="folder">The folder.</param>
    /// <exception cref="FileNotFoundException">It holds none of these files; the message lists them.</exception>
    /// <exception cref="TokenizerFormatException">A file is broken; the message says where.</exception>
    /// <exception cref="NotSupportedException">A step of the tokenizer is not built; the message names it and those that are.</exception>
    public static Tokenizer Load(string folder) => TokenizerFiles.Load(folder);

    /// <summary>V: one more than the highest token number.</summary>
    public int VocabularySize => Math.Max(model.Vocabulary.Values.Max(), addedTokens.Keys.DefaultIfEmpty(-1).Max()) + 1;

    /// <summary>The number of the padding token; null when there is none.</summary>
    public int? Padding { get; }

    /// <summary>The number of the unknown token; null when there is none.</summary>
    public int? Unknown { get; }

    /// <summary>The tokens that are found in texts before anything else, special ones among them.</summary>
    public IReadOnlyList<AddedToken> AddedTokens => added.All;

    /// <summary>Special tokens and habits, from <c>tokenizer_config.json</c>.</summary>
    public TokenizerSettings Settings { get; }

    /// <summary>The number of a token; null when there is none.</summary>
    public int? Id(string token) => addedIds.TryGetValue(token, out int id) ? id : model.Id(token);

    /// <summary>The token of a number; null when there is none.</summary>
    public string? Token(int id) => addedTokens.TryGetValue(id, out var token) ? token.Content : model.Token(id);

    /// <summary>How many special tokens are put around a text or a pair.</summary>
    public int SpecialTokenCount(bool isPair) => postProcessor.AddedCount(isPair);

    /// <summary>Turns a text, or a pair of texts, into tokens.</summary>
    /// <param name="text">The text.</param>
    /// <param name="pair">A second text, for models that compare two; null for none.</param>
    /// <param name="options">Special tokens, cutting, padding to a length; null for the defaults.</param>
    /// <exception cref="ArgumentException">There is no room for the special tokens, or nothing left to cut.</exception>
    public TokenEncoding Encode(string text, string? pair = null, EncodeOptions? options = null)
    {
        options ??= new EncodeOptions();
        options.Validate();
        var tokens = Tokens(text, pair, options);
        PadAll([tokens], options);
        return new TokenEncoding(tokens);
    }

    /// <summary>Turns texts into tokens of one length.</summary>
    /// <param name="texts">The texts.</param>
    /// <param name="options">Special tokens, cutting, padding; null for the defaults (padding to the longest).</param>
    public EncodedTexts EncodeBatch(IReadOnlyList<string> texts, EncodeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(texts);
        return Batch(texts.Count, index => (texts[index], null), options);
    }

    /// <summary>Turns pairs of texts into tokens of one length.</summary>
    /// <param name="pairs">The pairs.</param>
    /// <param name="options">Special tokens, cutting, padding; null for the defaults (padding to the longest).</param>
    public EncodedTexts EncodePairs(IReadOnlyList<(string First, string Second)> pairs, EncodeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(pairs);
        return Batch(pairs.Count, index => (pairs[index].First, pairs[index].Second), options);
    }

    /// <summary>Turns tokens back into text.</summary>
    /// <param name="ids">Token numbers; those that no token has are left out.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are left out.</param>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(ids);
        string[] tokens =
        [
            .. ids.Where(id => !(skipSpecialTokens && addedTokens.TryGetValue(id, out var token) && token.Special))
                .Select(id => addedTokens.TryGetValue(id, out var token) ? added.Shown(token) : model.Token(id))
                .OfType<string>(),
        ];
        return string.Concat(decoder(tokens));
    }

    /// <inheritdoc cref="Decode(IEnumerable{int}, bool)"/>
    public string Decode(IEnumerable<long> ids, bool skipSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(ids);
        return Decode(ids.Select(id => checked((int)id)), skipSpecialTokens);
    }

    private EncodedTexts Batch(int count, Func<int, (string Text, string? Pair)> text, EncodeOptions? options)
    {
        options ??= new EncodeOptions();
        options.Validate();
        var rows = new List<EncodedToken>[count];
        Parallel.For(0, count, index => rows[index] = Tokens(text(index).Text, text(index).Pair, options));
        PadAll(rows, options);
        return new EncodedTexts([.. rows.Select(row => new TokenEncoding(row))]);
    }

    private List<EncodedToken> Tokens(string text, string? pair, EncodeOptions options)
    {
        ArgumentNullException.ThrowIfNull(text);
        var first = Tokens(text);
        var second = pair is null ? null : Tokens(pair);
        if (options.MaximumLength is { } most)
        {
            int special = options.AddSpecialTokens ? postProcessor.AddedCount(pair is not null) : 0;
            if (most < special)
                throw new ArgumentException(
                    $"{nameof(EncodeOptions.MaximumLength)} is {most}, but the special tokens alone are {special}. Raise it.",
                    nameof(options)
                );
            Truncation.Apply(
                first,
                second,
                most - special,
                options.Truncation,
                options.TruncationSide ?? Settings.TruncationSide
            );
        }
        return postProcessor.Apply(first, second, options.AddSpecialTokens);
    }

    private List<EncodedToken> Tokens(string text)
    {
        var result = new List<EncodedToken>();
        var tokens = new List<PieceToken>();
        int word = 0;
        foreach (var (part, token) in added.Split(AlignedText.Of(text)))
        {
            if (token is not null)
            {
                var (start, end) = part.Range(0, part.Text.Length);
                result.Add(new EncodedToken(token.Id, part.Text, start, end, Word: word++));
                continue;
            }
            foreach (var piece in preTokenizer(part))
            {
                if (piece.Text.Length == 0)
                    continue;
                tokens.Clear();
                model.Encode(piece.Text, tokens);
                foreach (var inner in tokens)
                {
                    var (start, end) = piece.Range(inner.Start, inner.End);
                    result.Add(new EncodedToken(inner.Id, inner.Text ?? model.Token(inner.Id)!, start, end, Word: word));
                }
                word++;
            }
        }
        return result;
    }

    private void PadAll(IReadOnlyList<List<EncodedToken>> rows, EncodeOptions options)
    {
        if (options.Padding == PaddingStrategy.None || rows.Count == 0)
            return;
        int length = options.Padding == PaddingStrategy.MaximumLength ? options.MaximumLength!.Value : rows.Max(row => row.Count);
        length = (length + options.PadToMultipleOf - 1) / options.PadToMultipleOf * options.PadToMultipleOf;
        if (rows.All(row => row.Count >= length))
            return;
        int padding =
            Padding
            ?? throw new InvalidOperationException(
                "The texts differ in length, but this tokenizer has no padding token. Name one (pad_token) in its tokenizer_config.json, "
                    + "for example its end-of-text token, or encode texts one by one."
            );
        var filler = new EncodedToken(padding, Token(padding)!, 0, 0, Settings.PaddingType, Special: true, Padding: true);
        foreach (var row in rows)
            row.InsertRange(
                (options.PaddingSide ?? Settings.PaddingSide) == TextSide.Right ? row.Count : 0,
                Enumerable.Repeat(filler, Math.Max(0, length - row.Count))
            );
    }
}
