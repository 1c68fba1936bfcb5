using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class FcaFormerTests
{
    private static readonly CrossTokenConfig Tiny = new()
    {
        ImageSize = 20,
        Stages = [new(8, 3, 2)],
        LayerScale = 0.1,
        Classes = 5,
    };

    [Theory]
    [InlineData(1, 6.19)]
    [InlineData(2, 16.28)]
    public void ThePapersModelsHaveItsNumberOfParameters(int model, double millions)
    {
        // Counted from the authors' code. Ours lacks nothing they count, to a hundredth of a million.
        Assert.Equal(millions, FcaFormer.Parameters(model == 1 ? FcaFormer.L1 : FcaFormer.L2) / 1e6, 0.011);
    }

    [Fact]
    public void TheTraceHoldsAttentionOverTokensAndCrossTokens()
    {
        using var scope = NewDisposeScope();
        var model = new CrossTokenTransformer(Tiny, 1);
        model.eval();
        var trace = new ForwardTrace(
            TraceRequest.AllAttention + TraceRequest.AllHidden + TraceRequest.Features(CrossTokenTransformer.LastTokens),
            model.Capabilities
        );
        var images = rand(2, 3, 20, 20);
        var plain = model.call(images, null);
        Check.Close(plain, model.call(images, trace), 1e-6);
        // 5 x 5 tokens leave 2 x 2 cross tokens a block.
        for (int block = 0; block < 3; block++)
            Assert.Equal([2, 2, 25, 25 + 4 * block], trace.Attention(block).Probabilities().shape);
        Check.Close(trace.Hidden(3), trace.Feature(CrossTokenTransformer.LastTokens), 0);
        double[,] mass = FcaFormer.CrossMass(trace);
        Assert.Equal(0, mass[0, 0]);
        Assert.InRange(mass[2, 1], 0.1, 0.5);
        var maps = FcaFormer.MapsOfQuery(trace.Attention(2), 1, null, 7, 5, 2);
        Assert.Equal(3, maps.Count);
        Assert.Equal(1, maps.Sum(map => map.Cast<double>().Sum()), 1e-5);
    }

    [Fact]
    public void KeepAndSourceSayWhatABlockSees()
    {
        using var scope = NewDisposeScope();
        long[] Slots(CrossTokenConfig config) => [.. new CrossTokenTransformer(config, 1).Blocks.Select(block => block.Slots)];
        Assert.Equal([0, 4, 8], Slots(Tiny));
        Assert.Equal([0, 4, 4], Slots(Tiny with { Keep = 1 }));
        Assert.Equal([0, 0, 0], Slots(Tiny with { Source = CrossTokenSource.None }));
        Assert.Equal([0, 4, 8], Slots(Tiny with { Source = CrossTokenSource.SameBlock }));
        Assert.Equal([0, 25, 50], Slots(Tiny with { MergeStride = 1 }));
        foreach (
            var config in new[]
            {
                Tiny with
                {
                    Keep = 1,
                },
                Tiny with
                {
                    Source = CrossTokenSource.SameBlock,
                },
                Tiny with
                {
                    MergeStride = 1,
                },
            }
        )
            Assert.Equal([1, 5], new CrossTokenTransformer(config, 1).call(rand(1, 3, 20, 20), null).shape);
    }

    [Fact]
    public void TheControlIsBlindToEarlierBlocks()
    {
        // A block's output changes with cross tokens of earlier blocks, and not with them in the control, which merges its own input.
        using var scope = NewDisposeScope();
        var random = new RandomTensors(1);
        var (tokens, one, two) = (
            random.Normal(1, 25, 8).to(ScalarType.Float32),
            random.Normal(1, 4, 8).to(ScalarType.Float32),
            random.Normal(1, 4, 8).to(ScalarType.Float32)
        );
        foreach (var source in new[] { CrossTokenSource.EarlierBlocks, CrossTokenSource.SameBlock })
        {
            var block = new CrossTokenTransformer(Tiny with { Source = source }, 1).Blocks[1];
            block.eval();
            bool same = block
                .call(tokens, one, null)
                .Tokens.allclose(block.call(tokens, two, null).Tokens, rtol: 1e-7, atol: 1e-9);
            Assert.Equal(source == CrossTokenSource.SameBlock, same);
        }
    }

    [Fact]
    public void RowsAreBroughtToEqualParameters()
    {
        long target = FcaFormer.Parameters(Tiny);
        foreach (var config in new[] { Tiny with { Source = CrossTokenSource.None, Enhances = false }, Tiny with { Keep = 1 } })
        {
            long fitted = FcaFormer.Parameters(FcaFormer.MatchParameters(config, target));
            // Within half a neuron of each of 3 blocks: 2 x 8 + 1 parameters each.
            Assert.InRange(Math.Abs(fitted - target), 0, 26);
        }
        Assert.Throws<ArgumentException>(() => FcaFormer.MatchParameters(Tiny, 1000));
        Assert.True(FcaFormer.MultiplyAccumulates(Tiny) < FcaFormer.MultiplyAccumulates(Tiny with { MergeStride = 1 }));
    }

    [Fact]
    public void TheHybridModelRunsAndTrainsEveryParameter()
    {
        using var scope = NewDisposeScope();
        var model = new CrossTokenTransformer(
            Tiny with
            {
                ImageSize = 32,
                Patch = null,
                StemConvolutions = 1,
                Stages = [new(4, 1, null), new(8, 2, 2), new(8, 1, null), new(12, 2, 3)],
            },
            1
        );
        var scores = model.call(rand(3, 3, 32, 32), null);
        nn.functional.cross_entropy(scores, tensor(new long[] { 0, 1, 2 })).backward();
        foreach (var (name, parameter) in model.named_parameters())
            Assert.True(parameter.grad is not null, $"no gradient reached {name}");
        Assert.Contains(
            "32 x 32",
            Assert.Throws<ArgumentException>(() => model.call(rand(1, 3, 16, 16), null)).Message,
            StringComparison.Ordinal
        );
        Assert.True(ModelCost.Parameters(model) > 0);
    }

    [Fact]
    public void NothingLeaks()
    {
        var model = new CrossTokenTransformer(Tiny, 1);
        var images = rand(2, 3, 20, 20);
        void Step(bool traced)
        {
            using var scope = NewDisposeScope();
            var trace = traced ? new ForwardTrace(TraceRequest.AllAttention + TraceRequest.AllHidden, model.Capabilities) : null;
            model.call(images, trace).sum().backward();
        }
        Step(true);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int step = 0; step < 20; step++)
            Step(step % 2 == 0);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }
}
