using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Attention;

public class CrossTokensTests
{
    [Theory]
    [InlineData(1, 5, 4, 7, 4)]
    [InlineData(2, 6, 5, 7, 4)]
    [InlineData(1, 4, 4, 7, 4)]
    [InlineData(2, 3, 1, 3, 1)]
    public void MergingIsADepthwiseSumWithItsGradient(long batch, long height, long width, long side, long stride)
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(1);
        ImageSize grid = new(height, width);
        var (tokens, kernel) = (random.Normal(batch, grid.Area, 3), random.Normal(3, 1, side, side));
        Check.Close(Naive(tokens, grid, kernel, stride), CrossTokens.Merge(tokens, grid, kernel, stride), 1e-12);
        var probe = random.Normal(batch, CrossTokens.MergedGrid(grid, stride).Area, 3);
        Check.Gradients(inputs => (CrossTokens.Merge(inputs[0], grid, inputs[1], stride) * probe).sum(), [tokens, kernel]);
    }

    [Fact]
    public void EnhancementHasItsGradientAndLearnsItsStatisticsInTraining()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(2);
        ImageSize grid = new(3, 4);
        var (tokens, kernel, probe) = (random.Normal(2, 12, 3), random.Normal(3, 1, 3, 3), random.Normal(2, 12, 3));
        var norm = new BatchNormTensors(random.Normal(3), random.Normal(3), random.Normal(3), random.Normal(3).square() + 0.5);
        Check.Gradients(
            inputs =>
                (
                    CrossTokens.Enhance(inputs[0], grid, inputs[1], norm with { Weight = inputs[2] }, training: false) * probe
                ).sum(),
            [tokens, kernel, norm.Weight]
        );
        var before = norm.Mean.clone();
        CrossTokens.Enhance(tokens, grid, kernel, norm, training: false);
        Check.Close(before, norm.Mean, 0);
        var normalised = CrossTokens.Enhance(
            tokens,
            grid,
            kernel,
            norm with
            {
                Weight = ones(3, dtype: ScalarType.Float64),
                Bias = zeros(3, dtype: ScalarType.Float64),
            },
            training: true
        );
        Assert.True(normalised.mean([0L, 1L]).abs().max().item<double>() < 1e-12);
        Assert.False(before.allclose(norm.Mean));
    }

    [Fact]
    public void TheNormUndoesTheScalesSizeButNotItsSign()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(3);
        var (cross, weight, bias) = (random.Normal(2, 3, 8), random.Normal(8), random.Normal(8));
        Tensor At(double value) => CrossTokens.Calibrate(cross, full([3, 1], value, dtype: ScalarType.Float64), weight, bias);
        Check.Close(CrossTokens.Calibrate(cross, null, weight, bias), At(1), 1e-12);
        Assert.True((At(1) - At(5)).abs().max().item<double>() < 1e-4);
        Check.Close(At(1) - bias, bias - At(-1), 1e-12);
        Check.Close(bias.expand(2, 3, 8), At(0), 1e-12);
        Check.Gradients(
            inputs => CrossTokens.Calibrate(inputs[0], inputs[1], inputs[2], inputs[3]).square().sum(),
            [cross * 1e-2, random.Normal(3, 1), weight, bias],
            1e-5
        );
    }

    [Fact]
    public void OneSoftmaxCoversBothAndSlotsMayBeReordered()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(4);
        var (tokens, cross, weight) = (random.Normal(2, 6, 8), random.Normal(2, 3, 8), random.Normal(24, 8));
        var (bias, slots) = (random.Normal(24), random.Normal(2, 1, 3));
        var state = CrossTokens.State(tokens, cross, weight, bias, 2, null, slots);
        var map = state.Probabilities();
        Assert.Equal([2, 2, 6, 9], map.shape);
        Check.Close(ones(2, 2, 6, dtype: ScalarType.Float64), map.sum(-1), 1e-12);
        Check.Close(map.narrow(-1, 6, 3).sum(-1), CrossTokens.Mass(state), 1e-12);
        // A cross token that equals a token is attended to alike: the same projection serves both.
        var twin = CrossTokens.State(tokens, tokens, weight, bias, 2, null, null).Probabilities();
        Check.Close(twin.narrow(-1, 0, 6), twin.narrow(-1, 6, 6), 1e-12);
        var order = tensor(new long[] { 2, 0, 1 });
        var moved = CrossTokens.State(tokens, cross.index_select(1, order), weight, bias, 2, null, slots.index_select(2, order));
        Check.Close(BiasedAttention.Mix(state), BiasedAttention.Mix(moved), 1e-12);
    }

    [Fact]
    public void SlotsAreResizedBlockByBlock()
    {
        using var scope = NewDisposeScope();
        var slots = cat([full([2, 1, 4], 1.0), full([2, 1, 4], 3.0)], -1);
        var resized = CrossTokens.ResizeSlots(slots, 2, 3);
        Assert.Equal([2, 1, 18], resized.shape);
        Check.Close(cat([full([2, 1, 9], 1.0), full([2, 1, 9], 3.0)], -1), resized, 1e-6);
        Check.Close(slots, CrossTokens.ResizeSlots(slots, 2, 2), 1e-6);
        Assert.Throws<ArgumentException>(() => CrossTokens.ResizeSlots(slots, 3, 2));
    }

    [Fact]
    public void WrongInputsAreNamed()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(5);
        Assert.Contains(
            "class tokens",
            Assert
                .Throws<ArgumentException>(() => CrossTokens.Merge(random.Normal(1, 5, 2), 2, random.Normal(2, 1, 7, 7)))
                .Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() => CrossTokens.Merge(random.Normal(1, 4, 2), 2, random.Normal(2, 1, 4, 4)));
        Assert.Throws<ArgumentException>(() => CrossTokens.MergedGrid(4, 0));
    }

    private static Tensor Naive(Tensor tokens, ImageSize grid, Tensor kernel, long stride)
    {
        long batch = tokens.size(0),
            channels = tokens.size(2),
            half = kernel.size(-1) / 2;
        var merged = CrossTokens.MergedGrid(grid, stride);
        var result = zeros(batch, merged.Area, channels, dtype: ScalarType.Float64);
        for (long row = 0; row < merged.Height; row++)
        for (long column = 0; column < merged.Width; column++)
        for (long dy = -half; dy <= half; dy++)
        for (long dx = -half; dx <= half; dx++)
        {
            long y = row * stride + dy,
                x = column * stride + dx;
            if (y >= 0 && y < grid.Height && x >= 0 && x < grid.Width)
                result[.., (int)(row * merged.Width + column)] +=
                    tokens[.., (int)(y * grid.Width + x)] * kernel[.., 0, (int)(dy + half), (int)(dx + half)];
        }
        return result;
    }
}
