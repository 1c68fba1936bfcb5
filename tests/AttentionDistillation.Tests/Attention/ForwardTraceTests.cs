using AttentionDistillation.Attention;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Attention;

public class ForwardTraceTests
{
    private static readonly TraceCapabilities Model = new("a model of 3 layers", 3, "stage1");

    [Fact]
    public void OnlyWhatWasAskedForIsKept()
    {
        var trace = new ForwardTrace(TraceRequest.Hidden(0, -1) + TraceRequest.Attention(1), Model);
        for (int state = 0; state <= 3; state++)
            trace.RecordHidden(state, tensor((double)state));
        Assert.Equal(0.0, trace.Hidden(0).item<double>());
        Assert.Equal(3.0, trace.Hidden(-1).item<double>());
        Assert.Contains(
            "did not record hidden state 1",
            Assert.Throws<InvalidOperationException>(() => trace.Hidden(1)).Message,
            StringComparison.Ordinal
        );
        Assert.True(trace.WantsAttention(1) && !trace.WantsAttention(2) && !trace.WantsFeature("stage1"));
    }

    [Fact]
    public void ARequestTheModelCannotServeNamesWhatExists()
    {
        Assert.Contains(
            "attention layers 0 to 2",
            Assert.Throws<ArgumentException>(() => new ForwardTrace(TraceRequest.Attention(3), Model)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "hidden states 0 to 3",
            Assert.Throws<ArgumentException>(() => new ForwardTrace(TraceRequest.Hidden(-5), Model)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "stage1",
            Assert.Throws<ArgumentException>(() => new ForwardTrace(TraceRequest.Features("stage2"), Model)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void AModelMayStopAfterTheLastThingWanted()
    {
        Assert.Equal(2, new ForwardTrace(TraceRequest.Nothing, Model).LastLayerNeeded);
        Assert.Equal(-1, new ForwardTrace(TraceRequest.Hidden(0), Model, wantsOutput: false).LastLayerNeeded);
        var hidden = new ForwardTrace(TraceRequest.Hidden(2) + TraceRequest.Attention(0), Model, wantsOutput: false);
        Assert.Equal(1, hidden.LastLayerNeeded);
        Assert.False(hidden.StopsAfterAttentionInputs(1));
        Assert.True(new ForwardTrace(TraceRequest.LastAttention, Model, wantsOutput: false).StopsAfterAttentionInputs(2));
    }

    [Fact]
    public void AStateChecksItsShapes()
    {
        var random = new RandomTensors(1);
        var (q, k) = (random.Normal(2, 4, 5, 3), random.Normal(2, 2, 6, 3));
        _ = new AttentionState(q, k, k, RandomTensors.Mask(6, 6, 2));
        Assert.Throws<ArgumentException>(() => new AttentionState(q, random.Normal(2, 3, 6, 3), k, null));
        Assert.Throws<ArgumentException>(() => new AttentionState(q, k, k, RandomTensors.Mask(5, 5, 2)));
        Assert.Contains(
            "bool",
            Assert.Throws<ArgumentException>(() => new AttentionState(q, k, k, ones(2, 6))).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void RowsThatSeeNothingAreZero()
    {
        var random = new RandomTensors(2);
        var state = new AttentionState(
            random.Normal(2, 2, 4, 3),
            random.Normal(2, 2, 4, 3),
            random.Normal(2, 2, 4, 3),
            RandomTensors.Mask(4, 4, 0),
            isCausal: true
        );
        var map = state.Probabilities();
        Assert.Equal(0.0, map[1].abs().max().item<double>());
        Check.Close(ones(2, 4, dtype: ScalarType.Float64), map[0].sum(-1), 1e-12);
        Assert.Equal(0.0, map[0].triu(1).abs().max().item<double>());
    }
}
