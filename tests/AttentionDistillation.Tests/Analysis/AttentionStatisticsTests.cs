using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using FsCheck.Xunit;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Analysis;

public class AttentionStatisticsTests
{
    private const double Rounding = 1e-12; // float64 sums of a few dozen terms

    private static Tensor Normal(long seed, params long[] shape) =>
        randn(shape, dtype: ScalarType.Float64, generator: new Generator((ulong)seed, CPU));

    private static Tensor Map(long seed, params long[] shape) => Normal(seed, shape).mul(2).softmax(-1);

    private static double At(Tensor tensor, params long[] index) =>
        tensor[[.. index.Select(i => TensorIndex.Single(i))]].item<double>();

    [Fact]
    public void UniformAndOneHotRows()
    {
        var uniform = full([1, 2, 5, 5], 0.2, dtype: ScalarType.Float64);
        var oneHot = eye(5, dtype: ScalarType.Float64).expand(1, 2, 5, 5);
        Assert.Equal(Math.Log(5), At(AttentionStatistics.Entropy(uniform, null), 0, 1, 3), Rounding);
        Assert.Equal(0, AttentionStatistics.Entropy(oneHot, null).abs().max().item<double>());
        Assert.Equal(1, At(AttentionStatistics.NormalisedEntropy(uniform, null, null), 0, 0, 0), Rounding);
        Assert.Equal(0, AttentionStatistics.MeanDistance(oneHot, null).abs().max().item<double>());
        Assert.Equal(2, At(AttentionStatistics.MeanDistance(uniform, null), 0, 0, 0), Rounding); // (0+1+2+3+4)/5
        Assert.Equal(1.2, At(AttentionStatistics.MeanDistance(uniform, null), 0, 0, 2), Rounding); // (2+1+0+1+2)/5
        Assert.Equal(1, At(AttentionStatistics.ShareAtOffset(oneHot, 0, null), 0, 0, 4), Rounding);
        var previous = AttentionStatistics.ShareAtOffset(uniform, -1, null);
        Assert.True(double.IsNaN(At(previous, 0, 0, 0)));
        Assert.Equal(0.2, At(AttentionStatistics.PerHead(previous), 0), Rounding);
        var first = tensor(new[] { true, true, false, false, false }).unsqueeze(0);
        Assert.Equal(0.4, At(AttentionStatistics.ShareAt(uniform, first, null), 0, 1, 1), Rounding);
        Assert.Equal(0, At(AttentionStatistics.NormalisedMutualInformation(uniform, null), 0, 0), Rounding);
        Assert.Equal(1, At(AttentionStatistics.NormalisedMutualInformation(oneHot, null), 0, 0), Rounding);
    }

    [Fact]
    public void MutualInformationIsThatOfTheJointTable()
    {
        var map = Map(1, 1, 1, 4, 6);
        double joint = 0,
            queries = Math.Log(4),
            keys = 0;
        for (int k = 0; k < 6; k++)
        {
            double marginal = Enumerable.Range(0, 4).Sum(q => At(map, 0, 0, q, k)) / 4;
            keys -= marginal * Math.Log(marginal);
            for (int q = 0; q < 4; q++)
                joint += At(map, 0, 0, q, k) / 4 * Math.Log(At(map, 0, 0, q, k) / marginal);
        }
        Assert.Equal(
            joint / Math.Sqrt(queries * keys),
            At(AttentionStatistics.NormalisedMutualInformation(map, null), 0, 0),
            Rounding
        );
    }

    [Fact]
    public void CausalRowsAreNormalisedByWhatTheySee()
    {
        var seen = ones(4, 4, dtype: ScalarType.Float64).tril();
        var map = (seen / seen.sum(-1, keepdim: true)).expand(1, 1, 4, 4);
        var entropy = AttentionStatistics.NormalisedEntropy(map, null, null, isCausal: true);
        Assert.Equal([0, 1, 1, 1], entropy.data<double>().ToArray().Select(value => Math.Round(value, 12)));
    }

    [Fact]
    public void PaddingChangesNothing()
    {
        Tensor q = Normal(1, 2, 3, 6, 4),
            k = Normal(2, 2, 3, 6, 4);
        Tensor pad = Normal(3, 2, 3, 3, 4) * 50;
        var mask = arange(9).unsqueeze(0).expand(2, 9) < 6;
        var real = new AttentionState(q, k, k, null).Probabilities();
        var padded = new AttentionState(cat([q, pad], 2), cat([k, pad], 2), cat([k, pad], 2), mask).Probabilities();
        var all = ones(2, 6, dtype: ScalarType.Bool);
        (Tensor, Tensor)[] pairs =
        [
            (AttentionStatistics.Entropy(real, null), AttentionStatistics.Entropy(padded, mask)),
            (AttentionStatistics.NormalisedEntropy(real, all, all), AttentionStatistics.NormalisedEntropy(padded, mask, mask)),
            (AttentionStatistics.MeanDistance(real, null), AttentionStatistics.MeanDistance(padded, mask)),
            (AttentionStatistics.ShareAtOffset(real, -1, null), AttentionStatistics.ShareAtOffset(padded, -1, mask)),
            (
                AttentionStatistics.NormalisedMutualInformation(real, null).unsqueeze(-1),
                AttentionStatistics.NormalisedMutualInformation(padded, mask).unsqueeze(-1)
            ),
        ];
        foreach (var (expected, actual) in pairs)
            Assert.Equal(
                0,
                (AttentionStatistics.PerHead(expected) - AttentionStatistics.PerHead(actual)).abs().max().item<double>(),
                Rounding
            );
        var rollout = AttentionRollout.Compute([padded, padded], mask);
        var expectedRollout = AttentionRollout.Compute([real, real], null);
        Assert.Equal(0, (rollout.narrow(1, 0, 6).narrow(2, 0, 6) - expectedRollout).abs().max().item<double>(), Rounding);
        Assert.Equal(0, rollout.narrow(1, 6, 3).abs().sum().item<double>());
    }

    [Fact]
    public void WhollyPaddedSequencesDoNotCount()
    {
        var mask = tensor(new[] { true, true, false, false }).reshape(2, 2);
        Tensor q = Normal(1, 2, 1, 2, 4);
        var map = new AttentionState(q, q, q, mask).Probabilities();
        var entropy = AttentionStatistics.Entropy(map, mask);
        Assert.True(entropy[1].isnan().all().item<bool>());
        Assert.True(double.IsFinite(AttentionStatistics.PerHead(entropy)[0].item<double>()));
        Assert.True(double.IsNaN(At(AttentionStatistics.NormalisedMutualInformation(map, mask), 1, 0)));
    }

    [Fact]
    public void RolloutIsTheProductOfMixedMaps()
    {
        Tensor first = Map(1, 1, 2, 3, 3),
            second = Map(2, 1, 2, 3, 3);
        var identity = eye(3, dtype: ScalarType.Float64);
        Tensor Mixed(Tensor map) => 0.5 * map.mean([1])[0] + 0.5 * identity;
        var expected = Mixed(second).mm(Mixed(first));
        var actual = AttentionRollout.Compute([first, second], null)[0];
        Assert.Equal(0, (expected - actual).abs().max().item<double>(), Rounding);
        Assert.Throws<ArgumentException>(() => AttentionRollout.Compute([], null));
        Assert.Throws<ArgumentException>(() => AttentionRollout.Compute([Map(1, 1, 1, 3, 4)], null));
    }

    [Property(MaxTest = 50)]
    public void EntropyIsBetweenZeroAndLogS(int seed, byte keys)
    {
        using var scope = NewDisposeScope();
        long s = keys % 20 + 1;
        var entropy = AttentionStatistics.Entropy(Map(seed & int.MaxValue, 1, 2, 3, s), null);
        Assert.InRange(entropy.min().item<double>(), -Rounding, Math.Log(s) + Rounding);
        Assert.InRange(entropy.max().item<double>(), -Rounding, Math.Log(s) + Rounding);
    }

    [Fact]
    public void NothingIsLeftAlive()
    {
        var map = Map(1, 1, 2, 4, 4);
        using var outer = NewDisposeScope();
        long before = Tensor.TotalCount;
        AttentionStatistics.PerHead(AttentionStatistics.NormalisedEntropy(map, null, null)).Dispose();
        AttentionStatistics.NormalisedMutualInformation(map, null).Dispose();
        AttentionRollout.Compute([map], null).Dispose();
        Assert.InRange(Tensor.TotalCount - before, 0, 1); // the entropy handed to PerHead
    }
}
