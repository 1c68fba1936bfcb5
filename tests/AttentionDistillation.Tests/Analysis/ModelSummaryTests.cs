using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Analysis;

public sealed class ModelSummaryTests
{
    private static readonly BertConfig Small = new()
    {
        VocabularySize = 50,
        HiddenSize = 16,
        Layers = 3,
        Heads = 4,
        IntermediateSize = 32,
        MaximumPositions = 20,
    };

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AnEncodersCountIsTheFormula(bool isTied)
    {
        using var scope = NewDisposeScope();
        using var model = new BertForMaskedLanguageModel(Small with { TieWordEmbeddings = isTied }, 1);
        var summary = ModelSummary.Of(model, Words(2, 7));
        double formula = 2 * ModelCost.ForwardOperations(new TransformerSize(3, 16, 32, 50), 7);
        // The head has a square layer of its own besides the vocabulary's.
        Assert.Equal(formula + 2 * 2 * 7 * 16 * 16, summary.Operations);
        Assert.Equal(ModelCost.Parameters(model), summary.Parameters);
        Assert.Equal("[2, 7, 50]", summary.Rows[0].Output);
        Assert.Equal(2, summary.Examples);
        Assert.Equal(summary.Rows[0].MultiplyAdds, summary.Rows.Where(row => row.Depth == 1).Sum(row => row.MultiplyAdds));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ADecodersCountIsTheFormula(bool isTied)
    {
        using var scope = NewDisposeScope();
        using var model = new LlamaForCausalLanguageModel(LlamaConfig.Tiny with { TieWordEmbeddings = isTied }, 1);
        var config = model.Config;
        var summary = ModelSummary.Of(model, new Batch(("input_ids", ones(1, 9, dtype: ScalarType.Int64))));
        long width = config.HeadSize * config.KeyHeads;
        var size = new TransformerSize(
            config.Layers,
            (int)config.HiddenSize,
            (int)config.IntermediateSize,
            (int)config.VocabularySize
        )
        {
            AttentionWidth = (int)(config.HeadSize * config.Heads),
            KeyWidth = (int)width,
            FeedForwardMatrices = 3,
        };
        Assert.Equal(ModelCost.ForwardOperations(size, 9), summary.Operations);
    }

    [Fact]
    public void PublishedCountsComeOut()
    {
        using var scope = NewDisposeScope();
        using var resnet = new ResNetForImageClassification(ResNetConfig.ResNet18, 1);
        var summary = ModelSummary.Of(resnet, new Batch(("pixel_values", zeros(1, 3, 224, 224))));
        Assert.Equal(1_814_073_344, summary.MultiplyAdds); // torchvision's model by fvcore: 1.81 G
        using var dit = new DiffusionTransformer(DiffusionTransformerConfig.Small2, 1);
        var cost = ModelSummary.Of(
            dit,
            new Batch(
                ("sample", zeros(1, 4, 32, 32)),
                ("timestep", zeros(1)),
                ("class_labels", zeros(1, dtype: ScalarType.Int64))
            )
        );
        Assert.Equal(6.06, cost.MultiplyAdds / 1e9, 0.01); // Peebles and Xie 2023, table 1, counted in multiply-adds
    }

    [Fact]
    public void WindowsAndCrossAttentionAreCountedByTheirCalls()
    {
        using var scope = NewDisposeScope();
        using var model = new LatentDiffusionUNet(LatentDiffusionUNetConfig.Tiny, 1);
        var summary = ModelSummary.Of(
            model,
            new Batch(("sample", zeros(2, 4, 8, 8)), ("timestep", zeros(2)), ("encoder_hidden_states", zeros(2, 5, 16)))
        );
        // Level 0: one block down, two up, 64 tokens of width 16; level 1 and the middle: one down, one middle, two up, 16 tokens of width 32.
        long expected = 2 * (3 * 64 * (64 + 5) * 2 * 16 + 4 * 16 * (16 + 5) * 2 * 32);
        Assert.Equal(expected, summary.AttentionMultiplyAdds);
    }

    [Fact]
    public void LayersOfAStackAreOneRowAndTheModelIsLeftAsItWas()
    {
        using var scope = NewDisposeScope();
        using var model = new BertForMaskedLanguageModel(Small, 1);
        model.train();
        var summary = ModelSummary.Of(model, Words(1, 5));
        var collapsed = summary.Collapsed(4);
        Assert.Contains(collapsed.Rows, row => row.Repeats == 3);
        Assert.DoesNotContain(collapsed.Rows, row => row.Name.Contains("layers.1", StringComparison.Ordinal));
        Assert.True(collapsed.Rows.Count < summary.Rows.Count);
        Assert.Equal(summary.MultiplyAdds, collapsed.MultiplyAdds);
        Assert.Contains("&#215; 3", collapsed.ToHtml()); // the sign ×
        Assert.True(model.training);
        // No hook is left.
        using var again = model.call(Words(1, 5).InputIds, null, null, null);
        Assert.Equal(summary.MultiplyAdds, ModelSummary.Of(model, Words(1, 5)).MultiplyAdds);
    }

    private static Batch Words(long count, long length) => new(("input_ids", ones(count, length, dtype: ScalarType.Int64)));
}
