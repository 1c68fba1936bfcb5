using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Signals;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public class SignalModelTests
{
    public static TheoryData<SpatialChannelAttention, bool> Switches { get; } =
        new()
        {
            { SpatialChannelAttention.None, true },
            { SpatialChannelAttention.Gate, true },
            { SpatialChannelAttention.Dual, true },
            { SpatialChannelAttention.Gate, false },
        };

    [Theory]
    [MemberData(nameof(Switches))]
    public void ATeacherTrainsEveryWeightAndShowsItsAttention(SpatialChannelAttention psca, bool isConvolutional)
    {
        using var scope = NewDisposeScope();
        var model = new ClstModel(new() { Psca = psca, ConvolutionalProjection = isConvolutional }, 1);
        var signals = randn(3, 2, 128);
        var trace = new ForwardTrace(TraceRequest.AllAttention + TraceRequest.AllHidden, model.Capabilities);
        var scores = model.call(signals, trace);
        Assert.Equal([3, 8], scores.shape);
        // Two steps of 2 before the second stage; keys at every other place.
        Assert.Equal([3, 2, 64, isConvolutional ? 32 : 64], trace.Attention(0).Probabilities().shape);
        Assert.Equal([3, 4, 32, isConvolutional ? 16 : 32], trace.Attention(2).Probabilities().shape);
        Assert.Equal([3, 64, 32], trace.Hidden(0).shape);
        Assert.Equal([3, 32, 64], trace.Hidden(3).shape);
        nn.functional.cross_entropy(scores, tensor(new long[] { 0, 1, 2 })).backward();
        foreach (var (name, parameter) in model.named_parameters())
            Assert.True(parameter.grad is not null, $"no gradient reached {name}");
        model.eval();
        var features = new ForwardTrace(TraceRequest.Features([.. model.Capabilities.Features]), model.Capabilities);
        Check.Close(model.call(signals, null), model.call(signals, features), 1e-6);
        if (psca == SpatialChannelAttention.Gate)
        {
            Assert.Equal([3, 64], features.Feature(ClstModel.ChannelGate).shape);
            Assert.Equal([3, 32], features.Feature(ClstModel.PositionGate).shape);
        }
        if (psca == SpatialChannelAttention.Dual)
            Check.Close(ones(3, 4, 16), features.Feature(ClstModel.ChannelAttention).sum([-1L]), 1e-5);
    }

    [Fact]
    public void ATraceOfPartStopsEarlyAndSaysTheSame()
    {
        using var scope = NewDisposeScope();
        var model = new ClstModel(new(), 1);
        model.eval();
        var signals = randn(2, 2, 128);
        var whole = new ForwardTrace(TraceRequest.AllAttention, model.Capabilities);
        model.call(signals, whole);
        var part = new ForwardTrace(TraceRequest.Attention(1), model.Capabilities, wantsOutput: false);
        Assert.Equal(0, model.call(signals, part).numel());
        Check.Close(whole.Attention(1).Probabilities(), part.Attention(1).Probabilities(), 0);
        var hidden = new ForwardTrace(TraceRequest.Hidden(1), model.Capabilities, wantsOutput: false);
        model.call(signals, hidden);
        Assert.Equal([2, 32, 64], hidden.Hidden(1).shape);
    }

    [Fact]
    public void StudentsAreAsSmallAsTheirNamesSayAndCountTheirOperations()
    {
        using var scope = NewDisposeScope();
        using var batch = new Batch((SignalModel.Signals, randn(2, 2, 128)));
        var cnn = new SignalCnn(8, 1);
        Assert.Equal(4392, ModelCost.Parameters(cnn));
        // 64 x 16 x 10, 32 x 16 x 80, 16 x 32 x 80, 32 x 8, twice.
        Assert.Equal(2 * (64 * 16 * 10 + 32 * 16 * 80 + 16 * 32 * 80 + 32 * 8), ModelSummary.Of(cnn, batch).MultiplyAdds);
        Assert.InRange(ModelCost.Parameters(new SignalMobileNet(8, 1)), 10_000, 12_000);
        var trace = new ForwardTrace(TraceRequest.Hidden(2), cnn.Capabilities, wantsOutput: false);
        cnn.call(batch[SignalModel.Signals], trace);
        Assert.Equal([2, 16, 32], trace.Hidden(2).shape);
        // The teacher's attention: queries at 64 places, keys and values at 32.
        var clst = new ClstModel(
            new()
            {
                Widths = [8],
                Blocks = [1],
                Heads = [2],
                EmbeddingKernels = [3],
                Psca = SpatialChannelAttention.None,
            },
            1
        );
        var summary = ModelSummary.Of(clst, batch);
        Assert.Equal(2L * 64 * 32 * 8 * 2, summary.AttentionMultiplyAdds);
        long projections = (64 + 2 * 32) * 8 * (3 + 8) + 64 * 8 * 8;
        Assert.Equal(2 * (64 * 8 * 6 + projections + 64 * 8 * 16 * 2 + 8 * 8) + 2L * 64 * 32 * 8 * 2, summary.MultiplyAdds);
    }

    [Fact]
    public void InEvaluationABurstDoesNotDependOnItsNeighbours()
    {
        using var scope = NewDisposeScope();
        foreach (var model in new SignalModel[] { new ClstModel(new(), 1), new SignalCnn(8, 1), new SignalMobileNet(8, 1) })
        {
            var signals = randn(4, 2, 128);
            model.train();
            model.call(signals, null);
            model.eval();
            Check.Close(model.call(signals, null)[1], model.call(signals[1..2], null)[0], 1e-5);
        }
    }

    [Fact]
    public void GatesOfZeroWeightsHalveTheirInputTwice()
    {
        using var scope = NewDisposeScope();
        var x = randn(2, 4, 6, dtype: ScalarType.Float64);
        Tensor Zeros(params long[] shape) => zeros(shape, dtype: ScalarType.Float64);
        var (output, channel, position) = GateAttention.Apply(x, Zeros(2, 4), Zeros(4, 2), Zeros(1, 2, 3));
        Check.Close(x, output, 1e-12); // half from either gate
        Check.Close(Zeros(2, 4) + 0.5, channel, 0);
        Check.Close(Zeros(2, 6) + 0.5, position, 0);
    }

    [Fact]
    public void ChannelAttentionOfOneChannelAHeadAddsTheValuesThemselves()
    {
        using var scope = NewDisposeScope();
        var x = randn(2, 6, 4, dtype: ScalarType.Float64);
        var eye = torch.eye(4, dtype: ScalarType.Float64);
        var (output, positions, channels) = DualAttention.Apply(x, eye, eye, eye, eye, null, 4);
        Check.Close(ones_like(channels), channels, 1e-12);
        var places = matmul(positions.Probabilities(), positions.Value).transpose(1, 2).reshape(2, 6, 4);
        Check.Close(places + x, output, 1e-10);
    }

    [Fact]
    public void WhatCannotBeIsRefused()
    {
        using var scope = NewDisposeScope();
        Assert.Contains(
            "divide the width",
            Assert.Throws<ArgumentException>(() => new ClstModel(new() { Heads = [3, 4] }, 1)).Message
        );
        Assert.Contains("odd", Assert.Throws<ArgumentException>(() => new ClstModel(new() { ProjectionKernel = 4 }, 1)).Message);
        Assert.Contains(
            "one number a stage",
            Assert.Throws<ArgumentException>(() => new ClstModel(new() { Blocks = [1] }, 1)).Message
        );
        Assert.Throws<ArgumentException>(() => new SignalCnn(8, 1).call(randn(2, 3, 128), null));
        Assert.Contains(
            "power of 1",
            Assert
                .Throws<ArgumentException>(() => new SignalCnn(8, 1).call(ones(2, 2, 128, dtype: ScalarType.Int64), null))
                .Message
        );
    }

    [Fact]
    public void AccuracyByRatioCountsEveryExampleOnceAndAConfusionMatrixToo()
    {
        using var scope = NewDisposeScope();
        var logits = tensor(
            new[,]
            {
                { 1.0, 0 },
                { 1.0, 0 },
                { 0, 1.0 },
                { 0, 1.0 },
            }
        );
        var labels = tensor(new long[] { 0, 1, 1, 0 });
        var found = SnrAccuracy.Of(logits, labels, tensor(new[] { 8f, -4f, 8f, 8f }));
        Assert.Equal([-4.0, 8.0], found.Levels);
        Assert.Equal([1L, 3L], found.Counts);
        Assert.Equal(2.0 / 3, found.Accuracy[1], 1e-12);
        Assert.Equal(0.5, found.Over(_ => true), 1e-12);
        Assert.True(double.IsNaN(found.Over(level => level > 10)));
        Assert.Equal(
            new long[,]
            {
                { 1, 1 },
                { 1, 1 },
            },
            ConfusionMatrix.Of(logits.argmax(1), labels, 2)
        );
        Assert.Contains("label 1", Assert.Throws<ArgumentException>(() => ConfusionMatrix.Of(labels, labels, 1)).Message);
    }
}
