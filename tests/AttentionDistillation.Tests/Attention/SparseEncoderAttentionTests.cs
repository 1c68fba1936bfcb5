using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Attention;

public class SparseEncoderAttentionTests
{
    private static (Tensor Q, Tensor K, Tensor V) Inputs(long seed, long length, long heads = 2) =>
        (
            new RandomTensors(seed).Normal(2, heads, length, 4),
            new RandomTensors(seed + 1).Normal(2, heads, length, 4),
            new RandomTensors(seed + 2).Normal(2, heads, length, 4)
        );

    private static IAttentionForm[] Forms(long width, long heads) =>
        [
            new WindowedAttention(6),
            Double(new LongformerAttention(width, heads, 6, 2, new SeededLayers(5, 0.3))),
            new BigBirdAttention(4, 1, 3),
            new LsgAttention(4, 2, LsgSparsity.Pooling),
            new LsgAttention(4, 2, LsgSparsity.Norm),
            new LsgAttention(4, 2, LsgSparsity.Stride),
            new NystromAttention(new NystromOptions(4)),
        ];

    private static T Double<T>(T module)
        where T : nn.Module
    {
        module.to(ScalarType.Float64);
        return module;
    }

    private static AttentionCall Call(Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor? hidden) =>
        new(new AttentionState(q, k, v, mask), 0) { Hidden = hidden };

    [Theory]
    [InlineData(31, 6)]
    [InlineData(32, 4)]
    [InlineData(9, 2)]
    [InlineData(5, 12)]
    public void AGatheredWindowIsTheWindowsMap(long length, long window)
    {
        var (q, k, v) = Inputs(1, length);
        foreach (var mask in new[] { null, RandomTensors.Mask(length, length, length - 3) })
        {
            var support = AttentionSupport.Window(length, window).view(1, 1, length, length);
            var allowed = mask is null ? support : support.logical_and(mask.view(2, 1, 1, length));
            var plain = AttentionSupport.Mix(q, k, v, allowed);
            if (mask is not null)
                plain = plain.masked_fill(mask.logical_not().view(2, 1, length, 1), 0.0);
            Check.Close(plain, WindowedAttention.Mix(q, k, v, null, mask, window), 1e-12);
        }
    }

    [Fact]
    public void LongformersFirstTokensAreTheGeneralForm()
    {
        const long Heads = 2,
            Length = 23;
        var form = Double(new LongformerAttention(8, Heads, 6, 2, new SeededLayers(5, 0.3)));
        var (q, k, v) = Inputs(2, Length);
        var hidden = new RandomTensors(9).Normal(2, Length, 8);
        var weights = form.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter);
        Tensor Projected(string name) =>
            nn
                .functional.linear(hidden, weights[name + ".weight"], weights[name + ".bias"])
                .view(2, Length, Heads, 4)
                .transpose(1, 2);
        foreach (var mask in new[] { null, RandomTensors.Mask(Length, Length, 12) })
            Check.Close(
                LongformerAttention.Mix(
                    q,
                    k,
                    v,
                    Projected("query"),
                    Projected("key"),
                    Projected("value"),
                    AttentionSupport.FirstTokens(2, Length, 2),
                    mask,
                    6
                ),
                form.Mix(Call(q, k, v, mask, hidden)),
                1e-12
            );
    }

    [Theory]
    [InlineData(24, 4, 1)]
    [InlineData(26, 4, 2)]
    [InlineData(9, 3, 1)]
    [InlineData(7, 4, 1)]
    public void GatheredBlocksAreTheBlocksMap(long length, long block, int random)
    {
        var (q, k, v) = Inputs(3, length);
        var form = new BigBirdAttention(block, random, 7);
        var blocks = form.RandomBlocksOf(length, 2);
        foreach (var mask in new[] { null, RandomTensors.Mask(length, length, length - 2) })
        {
            var support = BigBirdAttention.Support(length, block, blocks).view(1, 1, length, length);
            var allowed = mask is null ? support : support.logical_and(mask.view(2, 1, 1, length));
            Check.Close(AttentionSupport.Mix(q, k, v, allowed), BigBirdAttention.Mix(q, k, v, blocks, mask, block), 1e-12);
        }
    }

    [Fact]
    public void RandomBlocksAreSeededAndLieOutsideOfWhatIsSeenAnyway()
    {
        var form = new BigBirdAttention(2, 2, 11);
        var blocks = form.RandomBlocksOf(24, 0);
        Assert.Equal(blocks, new BigBirdAttention(2, 2, 11).RandomBlocksOf(24, 0));
        Assert.NotEqual(blocks.SelectMany(list => list), form.RandomBlocksOf(24, 1).SelectMany(list => list));
        for (int row = 0; row < blocks.Count; row++)
            Assert.All(blocks[row], other => Assert.True(Math.Abs(other - row) > 1 && other is > 0 and < 11));
        Assert.All(blocks.Skip(4).Take(4), list => Assert.Equal(2, list.Distinct().Count()));
    }

    [Fact]
    public void PaddingDoesNotReachRealTokens()
    {
        const long Real = 14,
            Long = 20; // multiples of the landmarks are not needed, but segments of a padded sequence differ: Nyström is left out here
        var hidden = new RandomTensors(4).Normal(1, Long, 8);
        var (q, k, v) = Inputs(5, Long);
        (q, k, v) = (q[..1], k[..1], v[..1]);
        var mask = RandomTensors.Mask(Long, Real);
        foreach (var form in Forms(8, 2).Where(form => form is not NystromAttention and not BigBirdAttention))
        {
            var alone = form.Mix(Call(q[.., .., ..14], k[.., .., ..14], v[.., .., ..14], null, hidden[.., ..14]));
            Check.Close(alone, form.Mix(Call(q, k, v, mask, hidden))[.., .., ..14], 1e-6, form.GetType().Name);
        }
        // What stands at padded places does not matter to any form.
        foreach (var form in Forms(8, 2))
        {
            var other = hidden.clone();
            other[.., 14..] = new RandomTensors(6).Normal(1, 6, 8);
            Tensor Changed(Tensor tensor)
            {
                var changed = tensor.clone();
                changed[.., .., 14..] = new RandomTensors(7).Normal(1, 2, 6, 4);
                return changed;
            }
            Check.Close(
                form.Mix(Call(q, k, v, mask, hidden))[.., .., ..14],
                form.Mix(Call(Changed(q), Changed(k), Changed(v), mask, other))[.., .., ..14],
                1e-12,
                form.GetType().Name
            );
        }
    }

    [Fact]
    public void EveryFormHasItsGradient()
    {
        var (q, k, v) = Inputs(8, 12);
        var hidden = new RandomTensors(10).Normal(2, 12, 8);
        var mask = RandomTensors.Mask(12, 12, 9);
        var weights = new RandomTensors(12).Normal(2, 2, 12, 4);
        foreach (var form in Forms(8, 2))
            Check.Gradients(
                inputs => (form.Mix(Call(inputs[0], inputs[1], inputs[2], mask, hidden)) * weights).sum(),
                [q, k, v],
                1e-5
            );
    }

    [Fact]
    public void ShortSequencesOfLsgAreFullAttention()
    {
        var (q, k, v) = Inputs(13, 8);
        var full = AttentionMixing.Mix(new AttentionState(q, k, v, null));
        Check.Close(full, LsgAttention.Mix(q, k, v, null, 4, 2, LsgSparsity.Stride), 1e-12);
    }

    [Fact]
    public void AsManyLandmarksAsTokensApproachFullAttention()
    {
        var (q, k, v) = Inputs(14, 6);
        var full = AttentionMixing.Mix(new AttentionState(q, k, v, null));
        Check.Close(full, NystromAttention.Mix(q, k, v, null, new NystromOptions(6) { Iterations = 30 }), 1e-6);
        var map = NystromAttention.Map(q, k, null, new NystromOptions(6) { Iterations = 30 });
        Check.Close(new AttentionState(q, k, v, null).Probabilities(), map, 1e-6);
    }

    [Fact]
    public void EachMatrixsOwnStartDoesNotDependOnTheBatch()
    {
        var (q, k, v) = Inputs(15, 12);
        var own = new NystromOptions(4) { Iterations = 2 };
        Check.Close(
            NystromAttention.Mix(q, k, v, null, own)[..1],
            NystromAttention.Mix(q[..1], k[..1], v[..1], null, own),
            1e-12
        );
        var shared = own with { PerMatrix = false };
        var difference =
            NystromAttention.Mix(q, k, v, null, shared)[..1] - NystromAttention.Mix(q[..1], k[..1], v[..1], null, shared);
        Assert.True(difference.abs().max().item<double>() > 1e-6);
    }

    [Fact]
    public void WrongCallsSayHowToMendThem()
    {
        var (q, k, v) = Inputs(16, 10);
        foreach (var form in Forms(8, 2))
            Assert.Throws<NotSupportedException>(() =>
                form.Mix(new AttentionCall(new AttentionState(q, k, v, null, isCausal: true), 0))
            );
        Assert.Throws<ArgumentException>(() => new WindowedAttention(3));
        Assert.Throws<ArgumentException>(() => new LsgAttention(6, 4, LsgSparsity.Norm));
        Assert.Contains(
            "multiple",
            Assert.Throws<ArgumentException>(() => NystromAttention.Mix(q, k, v, null, new NystromOptions(4))).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() =>
            BigBirdAttention.Mix(
                q,
                k,
                v,
                [
                    [0],
                    [1],
                ],
                null,
                2
            )
        );
        Assert.Throws<NotSupportedException>(() =>
            new LongformerAttention(8, 2, 4, 1, new SeededLayers(1, 0.1)).Mix(Call(q, k, v, null, null))
        );
    }
}
