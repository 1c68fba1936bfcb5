namespace AttentionDistillation.Models.Tokenizers;

/// <summary>Finds and reads the files of a tokenizer.</summary>
internal static class TokenizerFiles
{
    public const string Json = "tokenizer.json";
    public const string Words = "vocab.txt";
    public const string Pairs = "vocab.json";
    public const string Merges = "merges.txt";
    private static readonly string[] SentencePieces = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];

    /// <summary>Reads whichever there is.</summary>
    public static Tokenizer Load(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"There is no folder '{folder}'.");
        if (File.Exists(Path.Combine(folder, Json)))
            return ReadJson(folder);
        if (File.Exists(Path.Combine(folder, Words)))
            return ClassicTokenizers.Bert(folder);
        if (File.Exists(Path.Combine(folder, Pairs)) && File.Exists(Path.Combine(folder, Merges)))
            return ClassicTokenizers.BytePairs(folder);
        if (SentencePieces.FirstOrDefault(name => File.Exists(Path.Combine(folder, name))) is { } model)
            return ClassicTokenizers.SentencePiece(folder, model);
        throw new FileNotFoundException(
            $"'{folder}' holds no tokenizer: neither {Json} nor {Words} nor {Pairs} with {Merges} nor {string.Join(" nor ", SentencePieces)}."
        );
    }

    /// <summary>The tokens of <c>added_tokens_decoder</c> (tokenizer_config.json) or <c>added_tokens.json</c>, and the special ones.</summary>
    public static List<AddedToken> ReadAdded(string folder, TokenModel model, TokenizerSettings settings)
    {
        var tokens = new Dictionary<string, AddedToken>(StringComparer.Ordinal);
        string config = Path.Combine(folder, "tokenizer_config.json"),
            list = Path.Combine(folder, "added_tokens.json");
        if (File.Exists(list))
            foreach (var (content, id) in TokenModel.ReadVocabulary(JsonPlace.Read(list).Json, $"'{list}'"))
                tokens[content] = new AddedToken(
                    id,
                    content,
                    settings.Special.Contains(content),
                    Normalized: !settings.Special.Contains(content)
                );
        if (File.Exists(config) && JsonPlace.Read(config).Object("added_tokens_decoder") is { } decoder)
            foreach (var (id, _) in decoder.Json)
                if (int.TryParse(id, out int number) && decoder.Object(id) is { } entry)
                    tokens[entry.RequiredText("content")] = ReadAdded(entry, number);
        foreach (string content in settings.Special)
            if (!tokens.ContainsKey(content) && model.Id(content) is { } id)
                // RoBERTa's mask takes the space before it.
                tokens[content] = new AddedToken(id, content, StripLeft: content == settings.MaskToken && content == "<mask>");
        return [.. tokens.Values.OrderBy(token => token.Id)];
    }

    private static Tokenizer ReadJson(string folder)
    {
        var root = JsonPlace.Read(Path.Combine(folder, Json));
        var model = TokenModel.Read(root.Object("model") ?? throw root.Wrong("model", "an object"));
        AddedToken[] added =
        [
            .. root.Objects("added_tokens")
                .Select(entry => ReadAdded(entry, entry.Integer("id") ?? throw entry.Wrong("id", "a whole number"))),
        ];
        var padding = root.Object("padding");
        var settings = TokenizerSettings.Read(
            folder,
            new TokenizerSettings
            {
                PaddingToken =
                    padding?.Text("pad_token")
                    ?? added.Select(token => token.Content).FirstOrDefault(text => text is "[PAD]" or "<pad>"),
                PaddingType = padding?.Integer("pad_type_id") ?? 0,
                PaddingSide = padding?.Text("direction") == "Left" ? TextSide.Left : TextSide.Right,
                UnknownToken = model.UnknownToken,
            }
        );
        return new Tokenizer(
            model,
            added,
            Normalizers.Read(root.Object("normalizer")),
            PreTokenizers.Read(root.Object("pre_tokenizer")),
            PostProcessor.Read(root.Object("post_processor")),
            Decoder(root),
            settings
        );
    }

    private static TokenDecoder Decoder(JsonPlace root)
    {
        var decoder = root.Object("decoder");
        var read = TokenDecoders.Read(decoder);
        // CLIP's files name the byte decoder alone, which leaves the signs of words' ends; transformers removes them in code.
        return decoder?.Type == "ByteLevel" && root.Object("model")!.Text("end_of_word_suffix") is { Length: > 0 } suffix
            ? TokenDecoders.Sequence(read, TokenDecoders.EndOfWordInText(suffix))
            : read;
    }

    private static AddedToken ReadAdded(JsonPlace entry, int id) =>
        new(
            id,
            entry.RequiredText("content"),
            entry.Flag("special", false),
            entry.Flag("normalized", true),
            entry.Flag("single_word", false),
            entry.Flag("lstrip", false),
            entry.Flag("rstrip", false)
        );
}
