using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public class ForwardCrossBlockTests
{
    private const long Heads = 2;

    [Theory]
    [InlineData(1, 1, 0)]
    [InlineData(2, 1, 0)]
    [InlineData(1, 2, 12)]
    [InlineData(2, 3, 12)]
    [InlineData(1, 3, 1)]
    public void AStageHasItsGradient(long batch, int depth, int keep)
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(1);
        ImageSize grid = new(5, 4);
        const long Width = 4;
        var weights = Enumerable
            .Range(0, depth)
            .Select(block => RandomWeights(random, grid, Width, Math.Min(block, keep) * 2, block == depth - 1))
            .ToArray();
        var probe = random.Normal(batch, grid.Area, Width);
        Check.Gradients(
            inputs =>
                (
                    ForwardCrossBlock.RunStage(
                        inputs[0],
                        keep,
                        weights.Select(
                            (block, number) =>
                                (Func<Tensor, Tensor?, (Tensor, Tensor?)>)(
                                    (tokens, cross) =>
                                    {
                                        var with = number > 0 || depth == 1 ? block : block with { Merge = inputs[1] };
                                        var (next, merged, _) = ForwardCrossBlock.Compute(tokens, cross, grid, Heads, with);
                                        return (next, keep > 0 ? merged : null);
                                    }
                                )
                        )
                    ) * probe
                ).sum(),
            [random.Normal(batch, grid.Area, Width), random.Normal(Width, 1, 7, 7)],
            1e-5
        );
    }

    internal static ForwardCrossWeights RandomWeights(RandomTensors random, ImageSize grid, long width, long slots, bool isLast)
    {
        (Tensor, Tensor) Linear(long output, long input) => (random.Normal(output, input), random.Normal(output));
        (Tensor, Tensor) Norm() => (random.Normal(width), random.Normal(width));
        return new()
        {
            Norm = Norm(),
            Qkv = Linear(3 * width, width),
            Output = Linear(width, width),
            PlaceScores = random.Normal(1, Heads, grid.Area, grid.Area),
            Scale = slots > 0 ? random.Normal(slots, 1) : null,
            CrossNorm = slots > 0 ? Norm() : null,
            SlotBiases = slots > 0 ? random.Normal(Heads, 1, slots) : null,
            LayerScales = (random.Normal(width), random.Normal(width)),
            Enhancement = (
                random.Normal(width, 1, 3, 3),
                new BatchNormTensors(
                    random.Normal(width),
                    random.Normal(width),
                    random.Normal(width),
                    random.Normal(width).square() + 0.5
                )
            ),
            FeedForwardNorm = Norm(),
            SecondNorm = Norm(),
            Inner = Linear(2 * width, width),
            Outer = Linear(width, 2 * width),
            Merge = isLast ? null : random.Normal(width, 1, 7, 7),
        };
    }
}
