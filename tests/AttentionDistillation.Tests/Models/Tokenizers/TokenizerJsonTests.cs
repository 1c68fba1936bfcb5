using AttentionDistillation.Models.Tokenizers;
using Microsoft.ML.Tokenizers;
using Tokenizer = AttentionDistillation.Models.Tokenizers.Tokenizer;

namespace AttentionDistillation.Tests.Models.Tokenizers;

/// <summary>The steps that a tokenizer.json may name.</summary>
public sealed class TokenizerJsonTests
{
    private const string Words = """{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}""";

    private static readonly EncodeOptions Bare = new() { AddSpecialTokens = false };

    /// <summary>What reaches the model, piece by piece, as offsets of the text tell: each piece is one unknown token.</summary>
    private static string Pieces(string text, string pre, string normalizer = "null")
    {
        using var folder = TokenizerFolder.Json(Words, normalizer, pre);
        var encoding = folder.Load().Encode(text, options: Bare);
        return string.Join('|', encoding.Offsets.Select(offset => text[offset.Start..offset.End]));
    }

    [Theory]
    [InlineData("Removed", "the|final|countdown")]
    [InlineData("Isolated", "the|-|final|-|-|countdown")]
    [InlineData("MergedWithPrevious", "the-|final-|-|countdown")]
    [InlineData("MergedWithNext", "the|-final|-|-countdown")]
    [InlineData("Contiguous", "the|-|final|--|countdown")]
    public void SplitsBehaveAsDocumented(string behavior, string pieces) =>
        Assert.Equal(
            pieces,
            Pieces(
                "the-final--countdown",
                $$"""{"type":"Split","pattern":{"String":"-"},"behavior":"{{behavior}}","invert":false}"""
            )
        );

    [Theory]
    [InlineData("""{"type":"Whitespace"}""", "Hi, you_2!  é", "Hi|,|you_2|!|é")]
    [InlineData("""{"type":"WhitespaceSplit"}""", "Hi, you_2!\té", "Hi,|you_2!|é")]
    [InlineData("""{"type":"BertPreTokenizer"}""", "Hi, you_2!", "Hi|,|you|_|2|!")]
    [InlineData("""{"type":"Punctuation","behavior":"Isolated"}""", "a,b¿c", "a|,|b|¿|c")]
    [InlineData("""{"type":"Digits","individual_digits":true}""", "a12b½", "a|1|2|b|½")]
    [InlineData("""{"type":"Digits","individual_digits":false}""", "a12b", "a|12|b")]
    [InlineData("""{"type":"CharDelimiterSplit","delimiter":"-"}""", "a-b--c", "a|b|c")]
    [InlineData("""{"type":"FixedLength","length":2}""", "a😀bcd", "a😀|bc|d")]
    [InlineData(
        """{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}""",
        "I'll go  now12",
        "I|'ll| go| | now|12"
    )]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}""", "a bc  d", "a| bc| | d")]
    [InlineData("""{"type":"Split","pattern":{"Regex":"\\p{N}{1,3}"},"behavior":"Isolated","invert":false}""", "12345", "123|45")]
    [InlineData("""{"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Removed","invert":true}""", "ab, cd", "ab|cd")]
    [InlineData("""{"type":"Split","pattern":{"Regex":"[^\\s]++"},"behavior":"Removed","invert":true}""", "ab, cd", "ab,|cd")]
    [InlineData(
        """{"type":"Split","pattern":{"Regex":"\\p{L}+"},"behavior":"Isolated","invert":false}""",
        "a𝒜b😀c",
        "a𝒜b|😀|c"
    )]
    [InlineData(
        """{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Digits","individual_digits":true}]}""",
        "a1 2",
        "a|1|2"
    )]
    public void PreTokenizersSplit(string pre, string text, string pieces) => Assert.Equal(pieces, Pieces(text, pre));

    [Theory]
    [InlineData("""{"type":"NFC"}""", "e\u0301 각", "é 각")]
    [InlineData("""{"type":"NFD"}""", "é각", "e\u0301\u1100\u1161\u11A8")]
    [InlineData("""{"type":"NFKC"}""", "ﬁ①\u00A0Å", "fi1 Å")]
    [InlineData("""{"type":"NFKD"}""", "ﬁÅ", "fiA\u030A")]
    [InlineData("""{"type":"NFC"}""", "a\u0323\u0302", "ậ")]
    [InlineData("""{"type":"NFC"}""", "a\u0302\u0323", "ậ")]
    [InlineData("""{"type":"NFC"}""", "\u0958", "\u0915\u093C")]
    [InlineData("""{"type":"Lowercase"}""", "ÀİΣ", "ài\u0307σ")]
    [InlineData("""{"type":"StripAccents"}""", "e\u0301", "e")]
    [InlineData("""{"type":"Strip","strip_left":true,"strip_right":false}""", "  a ", "a ")]
    [InlineData("""{"type":"Prepend","prepend":"▁"}""", "a", "▁a")]
    [InlineData("""{"type":"Prepend","prepend":"▁"}""", "", "")]
    [InlineData("""{"type":"Replace","pattern":{"String":" "},"content":"▁"}""", "a b", "a▁b")]
    [InlineData("""{"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "}""", "a   b", "a b")]
    [InlineData("""{"type":"Nmt"}""", "a\tb\u200Bc\u0001", "a b c")]
    [InlineData("""{"type":"ByteLevel"}""", "a é", "aĠÃ©")]
    [InlineData(
        """{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}""",
        "É\u0000世",
        "e 世 "
    )]
    [InlineData(
        """{"type":"BertNormalizer","clean_text":false,"handle_chinese_chars":false,"strip_accents":true,"lowercase":false}""",
        "É",
        "E"
    )]
    [InlineData("""{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]}""", "É", "e")]
    public void NormalizersRewrite(string normalizer, string text, string result)
    {
        // One token a character, so that tokens show the normalised text.
        string vocabulary = string.Join(
            ',',
            result
                .EnumerateRunes()
                .Distinct()
                .Select((rune, id) => $"{System.Text.Json.JsonSerializer.Serialize(rune.ToString())}:{id + 1}")
        );
        using var folder = TokenizerFolder.Json(
            $$$"""{"type":"BPE","unk_token":"[UNK]","vocab":{"[UNK]":0{{{(vocabulary.Length > 0 ? "," + vocabulary : "")}}}},"merges":[]}""",
            normalizer
        );
        var encoding = folder.Load().Encode(text, options: Bare);
        Assert.Equal(result, string.Concat(encoding.Tokens));
        Assert.All(encoding.Offsets, offset => Assert.InRange(offset.End, offset.Start, text.Length));
    }

    [Fact]
    public void UnigramsTakeTheMostProbablePath()
    {
        // "abc": a+bc = -1 - 3 = -4; ab+c = -2 - 2.5 = -4.5; a+b+c = -1 - 2 - 2.5 = -5.5. Unknown: the least (-5) - 10.
        const string Model =
            """{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.0],["b",-2.0],["c",-2.5],["ab",-2.0],["bc",-3.0],["zz",-5.0]]}""";
        using var folder = TokenizerFolder.Json(Model);
        var tokenizer = folder.Load();
        Assert.Equal(["a", "bc"], tokenizer.Encode("abc", options: Bare).Tokens);
        // ab + b: -2 - 2 = -4 beats a + b + b.
        Assert.Equal(["ab", "b"], tokenizer.Encode("abb", options: Bare).Tokens);
        var unknown = tokenizer.Encode("a😀?b", options: Bare);
        Assert.Equal([1, 0, 2], unknown.Ids);
        Assert.Equal((1, 4), unknown.Offsets[1]);
    }

    [Fact]
    public void UnknownCharactersAreBytesOrFusedOrDropped()
    {
        string bytes = string.Join(',', Enumerable.Range(0, 256).Select(value => $"\"<0x{value:X2}>\":{10 + value}"));
        string Model(string options, string vocabulary) =>
            $$"""{"type":"BPE",{{options}},"vocab":{"<unk>":0,"a":1,"b":2,"ab":3{{vocabulary}}},"merges":["a b"]}""";
        using var fallback = TokenizerFolder.Json(
            Model("\"unk_token\":\"<unk>\",\"byte_fallback\":true,\"fuse_unk\":true", "," + bytes)
        );
        var encoding = fallback.Load().Encode("abé", options: Bare);
        Assert.Equal([3, 10 + 0xC3, 10 + 0xA9], encoding.Ids);
        Assert.Equal([(0, 2), (2, 3), (2, 3)], encoding.Offsets);
        using var fused = TokenizerFolder.Json(Model("\"unk_token\":\"<unk>\",\"fuse_unk\":true", ""));
        Assert.Equal([1, 0, 2], fused.Load().Encode("aéçb", options: Bare).Ids);
        using var single = TokenizerFolder.Json(Model("\"unk_token\":\"<unk>\"", ""));
        Assert.Equal([1, 0, 0, 2], single.Load().Encode("aéçb", options: Bare).Ids);
        using var dropped = TokenizerFolder.Json(Model("\"unk_token\":null", ""));
        Assert.Equal([1, 2], dropped.Load().Encode("aéçb", options: Bare).Ids);
    }

    [Fact]
    public void MergesMayHoldSpacesAndBeIgnored()
    {
        using var spaces = TokenizerFolder.Json(
            """{"type":"BPE","vocab":{"a":0," ":1,"b":2,"a ":3,"a b":4},"merges":[["a"," "],["a ","b"]]}"""
        );
        Assert.Equal(["a b", "a ", "a"], spaces.Load().Encode("a ba a", options: Bare).Tokens);
        // "abc" is a token that no merge makes.
        using var ignored = TokenizerFolder.Json(
            """{"type":"BPE","ignore_merges":true,"vocab":{"a":0,"b":1,"c":2,"abc":3},"merges":[]}""",
            pre: """{"type":"WhitespaceSplit"}"""
        );
        Assert.Equal([3, 3, 0], ignored.Load().Encode("abc abc a", options: Bare).Ids);
    }

    [Fact]
    public void LlamaJsonRoundTripsWithBytesAndSpaces()
    {
        string bytes = string.Join(',', Enumerable.Range(0, 256).Select(value => $"\"<0x{value:X2}>\":{10 + value}"));
        using var folder = TokenizerFolder.Json(
            $$"""{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"<s>":1,"</s>":2,"▁":3,"a":4,"▁a":5,{{bytes}}},"merges":["▁ a"]}""",
            """{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""",
            post: """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"<s>","type_id":1}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}""",
            decoder: """{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}""",
            added: """[{"id":0,"content":"<unk>","special":true,"normalized":false},{"id":1,"content":"<s>","special":true,"normalized":false},{"id":2,"content":"</s>","special":true,"normalized":false}]"""
        );
        var tokenizer = folder.Load();
        var encoding = tokenizer.Encode("a a😀");
        Assert.Equal([1, 5, 5, 10 + 0xF0, 10 + 0x9F, 10 + 0x98, 10 + 0x80], encoding.Ids);
        Assert.Equal([(0, 0), (0, 1), (1, 3), (3, 5), (3, 5), (3, 5), (3, 5)], encoding.Offsets);
        Assert.Equal("a a😀", tokenizer.Decode(encoding.Ids));
        Assert.Equal([0, 0, 1, 1], tokenizer.Encode("a", "a").TypeIds);
    }

    [Fact]
    public void AddedTokensStripAndStandAlone()
    {
        // "bones" holds "one", which must stand alone.
        using var folder = TokenizerFolder.Json(
            """{"type":"WordLevel","vocab":{"[UNK]":0,"a":1,"b":2},"unk_token":"[UNK]"}""",
            """{"type":"Lowercase"}""",
            """{"type":"WhitespaceSplit"}""",
            added: """
            [{"id":3,"content":"<L>","lstrip":true,"normalized":false},{"id":4,"content":"<R>","rstrip":true,"normalized":false},
             {"id":5,"content":"one","single_word":true,"normalized":false},{"id":6,"content":"NORM","normalized":true},
             {"id":7,"content":"cone","normalized":false}]
            """
        );
        var tokenizer = folder.Load();
        var encoding = tokenizer.Encode("a  <L>b<R>  a one bones norm", options: Bare);
        Assert.Equal([1, 3, 2, 4, 1, 5, 0, 6], encoding.Ids);
        Assert.Equal((1, 6), encoding.Offsets[1]);
        Assert.Equal((7, 12), encoding.Offsets[3]);
    }

    [Theory]
    [InlineData("""{"type":"WordPiece","prefix":"##","cleanup":true}""", "a ##b ! n't", "ab!n't")]
    [InlineData("""{"type":"WordPiece","prefix":"##","cleanup":false}""", "a ##b !", "ab !")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}""", "▁a ▁b", "a b")]
    [InlineData("""{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":true}""", "▁a ▁b", " a b")]
    [InlineData("""{"type":"BPEDecoder","suffix":"</w>"}""", "a b</w> c</w>", "ab c")]
    [InlineData("""{"type":"ByteFallback"}""", "<0xC3> <0xA9> a <0xFF>", "éa\uFFFD")]
    [InlineData("""{"type":"ByteLevel"}""", "aĠ Ã ©", "a é")]
    [InlineData("null", "a b", "a b")]
    public void DecodersJoin(string decoder, string tokens, string text)
    {
        string[] words = tokens.Split(' ');
        string vocabulary = string.Join(
            ',',
            words.Distinct().Select((word, id) => $"{System.Text.Json.JsonSerializer.Serialize(word)}:{id}")
        );
        using var folder = TokenizerFolder.Json(
            $$$"""{"type":"WordLevel","vocab":{{{{vocabulary}}}},"unk_token":"a"}""",
            decoder: decoder
        );
        var tokenizer = folder.Load();
        Assert.Equal(text, tokenizer.Decode(words.Select(word => tokenizer.Id(word)!.Value)));
    }

    [Theory]
    [InlineData("{", "not JSON")]
    [InlineData("[]", "not a JSON object")]
    [InlineData("{}", "model")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}""", "do not belong together")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":["ab"]}}""", "merges[0]")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}""", "number 0")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":"x"},"merges":[]}}""", "'a'")]
    [InlineData("""{"model":{"type":"WordPiece","vocab":{"a":0}}}""", "[UNK]")]
    [InlineData("""{"model":{"type":"Unigram","vocab":[["a"]]}}""", "vocab[0]")]
    [InlineData("""{"model":{"type":"Unigram","unk_id":4,"vocab":[["a",0.0]]}}""", "number 4")]
    [InlineData("""{"model":{"type":"WordLevel","vocab":{}}}""", "empty")]
    [InlineData(
        """{"model":{"type":"WordLevel","vocab":{"a":0}},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]","type_id":0}}],"pair":[],"special_tokens":{}}}""",
        "[CLS]"
    )]
    [InlineData("""{"model":{"type":"WordLevel","vocab":{"a":0}},"pre_tokenizer":{"type":"Split","pattern":7}}""", "pattern")]
    [InlineData("""{"model":{"type":"WordLevel","vocab":{"a":0}},"added_tokens":[{"content":"x"}]}""", "id")]
    [InlineData(
        """{"model":{"type":"WordLevel","vocab":{"a":0}},"normalizer":{"type":"Precompiled","precompiled_charsmap":"AAEA"}}""",
        "too early"
    )]
    public void BrokenFilesAreRefusedByPlace(string json, string says)
    {
        using var folder = new TokenizerFolder().With("tokenizer.json", json);
        Assert.Contains(says, Assert.Throws<TokenizerFormatException>(folder.Load).Message);
    }

    [Theory]
    [InlineData("""{"model":{"type":"Neural"}}""", "Unigram")]
    [InlineData("""{"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}}""", "dropout")]
    [InlineData("""{"model":{"type":"WordLevel","vocab":{"a":0}},"normalizer":{"type":"Spell"}}""", "NFKC")]
    [InlineData("""{"model":{"type":"WordLevel","vocab":{"a":0}},"pre_tokenizer":{"type":"UnicodeScripts"}}""", "Metaspace")]
    [InlineData(
        """{"model":{"type":"WordLevel","vocab":{"a":0}},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\p{Han}"},"behavior":"Isolated"}}""",
        "\\p{Han}"
    )]
    [InlineData("""{"model":{"type":"WordLevel","vocab":{"a":0}},"decoder":{"type":"CTC"}}""", "ByteFallback")]
    public void WhatIsNotBuiltIsNamedWithWhatIs(string json, string says)
    {
        using var folder = new TokenizerFolder().With("tokenizer.json", json);
        Assert.Contains(says, Assert.Throws<NotSupportedException>(folder.Load).Message);
    }

    [Theory]
    [InlineData("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[UNK]\n", "lines 2 and 5")]
    [InlineData("vocab.txt", "[PAD]\n[UNK]\n", "[CLS]")]
    [InlineData("tokenizer.model", "no protocol buffer", "SentencePiece")]
    public void BrokenVocabulariesAreRefused(string name, string content, string says)
    {
        using var folder = new TokenizerFolder().With(name, content);
        Assert.Contains(says, Assert.Throws<TokenizerFormatException>(folder.Load).Message);
    }

    [Fact]
    public void AFolderWithoutATokenizerSaysWhatWasLookedFor()
    {
        using var folder = new TokenizerFolder();
        Assert.Contains("vocab.txt", Assert.Throws<FileNotFoundException>(folder.Load).Message);
        Assert.Throws<DirectoryNotFoundException>(() => Tokenizer.Load("/no/such/folder"));
    }

    [Theory]
    [InlineData(2, true)]
    [InlineData(2, false)]
    [InlineData(1, false)]
    public void SentencePieceModelsAgreeWithThePackagesOwnReader(int kind, bool byteFallback)
    {
        string[] normal = ["▁", "l", "o", "w", "e", "r", "▁l", "lo", "low", "▁low", "er", "▁lower", "世", "n", "ow"];
        (string, float, int)[] pieces =
        [
            ("<unk>", 0, 2),
            ("<s>", 0, 3),
            ("</s>", 0, 3),
            .. byteFallback ? Enumerable.Range(0, 256).Select(value => ($"<0x{value:X2}>", 0f, 6)) : [],
            .. normal.Select((text, index) => (text, kind == 2 ? -index : -1f - 0.37f * index % 3, 1)),
        ];
        byte[] model = TokenizerFolder.SentencePiece(pieces, kind, byteFallback);
        using var folder = new TokenizerFolder().With(kind == 2 ? "tokenizer.model" : "spiece.model", model);
        var ours = folder.Load();
        using var stream = new MemoryStream(model);
        var theirs = SentencePieceTokenizer.Create(stream, addBeginningOfSentence: false, addEndOfSentence: false);
        foreach (string text in TokenizerTests.Texts(new Random(2), 200).Append("low lower newlow  low"))
        {
            // The package gives unknown characters one by one; the models' own rule joins them.
            if (!byteFallback && text.Any(character => character > 127 && !"世▁".Contains(character)))
                continue;
            if (
                text.Length == 0
                || text.Any(character => character is '\n' or '\u00A0' || (!byteFallback && !"lowern ▁世".Contains(character)))
            )
                continue;
            Assert.Equal(theirs.EncodeToIds(text), ours.Encode(text, options: Bare).Ids);
        }
        Assert.Equal(kind == 2 ? 1 : ours.Id("▁low"), ours.Encode("low").Ids[0]);
        Assert.Equal("low lower", ours.Decode(ours.Encode("low lower").Ids));
    }

    [Fact]
    public void BytePairsAgreeWithThePackagesOwnPipeline()
    {
        var (vocabulary, merges) = TokenizerFolder.ByteLevel(
            ("l", "o"),
            ("lo", "w"),
            ("e", "r"),
            ("w", "er"),
            ("Ã", "©"),
            ("Ġ", "low")
        );
        using var folder = new TokenizerFolder()
            .With("vocab.json", vocabulary)
            .With("merges.txt", merges)
            .With("tokenizer_config.json", """{"unk_token": null, "bos_token": null, "eos_token": null}""");
        var ours = folder.Load();
        var table = System.Text.Json.JsonSerializer.Deserialize<Dictionary<string, int>>(vocabulary)!;
        var theirs = BpeTokenizer.Create(
            new BpeOptions(table)
            {
                Merges = merges.Split('\n').Where(line => line.Contains(' ') && !line.StartsWith('#')),
                ByteLevel = true,
                PreTokenizer = new RegexPreTokenizer(
                    new(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
                    null
                ),
            }
        );
        foreach (string text in TokenizerTests.Texts(new Random(3), 300))
            if (text.Length > 0 && !text.Contains("𝒜", StringComparison.Ordinal))
                Assert.Equal(theirs.EncodeToIds(text), ours.Encode(text).Ids);
    }
}
