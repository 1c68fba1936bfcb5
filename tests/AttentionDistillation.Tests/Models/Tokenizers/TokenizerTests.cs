using System.Diagnostics;
using AttentionDistillation.Models.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Tokenizers;

/// <summary>Small vocabularies whose encodings follow from the algorithms' definitions by hand.</summary>
public sealed class TokenizerTests
{
    private const string BertWords = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\nthe\n,\nhello\n世\ncafe\n##s\n";

    private static TokenizerFolder Bert() => new TokenizerFolder().With("vocab.txt", BertWords);

    private static TokenizerFolder Gpt2(string tokenizerClass = "GPT2Tokenizer")
    {
        var (vocabulary, merges) = TokenizerFolder.ByteLevel(("l", "o"), ("lo", "w"), ("Ġ", "low"), ("e", "r"), ("Ġ", "er"));
        return new TokenizerFolder()
            .With("vocab.json", vocabulary)
            .With("merges.txt", merges)
            .With(
                "tokenizer_config.json",
                $$"""{"tokenizer_class": "{{tokenizerClass}}", "pad_token": "ÿ", "unk_token": null, "bos_token": null, "eos_token": null}"""
            );
    }

    [Fact]
    public void WordPieceTakesTheLongestPiecesAndKnowsWhereTheyComeFrom()
    {
        using var folder = Bert();
        var tokenizer = folder.Load();
        const string text = "Unaffable, the CAFÉs 世xyz";
        var encoding = tokenizer.Encode(text);
        Assert.Equal([2, 5, 6, 7, 9, 8, 12, 13, 11, 1, 3], encoding.Ids);
        Assert.Equal(["[CLS]", "un", "##aff", "##able", ",", "the", "cafe", "##s", "世", "[UNK]", "[SEP]"], encoding.Tokens);
        Assert.Equal(
            [(0, 0), (0, 2), (2, 5), (5, 9), (9, 10), (11, 14), (15, 19), (19, 20), (21, 22), (22, 25), (0, 0)],
            encoding.Offsets
        );
        Assert.Equal([null, 0, 0, 0, 1, 2, 3, 3, 4, 5, null], encoding.WordIds);
        Assert.Equal([true, .. Enumerable.Repeat(false, 9), true], encoding.SpecialTokensMask);
        Assert.Equal("unaffable, the cafes 世", tokenizer.Decode(encoding.Ids));
        Assert.Equal("[CLS] unaffable, the cafes 世 [UNK] [SEP]", tokenizer.Decode(encoding.Ids, skipSpecialTokens: false));
        Assert.Equal(0, tokenizer.Padding);
        Assert.Equal(14, tokenizer.VocabularySize);
    }

    [Fact]
    public void AccentsThatAreMarksOfTheirOwnAreStrippedAndOffsetsStay()
    {
        using var folder = Bert();
        var encoding = folder.Load().Encode("cafe\u0301 the", options: new() { AddSpecialTokens = false });
        Assert.Equal(["cafe", "the"], encoding.Tokens);
        Assert.Equal((6, 9), encoding.Offsets[1]);
    }

    [Fact]
    public void CasedVocabulariesKeepCapitalsAndAccents()
    {
        using var folder = new TokenizerFolder()
            .With("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nÉté\nHello\n")
            .With("tokenizer_config.json", """{"do_lower_case": false}""");
        Assert.Equal([2, 5, 6, 1, 3], folder.Load().Encode("Été Hello hello").Ids);
    }

    [Fact]
    public void ByteLevelMergesInTheOrderOfTheList()
    {
        using var folder = Gpt2();
        var tokenizer = folder.Load();
        // "low" is one token, " lower" is Ġlow + er, "lo" alone stays lo.
        var encoding = tokenizer.Encode("low lower lo");
        Assert.Equal(["low", "Ġlow", "er", "Ġ", "lo"], encoding.Tokens);
        Assert.Equal([257, 258, 259, 32, 256], encoding.Ids);
        Assert.Equal([(0, 3), (3, 7), (7, 9), (9, 10), (10, 12)], encoding.Offsets);
        Assert.Equal("low lower lo", tokenizer.Decode(encoding.Ids));
    }

    [Fact]
    public void AnEmojiIsFourBytesThatAllComeFromIt()
    {
        using var folder = Gpt2();
        var tokenizer = folder.Load();
        var encoding = tokenizer.Encode("a😀b");
        Assert.Equal([97, 0xF0, 0x9F, 0x98, 0x80, 98], encoding.Ids);
        Assert.Equal([(0, 1), (1, 3), (1, 3), (1, 3), (1, 3), (3, 4)], encoding.Offsets);
        Assert.Equal("a😀b", tokenizer.Decode(encoding.Ids));
        Assert.Equal("a\uFFFD", tokenizer.Decode(encoding.Ids.Take(3)));
    }

    [Fact]
    public void ByteLevelLosesNothing()
    {
        using var folder = Gpt2();
        var tokenizer = folder.Load();
        var random = new Random(1);
        foreach (string text in Texts(random, 300))
        {
            var encoding = tokenizer.Encode(text);
            Assert.Equal(text, tokenizer.Decode(encoding.Ids));
            Assert.All(encoding.Offsets, offset => Assert.InRange(offset.End, offset.Start, text.Length));
            // Every character is covered, in order.
            int covered = 0;
            foreach (var (start, end) in encoding.Offsets)
            {
                Assert.True(start <= covered);
                covered = Math.Max(covered, end);
            }
            Assert.Equal(text.Length, covered);
        }
    }

    [Fact]
    public void RobertaPutsItsTokensAroundAndTrimsOffsets()
    {
        var (vocabulary, merges) = TokenizerFolder.ByteLevel(("l", "o"), ("lo", "w"), ("Ġ", "low"));
        string extended = vocabulary.TrimEnd('}') + ",\"<s>\":300,\"</s>\":301,\"<pad>\":302,\"<unk>\":303,\"<mask>\":304}";
        using var folder = new TokenizerFolder()
            .With("vocab.json", extended)
            .With("merges.txt", merges)
            .With("config.json", """{"model_type": "roberta"}""");
        var tokenizer = folder.Load();
        var encoding = tokenizer.Encode("low low", "low <mask>");
        Assert.Equal([300, 257, 258, 301, 301, 257, 304, 301], encoding.Ids);
        Assert.Equal([(0, 0), (0, 3), (4, 7), (0, 0), (0, 0), (0, 3), (4, 10), (0, 0)], encoding.Offsets);
        Assert.All(encoding.TypeIds, type => Assert.Equal(0, type));
        Assert.Equal([null, 0, 0, null, null, 1, 1, null], encoding.SequenceIds);
        Assert.Equal(302, tokenizer.Padding);
        Assert.Equal("low low", tokenizer.Decode(tokenizer.Encode("low low").Ids));
    }

    [Fact]
    public void ClipLowersTheTextAndEndsWords()
    {
        var (vocabulary, _) = TokenizerFolder.ByteLevel();
        string ends = string.Concat(
            Enumerable
                .Range(0, 256)
                .Select(value =>
                    $",{System.Text.Json.Nodes.JsonValue.Create(TokenizerFolder.ByteCharacter(value) + "</w>")!.ToJsonString()}:{256 + value}"
                )
        );
        using var folder = new TokenizerFolder()
            .With("vocab.json", vocabulary.TrimEnd('}') + ends + ",\"hi</w>\":512,\"<|startoftext|>\":513,\"<|endoftext|>\":514}")
            .With("merges.txt", "#version: 0.2\nh i</w>\n")
            .With("tokenizer_config.json", """{"tokenizer_class": "CLIPTokenizer"}""");
        var tokenizer = folder.Load();
        var encoding = tokenizer.Encode("HI  a1");
        Assert.Equal(["<|startoftext|>", "hi</w>", "a</w>", "1</w>", "<|endoftext|>"], encoding.Tokens);
        Assert.Equal([(0, 0), (0, 2), (4, 5), (5, 6), (0, 0)], encoding.Offsets);
        Assert.Equal("hi a 1", tokenizer.Decode(encoding.Ids));
    }

    [Fact]
    public void QwenSplitsDigitsAndKeepsLineEnds()
    {
        using var folder = Gpt2("Qwen2Tokenizer");
        var encoding = folder.Load().Encode("ab12\n\ncd");
        Assert.Equal("ab|1|2|\n\n|cd", string.Join('|', Words(encoding, "ab12\n\ncd")));
    }

    [Theory]
    [InlineData("", 0)]
    [InlineData("   ", 0)]
    [InlineData("\n\t\u0000\uFFFD", 0)]
    public void WhatHoldsNoWordIsOnlySpecialTokens(string text, int words)
    {
        using var folder = Bert();
        Assert.Equal(words + 2, folder.Load().Encode(text).Length);
        Assert.Equal(words, folder.Load().Encode(text, options: new() { AddSpecialTokens = false }).Length);
    }

    [Fact]
    public void ALoneSurrogateIsUnknownAndHarmsNothing()
    {
        using var folder = Gpt2();
        var encoding = folder.Load().Encode("a\uD83Db");
        Assert.Equal([97, 0xEF, 0xBF, 0xBD, 98], encoding.Ids);
        Assert.Equal((2, 3), encoding.Offsets[^1]);
    }

    [Fact]
    public void VeryLongInputsTakeTimeInProportion()
    {
        using var folder = Gpt2();
        var tokenizer = folder.Load();
        string text = string.Concat(Enumerable.Repeat("low lower 😀 ", 20_000)) + new string('l', 50_000);
        var clock = Stopwatch.StartNew();
        var encoding = tokenizer.Encode(text);
        Assert.Equal(text, tokenizer.Decode(encoding.Ids));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(30), clock.Elapsed.ToString());
        using var words = Bert();
        Assert.Equal([1], words.Load().Encode(new string('x', 100_000), options: new() { AddSpecialTokens = false }).Ids);
    }

    [Fact]
    public void TheLongestWordCountsCodePoints()
    {
        using var folder = new TokenizerFolder().With("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n𝒜\n##𝒜\na\n##a\n");
        var tokenizer = folder.Load();
        var bare = new EncodeOptions { AddSpecialTokens = false };
        Assert.Equal(100, tokenizer.Encode(string.Concat(Enumerable.Repeat("𝒜", 100)), options: bare).Length);
        Assert.Equal([1], tokenizer.Encode(string.Concat(Enumerable.Repeat("𝒜", 101)), options: bare).Ids);
        Assert.Equal(100, tokenizer.Encode(new string('a', 100), options: bare).Length);
        Assert.Equal([1], tokenizer.Encode(new string('a', 101), options: bare).Ids);
    }

    [Fact]
    public void BatchesArePaddedAndBecomeTensors()
    {
        using var scope = NewDisposeScope();
        using var folder = Bert();
        var tokenizer = folder.Load();
        using var batch = tokenizer.EncodeBatch(["the", "hello the hello"], new() { PadToMultipleOf = 4 }).ToBatch();
        Assert.Equal([2L, 8L], batch.InputIds.shape);
        Assert.Equal([2L, 8, 3, 0, 0, 0, 0, 0, 2, 10, 8, 10, 3, 0, 0, 0], batch.InputIds.data<long>().ToArray());
        Assert.Equal(ScalarType.Bool, batch.Mask!.dtype);
        Assert.Equal([3L, 5L], batch.Mask.sum(1).data<long>().ToArray());
        Assert.Equal(0, batch.TokenTypeIds!.sum().item<long>());
        var left = tokenizer.EncodeBatch(["the", "hello the"], new() { PaddingSide = TextSide.Left }).Encodings[0];
        Assert.Equal([0, 2, 8, 3], left.Ids);
        Assert.Equal([false, true, true, true], left.Mask);
        Assert.Equal([true, true, false, true], left.SpecialTokensMask);
        var most = tokenizer.EncodeBatch(["the"], new() { Padding = PaddingStrategy.MaximumLength, MaximumLength = 6 });
        Assert.Equal(6, most.Encodings[0].Length);
        var unpadded = tokenizer.EncodeBatch(["the", "hello the"], new() { Padding = PaddingStrategy.None });
        Assert.Contains("Padding", Assert.Throws<InvalidOperationException>(() => unpadded.ToBatch()).Message);
        Assert.Throws<InvalidOperationException>(() => tokenizer.EncodeBatch([]).ToBatch());
    }

    [Fact]
    public void PairsHaveSegmentsAndAreCutByTheStrategy()
    {
        using var folder = Bert();
        var tokenizer = folder.Load();
        const string First = "the the the the the",
            Second = "hello hello hello";
        var whole = tokenizer.Encode(First, Second);
        Assert.Equal([.. Enumerable.Repeat(0, 7), .. Enumerable.Repeat(1, 4)], whole.TypeIds);
        // 9 tokens leave 6 beside the special ones: three each; 10 leave 7: the longer, which is the first, keeps one more.
        AssertCounts(9, TruncationStrategy.LongestFirst, 3, 3);
        AssertCounts(10, TruncationStrategy.LongestFirst, 4, 3);
        AssertCounts(8, TruncationStrategy.LongestFirst, 3, 2);
        AssertCounts(9, TruncationStrategy.OnlyFirst, 3, 3);
        AssertCounts(10, TruncationStrategy.OnlySecond, 5, 2);
        Assert.Contains("LongestFirst", Assert.Throws<ArgumentException>(() => Cut(7, TruncationStrategy.OnlySecond)).Message);
        Assert.Contains("special", Assert.Throws<ArgumentException>(() => Cut(2, TruncationStrategy.LongestFirst)).Message);

        var left = tokenizer.Encode("the hello", options: new() { MaximumLength = 3, TruncationSide = TextSide.Left });
        Assert.Equal([2, 10, 3], left.Ids);
        Assert.Equal([2, 8, 3], tokenizer.Encode("the hello", options: new() { MaximumLength = 3 }).Ids);

        TokenEncoding Cut(int length, TruncationStrategy strategy) =>
            tokenizer.Encode(First, Second, new() { MaximumLength = length, Truncation = strategy });
        void AssertCounts(int length, TruncationStrategy strategy, int first, int second)
        {
            var ids = Cut(length, strategy).Ids;
            Assert.Equal((first, second), (ids.Count(id => id == 8), ids.Count(id => id == 10)));
        }
    }

    [Fact]
    public void SpecialTokensInATextAreThemselves()
    {
        using var folder = Bert();
        var tokenizer = folder.Load();
        var encoding = tokenizer.Encode("the [MASK] hello[SEP]the", options: new() { AddSpecialTokens = false });
        Assert.Equal([8, 4, 10, 3, 8], encoding.Ids);
        Assert.Equal((4, 10), encoding.Offsets[1]);
        Assert.Equal("the hello the", tokenizer.Decode(encoding.Ids));
        Assert.Equal("the [MASK] hello [SEP] the", tokenizer.Decode(encoding.Ids, skipSpecialTokens: false));
    }

    [Fact]
    public void ATokenizerWithoutPaddingSaysHowToGetOne()
    {
        using var folder = Gpt2();
        folder.With(
            "tokenizer_config.json",
            """{"tokenizer_class": "GPT2Tokenizer", "unk_token": null, "bos_token": null, "eos_token": null}"""
        );
        var tokenizer = folder.Load();
        Assert.Null(tokenizer.Padding);
        Assert.Contains("pad_token", Assert.Throws<InvalidOperationException>(() => tokenizer.EncodeBatch(["a", "bb"])).Message);
        Assert.Equal(1, tokenizer.Encode("a").Length);
    }

    /// <summary>Random texts of many scripts, emoji and spaces.</summary>
    internal static IEnumerable<string> Texts(Random random, int count)
    {
        string[] parts =
        [
            "low",
            " ",
            "er",
            "  ",
            "\n",
            "ß",
            "é",
            "e\u0301",
            "世界",
            "😀",
            "👩‍👩‍👧",
            "नमस्ते",
            "한글",
            "𝒜",
            "1",
            "23",
            "'s",
            "!",
            "\u00A0",
            "İ",
            "ﬁ",
            "<",
            "▁",
        ];
        for (int i = 0; i < count; i++)
            yield return string.Concat(Enumerable.Range(0, random.Next(12)).Select(_ => parts[random.Next(parts.Length)]));
    }

    private static IEnumerable<string> Words(TokenEncoding encoding, string text) =>
        encoding
            .WordIds.Zip(encoding.Offsets)
            .GroupBy(item => item.First)
            .Select(word => text[word.Min(item => item.Second.Start)..word.Max(item => item.Second.End)]);
}
