using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models.Tokenizers;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

/// <summary>Sentence vectors against what pooling says by its definition, and the folders of sentence-transformers.</summary>
public sealed class SentenceBertTests : IDisposable
{
    private const double Tolerance = 1e-5;
    private readonly TemporaryFolder temporary = new();

    private string Folder => temporary.At("model");

    public SentenceBertTests()
    {
        using var scope = NewDisposeScope();
        using var model = new BertModel(
            new BertConfig
            {
                VocabularySize = 8,
                HiddenSize = 8,
                Layers = 2,
                Heads = 2,
                IntermediateSize = 16,
                MaximumPositions = 16,
                InitializerRange = 0.5,
            },
            1
        );
        Hub.Save(model, Folder);
        File.WriteAllText(Path.Combine(Folder, "vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n");
    }

    public void Dispose() => temporary.Dispose();

    [Theory]
    [InlineData(PoolingMode.Mean, false)]
    [InlineData(PoolingMode.Mean, true)]
    [InlineData(PoolingMode.Cls, false)]
    [InlineData(PoolingMode.Max, true)]
    public void AVectorIsTheSameWhateverItsBatch(PoolingMode mode, bool normalize)
    {
        using var scope = NewDisposeScope();
        using var encoder = Encoder(new() { Pooling = [mode], Normalize = normalize });
        string[] sentences = ["a b c a b c", "c", "b a", "", "a a a a"];
        var together = encoder.Encode(sentences, batchSize: 2);
        Assert.Equal([5L, 8L], together.shape);
        for (int index = 0; index < sentences.Length; index++)
        {
            var alone = encoder.Encode([sentences[index]])[0];
            Check.Close(alone, together[index], Tolerance, sentences[index]);
            // By the definition, from the hidden states of this sentence alone, which has no padding.
            using var batch = encoder.Tokens([sentences[index]]).ToBatch();
            using var guard = no_grad();
            var hidden = ((BertModel)encoder.Model).call(batch.InputIds, null, null, null)[0];
            var expected = mode switch
            {
                PoolingMode.Mean => hidden.mean([0L]),
                PoolingMode.Max => hidden.amax([0L]),
                _ => hidden[0],
            };
            Check.Close(normalize ? expected / expected.norm() : expected, alone, Tolerance, "pooled");
        }
    }

    [Fact]
    public void AFolderComesBackAsItWasSaved()
    {
        using var scope = NewDisposeScope();
        string copy = temporary.At("copy");
        Tensor before;
        using (
            var encoder = Encoder(
                new()
                {
                    Pooling = [PoolingMode.Cls, PoolingMode.Mean],
                    Normalize = true,
                    MaximumLength = 5,
                    Prompts = new Dictionary<string, string> { ["query"] = "a b " },
                    DefaultPrompt = "query",
                }
            )
        )
        {
            before = encoder.Encode(["c c c c c c", "b"]);
            Assert.Equal([2L, 16L], before.shape);
            Check.Close(encoder.Encode(["a b c"])[0], encoder.Encode(["a b c"], prompt: "query")[0], Tolerance);
            Assert.Contains("query", Assert.Throws<ArgumentException>(() => encoder.Encode(["a"], prompt: "other")).Message);
            encoder.Save(copy);
        }
        using var again = SentenceEncoder.Load(copy);
        Assert.Equal([PoolingMode.Cls, PoolingMode.Mean], again.Options.Pooling);
        Assert.True(again.Options.Normalize);
        Assert.Equal(5, again.Tokens(["c c c c c c c"]).Encodings[0].Length);
        Check.Close(before, again.Encode(["c c c c c c", "b"]), Tolerance);
        Assert.True(Directory.Exists(Path.Combine(copy, "2_Normalize")));
    }

    [Fact]
    public void GradientsReachTheModel()
    {
        using var scope = NewDisposeScope();
        using var encoder = Encoder(new() { Normalize = true });
        using var batch = encoder.Tokens(["a b", "c"]).ToBatch();
        encoder.Embed(batch)[0][0].backward();
        Assert.Contains(
            encoder.Model.Module.parameters(),
            parameter => parameter.grad is { } grad && grad.abs().max().item<float>() > 0
        );
    }

    [Theory]
    [InlineData(
        "modules.json",
        """[{"path":"","type":"sentence_transformers.models.Transformer"},{"path":"2_Dense","type":"sentence_transformers.models.Dense"}]""",
        "Dense"
    )]
    [InlineData("1_Pooling/config.json", """{"pooling_mode_weightedmean_tokens": true}""", "weightedmean")]
    [InlineData("1_Pooling/config.json", """{"pooling_mode_mean_tokens": false}""", "none")]
    public void WhatIsNotBuiltIsNamed(string file, string content, string says)
    {
        using (var encoder = Encoder(new()))
            encoder.Save(Folder);
        File.WriteAllText(Path.Combine(Folder, file), content);
        Assert.Contains(says, Assert.Throws<NotSupportedException>(() => SentenceEncoder.Load(Folder)).Message);
    }

    [Fact]
    public void ABareModelIsPooledByTheMean()
    {
        using var encoder = SentenceEncoder.Load(Folder);
        Assert.Equal([PoolingMode.Mean], encoder.Options.Pooling);
        Assert.Throws<ArgumentException>(() => encoder.Encode([]));
    }

    private SentenceEncoder Encoder(SentenceEncoderOptions options) => new(Hub.Load(Folder), Tokenizer.Load(Folder), options);
}
