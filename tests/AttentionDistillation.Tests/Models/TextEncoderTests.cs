using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public sealed class TextEncoderTests
{
    private static readonly BertConfig Small = new()
    {
        VocabularySize = 50,
        HiddenSize = 16,
        Layers = 3,
        Heads = 4,
        IntermediateSize = 32,
        MaximumPositions = 20,
        Labels = ["a", "b", "c"],
    };

    private static readonly RobertaConfig SmallRoberta = new()
    {
        VocabularySize = 50,
        HiddenSize = 16,
        Layers = 2,
        Heads = 4,
        IntermediateSize = 32,
        MaximumPositions = 20,
    };

    private static readonly DistilBertConfig SmallDistil = new()
    {
        VocabularySize = 50,
        HiddenSize = 16,
        Layers = 3,
        Heads = 4,
        IntermediateSize = 32,
        MaximumPositions = 20,
    };

    /// <summary>Counts of transformers' own models built from the same configurations; BERT-base's and large's are the published ones.</summary>
    public static TheoryData<string, long> Counts =>
        new()
        {
            { "bert-base", 109_482_240 },
            { "bert-large", 335_141_888 },
            { "bert-base-mlm", 109_514_298 },
            { "bert-base-classifier", 109_483_778 },
            { "minilm-6x384", 22_713_216 },
            { "minilm-12x384", 33_360_000 },
            { "minilm-6x768", 66_955_008 },
            { "roberta-base", 124_645_632 },
            { "roberta-base-mlm", 124_697_433 },
            { "distilbert-base", 66_362_880 },
            { "distilbert-base-mlm", 66_985_530 },
        };

    /// <summary>Layers are alike, so models of one and of two layers tell the size of one of any depth without building it.</summary>
    [Theory]
    [MemberData(nameof(Counts))]
    public void PresetsHaveThePublishedNumberOfParameters(string name, long count)
    {
        using var scope = NewDisposeScope();
        TextEncoderConfig preset = name switch
        {
            "bert-large" => BertConfig.Large,
            "minilm-6x384" => BertConfig.MiniLm6x384,
            "minilm-12x384" => BertConfig.MiniLm12x384,
            "minilm-6x768" => BertConfig.MiniLm6x768,
            _ when name.StartsWith("roberta", StringComparison.Ordinal) => RobertaConfig.Base,
            _ when name.StartsWith("distilbert", StringComparison.Ordinal) => DistilBertConfig.Base,
            _ => BertConfig.Base,
        };
        long one = Parameters(name, preset with { Layers = 1 });
        long two = Parameters(name, preset with { Layers = 2 });
        Assert.Equal(count, one + (preset.Layers - 1) * (two - one));
    }

    private static long Parameters(string name, TextEncoderConfig config)
    {
        using TextEncoder model = (config, name.EndsWith("-mlm", StringComparison.Ordinal)) switch
        {
            (BertConfig bert, _) when name == "bert-base-classifier" => new BertForSequenceClassification(
                bert,
                SeededLayers.Blank
            ),
            (BertConfig bert, true) => new BertForMaskedLanguageModel(bert, SeededLayers.Blank),
            (BertConfig bert, false) => new BertModel(bert, SeededLayers.Blank),
            (RobertaConfig roberta, true) => new RobertaForMaskedLanguageModel(roberta, SeededLayers.Blank),
            (RobertaConfig roberta, false) => new RobertaModel(roberta, SeededLayers.Blank),
            (DistilBertConfig distil, true) => new DistilBertForMaskedLanguageModel(distil, SeededLayers.Blank),
            (_, _) => new DistilBertModel((DistilBertConfig)config, SeededLayers.Blank),
        };
        return model.parameters().Sum(parameter => parameter.numel());
    }

    [Fact]
    public void TheSameSeedGivesTheSameWeightsAndAnotherOthers()
    {
        using var first = new BertForMaskedLanguageModel(Small, 3);
        rand(3).Dispose(); // whatever the global generator does in between
        using var second = new BertForMaskedLanguageModel(Small, 3);
        using var third = new BertForMaskedLanguageModel(Small, 4);
        Assert.True(Same(first, second));
        Assert.False(Same(first, third));
        var words = first.HubParameters()["bert.embeddings.word_embeddings.weight"];
        Assert.Equal(0.0, words[0].abs().sum().ToDouble());
        Assert.InRange(words[TensorIndex.Slice(1)].std().ToDouble(), 0.017, 0.023);
        Assert.Equal(1.0, first.HubParameters()["bert.embeddings.LayerNorm.weight"].mean().ToDouble());
    }

    [Fact]
    public void EveryWeightOfATrainedModelGetsAGradient()
    {
        using var scope = NewDisposeScope();
        TextEncoder[] models =
        [
            new BertForMaskedLanguageModel(Small, 1),
            new BertForSequenceClassification(Small, 1),
            new BertForTokenClassification(Small, 1),
            new BertForQuestionAnswering(Small, 1),
            new RobertaForMaskedLanguageModel(SmallRoberta, 1),
            new RobertaForSequenceClassification(SmallRoberta, 1),
            new DistilBertForMaskedLanguageModel(SmallDistil, 1),
            new DistilBertForSequenceClassification(SmallDistil, 1),
        ];
        foreach (var model in models)
        {
            model.call(Ids(), null, null, null).square().sum().backward();
            Assert.All(
                model.named_parameters(),
                pair => Assert.True(pair.parameter.grad is not null, $"{model.Architecture} {pair.name}")
            );
            model.Dispose();
        }
    }

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public void PaddingDoesNotChangeRealTokens(string family)
    {
        using var scope = NewDisposeScope();
        using TextEncoder model = family switch
        {
            "bert" => new BertForMaskedLanguageModel(Small, 1),
            "roberta" => new RobertaForMaskedLanguageModel(SmallRoberta, 1),
            _ => new DistilBertForMaskedLanguageModel(SmallDistil, 1),
        };
        model.to(ScalarType.Float64);
        model.eval();
        var ids = Ids();
        long padding = model.EncoderConfig.PaddingToken!.Value;
        var padded = cat([ids, full([2, 4], padding, dtype: ScalarType.Int64)], 1);
        var mask = cat([ones_like(ids), zeros(2, 4, dtype: ScalarType.Int64)], 1);
        var plain = model.call(ids, null, null, null);
        Assert.True(plain.allclose(model.call(padded, mask, null, null).narrow(1, 0, 6), 1e-12, 1e-12));
        Assert.True(plain.allclose(model.call(padded, mask.to(ScalarType.Bool), null, null).narrow(1, 0, 6), 1e-12, 1e-12));
    }

    [Fact]
    public void AnEarlyStopRecordsTheSameAndRunsLess()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = new BertForMaskedLanguageModel(Small, 1);
        model.eval();
        var batch = new Batch(("input_ids", Ids()), ("attention_mask", ones(2, 6, dtype: ScalarType.Int64)));
        var whole = new ForwardTrace(TraceRequest.AllAttention + TraceRequest.AllHidden, model.Capabilities);
        model.Run(batch, whole);

        var attention = new ForwardTrace(TraceRequest.Attention(1), model.Capabilities, wantsOutput: false);
        int calls = CountLinearCalls(model, () => model.Run(batch, attention));
        Assert.True(attention.Attention(1).Query.eq(whole.Attention(1).Query).all().ToBoolean());
        Assert.Equal(4 + 1, calls); // one whole layer has four linear layers; of the next only the one of query, key and value
        Assert.Throws<InvalidOperationException>(() => attention.Output);

        var hidden = new ForwardTrace(TraceRequest.Hidden(0, 2), model.Capabilities, wantsOutput: false);
        Assert.Equal(8, CountLinearCalls(model, () => model.Run(batch, hidden)));
        Assert.True(hidden.Hidden(2).eq(whole.Hidden(2)).all().ToBoolean());

        var embedding = new ForwardTrace(TraceRequest.Hidden(0), model.Capabilities, wantsOutput: false);
        Assert.Equal(0, CountLinearCalls(model, () => model.Run(batch, embedding)));
        Assert.True(embedding.Hidden(0).eq(whole.Hidden(0)).all().ToBoolean());
    }

    [Fact]
    public void RecordedTensorsBelongToTheCallerAndNothingElseIsLeft()
    {
        using var model = new BertForMaskedLanguageModel(Small, 1);
        using var scope = NewDisposeScope();
        var batch = new Batch(("input_ids", Ids()), ("attention_mask", ones(2, 6, dtype: ScalarType.Int64)));
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using (var step = NewDisposeScope())
        {
            var trace = new ForwardTrace(TraceRequest.AllAttention + TraceRequest.AllHidden, model.Capabilities);
            model.Run(batch, trace);
            Assert.Equal(Small.Layers * 3 + Small.Layers + 1 + 1 + 1, step.DisposablesCount); // q, k, v; hidden states; output; mask as bool
            Assert.Equal([2L, 6, 16], trace.Hidden(-1).shape);
            Assert.Equal([2L, 4, 6, 6], trace.LastAttention.Probabilities().shape);
        }
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void AClassifierStartsFromAPretrainedEncoder()
    {
        using var scope = NewDisposeScope();
        using var pretrained = new BertForMaskedLanguageModel(Small, 1);
        using var classifier = new BertForSequenceClassification(Small, 2);
        classifier.LoadEncoderFrom(pretrained);
        pretrained.eval();
        classifier.eval();
        var first = new ForwardTrace(TraceRequest.Hidden(-1), pretrained.Capabilities, wantsOutput: false);
        var second = new ForwardTrace(TraceRequest.Hidden(-1), classifier.Capabilities, wantsOutput: false);
        var batch = new Batch(("input_ids", Ids()));
        pretrained.Run(batch, first);
        classifier.Run(batch, second);
        Assert.True(first.Hidden(-1).eq(second.Hidden(-1)).all().ToBoolean());
        using var wide = new BertModel(Small with { HiddenSize = 32 }, 1);
        Assert.Contains(
            "embeddings.words.weight",
            Assert.Throws<ArgumentException>(() => classifier.LoadEncoderFrom(wide)).Message
        );
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, 0.05)]
    [InlineData(ScalarType.Float64, 1e-5)]
    public void OtherElementTypesWork(ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var model = new BertForMaskedLanguageModel(Small, 1);
        model.eval();
        var mask = ones(2, 6, dtype: ScalarType.Bool);
        var reference = model.call(Ids(), mask, null, null).detach();
        model.to(type);
        var output = model.call(Ids(), mask, null, null);
        Assert.Equal(type, output.dtype);
        Assert.InRange((output.to(ScalarType.Float32) - reference).abs().max().ToDouble(), 0, tolerance);
        output.sum().backward();
        Assert.All(model.named_parameters(), pair => Assert.Equal(type, pair.parameter.dtype));
        Assert.All(model.named_parameters(), pair => Assert.NotNull(pair.parameter.grad));
    }

    [Fact]
    public void ImpossibleConfigurationsAndInputsAreRefused()
    {
        Assert.Contains("Heads", Assert.Throws<ArgumentException>(() => new BertModel(Small with { Heads = 5 }, 1)).Message);
        Assert.Contains(
            "HiddenDropout",
            Assert.Throws<ArgumentException>(() => new BertModel(Small with { HiddenDropout = 1 }, 1)).Message
        );
        Assert.Contains(
            "gelu_new",
            Assert.Throws<ArgumentException>(() => new BertModel(Small with { HiddenActivation = "gelo" }, 1)).Message
        );
        Assert.Contains(
            "PaddingToken",
            Assert.Throws<ArgumentException>(() => new RobertaModel(SmallRoberta with { PaddingToken = null }, 1)).Message
        );
        Assert.Contains(
            "TokenTypes",
            Assert.Throws<ArgumentException>(() => new DistilBertModel(SmallDistil with { TokenTypes = 2 }, 1)).Message
        );
        using var scope = NewDisposeScope();
        using var roberta = new RobertaModel(SmallRoberta, 1);
        using var distil = new DistilBertModel(SmallDistil, 1);
        var tooLong = full([1, 19], 5, dtype: ScalarType.Int64);
        Assert.Contains("18", Assert.Throws<ArgumentException>(() => roberta.call(tooLong, null, null, null)).Message);
        Assert.Throws<ArgumentException>(() => distil.call(Ids(), null, zeros_like(Ids()), null));
        Assert.Throws<ArgumentException>(() => distil.call(Ids(), ones(2, 5, dtype: ScalarType.Bool), null, null));
    }

    private static Tensor Ids() =>
        tensor(
            new long[,]
            {
                { 5, 6, 7, 8, 9, 10 },
                { 40, 31, 22, 13, 4, 45 },
            }
        );

    private static bool Same(TextEncoder first, TextEncoder second) =>
        first.parameters().Zip(second.parameters()).All(pair => pair.First.eq(pair.Second).all().ToBoolean());

    private static int CountLinearCalls(TextEncoder model, Action run)
    {
        int count = 0;
        var hooks = model
            .modules()
            .OfType<TorchSharp.Modules.Linear>()
            .Select(linear =>
                linear.register_forward_hook(
                    (_, _, result) =>
                    {
                        count++;
                        return result;
                    }
                )
            )
            .ToList();
        run();
        hooks.ForEach(hook => hook.remove());
        return count;
    }
}
