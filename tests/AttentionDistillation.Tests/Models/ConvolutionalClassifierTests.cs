using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Models;
using AttentionDistillation.Training;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public class ConvolutionalClassifierTests
{
    private static readonly ConvolutionalClassifierConfig Tiny = new()
    {
        Widths = [4, 6, 8],
        Strides = [2, 2, 1],
        Classes = 5,
    };

    [Fact]
    public void ShapesAndFeatures()
    {
        using var scope = NewDisposeScope();
        var model = new ConvolutionalClassifier(Tiny, seed: 1);
        var trace = new ForwardTrace(
            TraceRequest.Hidden(1, 3) + TraceRequest.Features(ConvolutionalClassifier.PooledFeatures),
            model.Capabilities
        );
        var images = randn(2, 3, 16, 16);
        model.call(images, trace);
        Assert.Equal(new long[] { 2, 5 }, model.call(images, null).shape);
        Assert.Equal(new long[] { 2, 4, 8, 8 }, trace.Hidden(1).shape);
        Assert.Equal(new long[] { 2, 8, 4, 4 }, trace.Hidden(3).shape);
        Assert.True(trace.Feature(ConvolutionalClassifier.PooledFeatures).allclose(trace.Hidden(3).amax([2L, 3L])));
    }

    [Fact]
    public void CosineHeadsGiveCosines()
    {
        using var scope = NewDisposeScope();
        var model = new ConvolutionalClassifier(Tiny with { Head = ClassifierHead.Cosine }, seed: 1);
        model.eval();
        var scores = model.call(randn(8, 3, 16, 16) * 5, null);
        Assert.True(scores.abs().max().ToSingle() <= 1.0001f);
        var scaled = new ConvolutionalClassifier(Tiny with { Head = ClassifierHead.Cosine, CosineScale = 30 }, seed: 1);
        scaled.eval();
        var images = randn(8, 3, 16, 16);
        Assert.True(scaled.call(images, null).allclose(model.call(images, null) * 30, rtol: 1e-4, atol: 1e-4));
    }

    [Fact]
    public void OneSeedOneModel()
    {
        using var scope = NewDisposeScope();
        var images = randn(2, 3, 16, 16);
        var one = new ConvolutionalClassifier(Tiny, 3).call(images, null);
        Assert.True(one.eq(new ConvolutionalClassifier(Tiny, 3).call(images, null)).all().ToBoolean());
        Assert.False(one.eq(new ConvolutionalClassifier(Tiny, 4).call(images, null)).all().ToBoolean());
    }

    [Fact]
    public void WrongSizesAreNamed()
    {
        Assert.Contains(
            "3 widths and 2 strides",
            Assert.Throws<ArgumentException>(() => new ConvolutionalClassifier(Tiny with { Strides = [1, 2] }, 1)).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() => new ConvolutionalClassifier(Tiny with { Classes = 1 }, 1));
        Assert.Throws<ArgumentException>(() => new ConvolutionalClassifier(Tiny with { CosineScale = 0 }, 1));
    }

    [Fact]
    public void ItLearnsTheKeyObjects()
    {
        // Two passes over a thousand images; a net that cannot find the key object stays near 1 of 12.
        var world = new KeyObjects();
        var train = world.Images(1, ImageSplit.Train, 1008);
        using var model = new ConvolutionalClassifier(new(), seed: 1);
        using var trainer = new Trainer(
            model,
            TraceRequest.Nothing,
            (trace, batch) => LossTerms.Of("labels", nn.functional.cross_entropy(trace.Output, batch.Labels)),
            new TrainingOptions
            {
                Steps = 64,
                LearningRate = 4e-3,
                Seed = 1,
                WarmUp = 6,
            }
        );
        trainer.Run(train.Training(1, 48, ImageAugmentation.Standard));
        var score = Evaluator.Predictions(model, world.Images(1, ImageSplit.Test, 600).Evaluation(200).All());
        Assert.True(score.Accuracy > 0.4, $"accuracy {score.Accuracy}");
    }
}
