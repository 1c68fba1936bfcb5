using AttentionDistillation.Attention;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Slicing;

public class ElasticEncoderTests
{
    private static readonly ElasticShape Shape = new(3, 2, 10, 15);

    private static BertConfig Config { get; } =
        new()
        {
            VocabularySize = 12,
            HiddenSize = 12,
            Layers = 4,
            Heads = 3,
            IntermediateSize = 24,
            MaximumPositions = 8,
            HiddenDropout = 0,
            AttentionDropout = 0,
            InitializerRange = 0.4,
        };

    private static Batch Text() =>
        new(
            (
                "input_ids",
                tensor(
                    new long[,]
                    {
                        { 1, 5, 7, 2, 0 },
                        { 1, 6, 3, 9, 2 },
                    }
                )
            ),
            ("attention_mask", RandomTensors.Mask(5, 4, 5))
        );

    private static ForwardTrace Run(ElasticEncoder elastic, ElasticShape shape, TraceRequest request, bool wantsOutput)
    {
        var trace = new ForwardTrace(request, elastic.CapabilitiesOf(shape), wantsOutput);
        elastic.Run(shape, Text(), trace);
        return trace;
    }

    [Fact]
    public void APassEqualsThatOfTheExtractedModel()
    {
        using var super = new BertForMaskedLanguageModel(Config, 1);
        var elastic = new ElasticEncoder(super);
        foreach (var shape in new[] { Shape, elastic.Full, new ElasticShape(1, 1, 4, 3) })
        {
            using var model = elastic.Extract<BertForMaskedLanguageModel>(shape);
            var ours = Run(elastic, shape, TraceRequest.AllHidden + TraceRequest.LastAttention, true);
            var theirs = new ForwardTrace(TraceRequest.AllHidden + TraceRequest.LastAttention, model.Capabilities);
            model.Run(Text(), theirs);
            for (int state = 0; state <= shape.Layers; state++)
                Check.Close(theirs.Hidden(state), ours.Hidden(state), 1e-5);
            Check.Close(theirs.LastAttention.Query, ours.LastAttention.Query, 1e-5);
            Check.Close(ours.Hidden(-1), ours.Output, 1e-12);
        }
    }

    [Fact]
    public void TrainingASubNetworkTrainsItsSliceAlone()
    {
        using var super = new BertForMaskedLanguageModel(Config, 1);
        var elastic = new ElasticEncoder(super);
        Run(elastic, Shape, TraceRequest.Nothing, true).Output.pow(3).mean().backward();
        var gradients = super.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter.grad);
        // Layers 0, 1 and 2 of 4 for a depth of 3.
        var inner = gradients["encoder.layers.1.feedForward.inner.weight"]!;
        Assert.True(inner[..15, ..10].abs().sum().item<float>() > 0);
        Assert.Equal(0f, inner[15..].abs().sum().item<float>() + inner[.., 10..].abs().sum().item<float>());
        Assert.True(
            gradients
                .Where(pair =>
                    pair.Key.Contains(".layers.3.", StringComparison.Ordinal)
                    || pair.Key.StartsWith("head.", StringComparison.Ordinal)
                )
                .All(pair => pair.Value is null)
        );
        Assert.True(
            gradients
                .Where(pair =>
                    pair.Key.Contains("layers.2.attention.", StringComparison.Ordinal)
                    && pair.Key.EndsWith("weight", StringComparison.Ordinal)
                )
                .All(pair => pair.Value!.abs().sum().item<float>() > 0)
        );
    }

    [Fact]
    public void AnEarlyStopLeavesTheRestUndone()
    {
        using var super = new BertForMaskedLanguageModel(Config, 1);
        var elastic = new ElasticEncoder(super);
        var trace = Run(elastic, Shape, TraceRequest.LastAttention, false);
        trace.LastAttention.Query.square().mean().backward();
        Assert.Null(
            super.named_parameters().Single(pair => pair.name == "encoder.layers.2.feedForward.inner.weight").parameter.grad
        );
    }

    [Fact]
    public void NonsenseIsRefused()
    {
        using var super = new BertModel(Config with { HiddenDropout = 0.1 }, 1);
        Assert.Contains(
            "dropout",
            Assert.Throws<ArgumentException>(() => new ElasticEncoder(super)).Message,
            StringComparison.Ordinal
        );
        using var plain = new BertModel(Config, 1);
        Assert.Throws<ArgumentException>(() => new ElasticEncoder(plain).CapabilitiesOf(new ElasticShape(5, 1, 4, 3)));
    }
}
