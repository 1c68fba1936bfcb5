using AttentionDistillation.Methods;
using AttentionDistillation.Models;

namespace AttentionDistillation.Tests.Methods;

public class TinyVitContractionTests
{
    private static readonly HierarchicalConfig Seed = HierarchicalConfig.TinyVit([64, 96, 128], 0.0, [2, 2, 2], [7, 7]);

    [Fact]
    public void NeighboursShrinkOneFactorAndCanBeBuilt()
    {
        var neighbours = TinyVitContraction.Neighbours(Seed);
        // Width, depth and ratio of three stages, windows of two.
        Assert.Equal(11, neighbours.Count);
        Assert.Equal(11, neighbours.Select(neighbour => neighbour.Change).Distinct().Count());
        Assert.Contains("stage 2: width 96 to 64", neighbours.Select(neighbour => neighbour.Change));
        Assert.Contains("stage 1: expansion 4 to 3", neighbours.Select(neighbour => neighbour.Change));
        long before = TinyVitContraction.Parameters(Seed);
        foreach (var (change, config) in neighbours)
        {
            Assert.True(TinyVitContraction.Parameters(config) < before, change);
            Assert.Equal(Seed.Stages.Count - 1, config.Stages.Where((stage, at) => stage == Seed.Stages[at]).Count());
            Assert.All(config.Stages.Skip(1), stage => Assert.Equal(32, stage.Width / stage.Heads));
        }
    }

    [Fact]
    public void TheBestNeighbourIsKeptUntilTheLimitHolds()
    {
        // Depth is worth most, so that widths and ratios go first.
        double Score(HierarchicalConfig config) => config.Stages.Sum(stage => 1000 * stage.Depth + stage.Width + stage.Ratio);
        long limit = TinyVitContraction.Parameters(Seed) / 2;
        var steps = TinyVitContraction.Search(Seed, limit, Score);
        Assert.Equal(Seed, steps[0].Config);
        Assert.True(steps[^1].Parameters <= limit);
        Assert.All(steps.SkipLast(1), step => Assert.True(step.Parameters > limit));
        Assert.Equal(6, steps[^1].Config.Stages.Sum(stage => stage.Depth));
        for (int at = 1; at < steps.Count; at++)
        {
            var neighbours = TinyVitContraction.Neighbours(steps[at - 1].Config);
            Assert.Equal(neighbours.Max(neighbour => Score(neighbour.Config)), steps[at].Score);
            Assert.Contains(steps[at].Change, neighbours.Select(neighbour => neighbour.Change));
        }
        Assert.Single(TinyVitContraction.Search(Seed, long.MaxValue, Score));
        // A further limit is kept, too.
        var fast = TinyVitContraction.Search(Seed, long.MaxValue, Score, config => config.Stages.Sum(stage => stage.Depth) <= 5);
        Assert.Equal(5, fast[^1].Config.Stages.Sum(stage => stage.Depth));
    }

    [Fact]
    public void LimitsThatCannotBeMetAreSaidSo()
    {
        string message = Assert.Throws<ArgumentException>(() => TinyVitContraction.Search(Seed, 1, _ => 0)).Message;
        Assert.Contains("nothing is left to shrink", message);
        Assert.Throws<ArgumentException>(() => TinyVitContraction.Search(Seed, 1, _ => double.NaN));
        Assert.Throws<ArgumentOutOfRangeException>(() => TinyVitContraction.Neighbours(Seed, 0));
    }
}
