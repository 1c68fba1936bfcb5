namespace AttentionDistillation.Models.Tokenizers;

/// <summary>Tokenizers from vocabulary files alone: what is not in the files is in the family's code, here as there.</summary>
internal static class ClassicTokenizers
{
    /// <summary>Qwen2's split into words (tokenization_qwen2.py).</summary>
    private const string QwenWords =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>CLIP's (simple_tokenizer.py); the special tokens of the original expression are found before it runs.</summary>
    private const string ClipWords = @"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

    /// <summary>BERT and its kin: <c>vocab.txt</c>, a token a line.</summary>
    public static Tokenizer Bert(string folder)
    {
        string path = Path.Combine(folder, TokenizerFiles.Words);
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (number, line) in File.ReadLines(path).Index())
            if (!vocabulary.TryAdd(line, number))
                throw new TokenizerFormatException(
                    $"'{path}' holds the token '{line}' in lines {vocabulary[line] + 1} and {number + 1}."
                );
        var config = Config(folder);
        var settings = TokenizerSettings.Read(
            folder,
            new TokenizerSettings
            {
                PaddingToken = "[PAD]",
                UnknownToken = "[UNK]",
                ClassifyToken = "[CLS]",
                SeparatorToken = "[SEP]",
                MaskToken = "[MASK]",
            }
        );
        var model = new WordPieceModel(vocabulary, settings.UnknownToken ?? "[UNK]", $"'{path}'");
        bool lowercase = config?.Flag("do_lower_case", true) ?? true;
        return new Tokenizer(
            model,
            TokenizerFiles.ReadAdded(folder, model, settings),
            Normalizers.Bert(
                cleanText: true,
                config?.Flag("tokenize_chinese_chars", true) ?? true,
                config?.Flag("strip_accents", lowercase) ?? lowercase,
                lowercase
            ),
            PreTokenizers.Bert,
            PostProcessor.Bert(
                Known(model, settings.ClassifyToken, "cls_token", path),
                Known(model, settings.SeparatorToken, "sep_token", path)
            ),
            TokenDecoders.WordPiece("##", cleanup: true),
            settings
        );
    }

    /// <summary>GPT-2, RoBERTa, Qwen2 and CLIP: <c>vocab.json</c> and <c>merges.txt</c>.</summary>
    public static Tokenizer BytePairs(string folder)
    {
        string path = Path.Combine(folder, TokenizerFiles.Pairs);
        var vocabulary = TokenModel.ReadVocabulary(JsonPlace.Read(path).Json, $"'{path}'");
        var merges = BytePairModel.ReadMergesFile(Path.Combine(folder, TokenizerFiles.Merges));
        string family = Family(folder);
        bool Is(string name) => family.Contains(name, StringComparison.OrdinalIgnoreCase);
        return Is("clip") ? Clip(folder, path, vocabulary, merges)
            : Is("roberta") || Is("bart") || Is("longformer") ? Roberta(folder, path, vocabulary, merges)
            : Is("qwen") ? Qwen(folder, path, vocabulary, merges)
            : Gpt2(folder, path, vocabulary, merges);
    }

    /// <summary>Llama, Mistral, T5, XLM-RoBERTa: a SentencePiece model.</summary>
    public static Tokenizer SentencePiece(string folder, string name)
    {
        string path = Path.Combine(folder, name);
        var file = SentencePieceFile.Read(path);
        return name == "sentencepiece.bpe.model" ? XlmRoberta(folder, path, file)
            : file.IsBytePair ? Llama(folder, path, file)
            : T5(folder, path, file);
    }

    private static Tokenizer Gpt2(
        string folder,
        string path,
        Dictionary<string, int> vocabulary,
        List<(string Left, string Right)> merges
    )
    {
        const string End = "<|endoftext|>";
        var config = Config(folder);
        var settings = TokenizerSettings.Read(
            folder,
            new TokenizerSettings
            {
                BeginToken = End,
                EndToken = End,
                UnknownToken = End,
            }
        );
        var model = new BytePairModel(vocabulary, merges, new BytePairOptions(), $"'{path}'");
        bool begins = config?.Flag("add_bos_token", false) ?? false;
        return new Tokenizer(
            model,
            TokenizerFiles.ReadAdded(folder, model, settings),
            text => text,
            PreTokenizers.ByteLevelPieces(config?.Flag("add_prefix_space", false) ?? false, useRegex: true),
            PostProcessor.Around(begins ? [Known(model, settings.BeginToken, "bos_token", path)] : [], []),
            tokens => [ByteLevel.Decode(tokens)],
            settings
        );
    }

    private static Tokenizer Roberta(
        string folder,
        string path,
        Dictionary<string, int> vocabulary,
        List<(string Left, string Right)> merges
    )
    {
        bool prefix = Config(folder)?.Flag("add_prefix_space", false) ?? false;
        var settings = TokenizerSettings.Read(
            folder,
            new TokenizerSettings
            {
                BeginToken = "<s>",
                EndToken = "</s>",
                UnknownToken = "<unk>",
                PaddingToken = "<pad>",
                ClassifyToken = "<s>",
                SeparatorToken = "</s>",
                MaskToken = "<mask>",
            }
        );
        var model = new BytePairModel(vocabulary, merges, new BytePairOptions(), $"'{path}'");
        return new Tokenizer(
            model,
            TokenizerFiles.ReadAdded(folder, model, settings),
            text => text,
            PreTokenizers.ByteLevelPieces(prefix, useRegex: true),
            PostProcessor.Roberta(
                Known(model, settings.ClassifyToken, "cls_token", path),
                Known(model, settings.SeparatorToken, "sep_token", path),
                prefix
            ),
            tokens => [ByteLevel.Decode(tokens)],
            settings
        );
    }

    private static Tokenizer Qwen(
        string folder,
        string path,
        Dictionary<string, int> vocabulary,
        List<(string Left, string Right)> merges
    )
    {
        const string End = "<|endoftext|>";
        var settings = TokenizerSettings.Read(folder, new TokenizerSettings { EndToken = End, PaddingToken = End });
        var model = new BytePairModel(vocabulary, merges, new BytePairOptions(), $"'{path}'");
        return new Tokenizer(
            model,
            TokenizerFiles.ReadAdded(folder, model, settings),
            text => UnicodeNormalizer.Apply(text, compatible: false, compose: true),
            PreTokenizers.Sequence(
                PreTokenizers.Split(new Pattern.Expression(QwenWords, "Qwen2"), SplitBehavior.Isolated, invert: false),
                PreTokenizers.ByteLevelPieces(addPrefixSpace: false, useRegex: false)
            ),
            new PostProcessor(null, null),
            tokens => [ByteLevel.Decode(tokens)],
            settings
        );
    }

    private static Tokenizer Clip(
        string folder,
        string path,
        Dictionary<string, int> vocabulary,
        List<(string Left, string Right)> merges
    )
    {
        const string Begin = "<|startoftext|>",
            End = "<|endoftext|>",
            Suffix = "</w>";
        var settings = TokenizerSettings.Read(
            folder,
            new TokenizerSettings
            {
                BeginToken = Begin,
                EndToken = End,
                UnknownToken = End,
                PaddingToken = End,
            }
        );
        var model = new BytePairModel(vocabulary, merges, new BytePairOptions(End, EndOfWordSuffix: Suffix), $"'{path}'");
        return new Tokenizer(
            model,
            TokenizerFiles.ReadAdded(folder, model, settings),
            Normalizers.Sequence(
                text => UnicodeNormalizer.Apply(text, compatible: false, compose: true),
                Normalizers.Replace(new Pattern.Expression(@"\s+", "CLIP"), " "),
                Normalizers.Lowercase
            ),
            PreTokenizers.Sequence(
                PreTokenizers.Split(new Pattern.Expression(ClipWords, "CLIP"), SplitBehavior.Removed, invert: true),
                PreTokenizers.ByteLevelPieces(addPrefixSpace: false, useRegex: true)
            ),
            PostProcessor.Roberta(
                Known(model, settings.BeginToken, "bos_token", path),
                Known(model, settings.EndToken, "eos_token", path),
                null
            ),
            TokenDecoders.Sequence(tokens => [ByteLevel.Decode(tokens)], TokenDecoders.EndOfWordInText(Suffix)),
            settings
        );
    }

    private static Tokenizer Llama(string folder, string path, SentencePieceFile file)
    {
        var config = Config(folder);
        var settings = TokenizerSettings.Read(
            folder,
            new TokenizerSettings
            {
                BeginToken = file.Piece(file.BeginId),
                EndToken = file.Piece(file.EndId),
                UnknownToken = file.Piece(file.UnknownId),
                PaddingToken = file.Piece(file.PaddingId),
            }
        );
        var vocabulary = file.Vocabulary();
        var model = new BytePairModel(
            vocabulary,
            file.Merges(vocabulary),
            new BytePairOptions(file.Piece(file.UnknownId), FuseUnknown: true, ByteFallback: file.ByteFallback),
            $"'{path}'"
        );
        // Since 2023 only the first piece of a text gets the space that SentencePiece puts before a text; older settings give it to every one.
        bool legacy = config?.Flag("legacy", true) ?? true;
        var (normalizer, pre) = legacy
            ? (
                file.AddDummyPrefix
                    ? Normalizers.Sequence(file.Normalizer, Normalizers.Prepend(PreTokenizers.SpaceSign), file.Escape)
                    : Normalizers.Sequence(file.Normalizer, file.Escape),
                (PreTokenizer)(text => [text])
            )
            : (
                file.Normalizer,
                PreTokenizers.Metaspace(
                    PreTokenizers.SpaceSign,
                    file.AddDummyPrefix ? PreTokenizers.Prepending.First : PreTokenizers.Prepending.Never,
                    split: false
                )
            );
        return new Tokenizer(
            model,
            Added(folder, file, model, settings),
            normalizer,
            pre,
            PostProcessor.Around(
                config?.Flag("add_bos_token", true) ?? true ? [Known(model, settings.BeginToken, "bos_token", path)] : [],
                config?.Flag("add_eos_token", false) ?? false ? [Known(model, settings.EndToken, "eos_token", path)] : []
            ),
            TokenDecoders.Sequence(
                TokenDecoders.Replace(new Pattern.Literal(PreTokenizers.SpaceSign), " "),
                TokenDecoders.ByteFallback,
                tokens => [string.Concat(tokens)],
                TokenDecoders.Strip(" ", file.AddDummyPrefix ? 1 : 0, 0)
            ),
            settings
        );
    }

    private static Tokenizer T5(string folder, string path, SentencePieceFile file)
    {
        int extras = Config(folder)?.Integer("extra_ids") ?? 0;
        var settings = TokenizerSettings.Read(
            folder,
            new TokenizerSettings
            {
                EndToken = file.Piece(file.EndId),
                UnknownToken = file.Piece(file.UnknownId),
                PaddingToken = file.Piece(file.PaddingId),
            }
        );
        (string, double)[] pieces =
        [
            .. file.Pieces.Select(piece => (piece.Text, (double)piece.Score)),
            .. Enumerable.Range(0, extras).Select(number => ($"<extra_id_{extras - 1 - number}>", 0.0)),
        ];
        var model = new UnigramModel(pieces, file.UnknownId, file.ByteFallback, $"'{path}'");
        return new Tokenizer(
            model,
            [
                .. Added(folder, file, model, settings),
                .. Enumerable
                    .Range(0, extras)
                    .Select(number => new AddedToken(file.Pieces.Count + number, pieces[file.Pieces.Count + number].Item1)),
            ],
            file.AddDummyPrefix
                ? Normalizers.Sequence(file.Normalizer, Normalizers.Prepend(PreTokenizers.SpaceSign), file.Escape)
                : Normalizers.Sequence(file.Normalizer, file.Escape),
            PreTokenizers.Split(new Pattern.Literal(PreTokenizers.SpaceSign), SplitBehavior.MergedWithNext, invert: false),
            PostProcessor.Around([], [Known(model, settings.EndToken, "eos_token", path)]),
            TokenDecoders.Metaspace(PreTokenizers.SpaceSign, file.AddDummyPrefix),
            settings
        );
    }

    /// <summary>Its numbers are fairseq's: four special tokens, then SentencePiece's from the fourth on, then the mask.</summary>
    private static Tokenizer XlmRoberta(string folder, string path, SentencePieceFile file)
    {
        const int Unknown = 3,
            Skipped = 3;
        var settings = TokenizerSettings.Read(
            folder,
            new TokenizerSettings
            {
                BeginToken = "<s>",
                EndToken = "</s>",
                UnknownToken = "<unk>",
                PaddingToken = "<pad>",
                ClassifyToken = "<s>",
                SeparatorToken = "</s>",
                MaskToken = "<mask>",
            }
        );
        (string, double)[] pieces =
        [
            ("<s>", 0),
            ("<pad>", 0),
            ("</s>", 0),
            ("<unk>", 0),
            .. file.Pieces.Skip(Skipped).Select(piece => (piece.Text, (double)piece.Score)),
            ("<mask>", 0),
        ];
        var model = new UnigramModel(pieces, Unknown, byteFallback: false, $"'{path}'");
        return new Tokenizer(
            model,
            TokenizerFiles.ReadAdded(folder, model, settings),
            file.Normalizer,
            PreTokenizers.Metaspace(PreTokenizers.SpaceSign, PreTokenizers.Prepending.Always, split: true),
            PostProcessor.Roberta(
                Known(model, settings.ClassifyToken, "cls_token", path),
                Known(model, settings.SeparatorToken, "sep_token", path),
                null
            ),
            TokenDecoders.Metaspace(PreTokenizers.SpaceSign, dropsFirst: true),
            settings
        );
    }

    private static List<AddedToken> Added(string folder, SentencePieceFile file, TokenModel model, TokenizerSettings settings)
    {
        var tokens = TokenizerFiles.ReadAdded(folder, model, settings);
        var known = tokens.Select(token => token.Id).ToHashSet();
        tokens.AddRange(
            file.Pieces.Index()
                .Where(piece =>
                    piece.Item.Type is SentencePieceType.Control or SentencePieceType.UserDefined && !known.Contains(piece.Index)
                )
                .Select(piece => new AddedToken(
                    piece.Index,
                    piece.Item.Text,
                    Special: piece.Item.Type == SentencePieceType.Control
                ))
        );
        return tokens;
    }

    private static (int Id, string Token) Known(TokenModel model, string? token, string name, string path) =>
        token is null
            ? throw new TokenizerFormatException($"The settings beside '{path}' name no {name}.")
            : (
                model.Id(token)
                    ?? throw new TokenizerFormatException($"'{path}' lacks the {name} '{token}'. Do the files belong together?"),
                token
            );

    private static JsonPlace? Config(string folder)
    {
        string path = Path.Combine(folder, "tokenizer_config.json");
        return File.Exists(path) ? JsonPlace.Read(path) : null;
    }

    /// <summary>The family: the tokenizer's class, else the model's.</summary>
    private static string Family(string folder)
    {
        string path = Path.Combine(folder, Hub.Hub.ConfigFile);
        return Config(folder)?.Text("tokenizer_class")
            ?? (File.Exists(path) ? JsonPlace.Read(path).Text("model_type") : null)
            ?? "gpt2";
    }
}
