using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class M2mKdTests
{
    [Theory]
    [InlineData(ModuleDistillation.Soft)]
    [InlineData(ModuleDistillation.Hard)]
    public void TheLossHasItsGradientAndTheTeacherNone(ModuleDistillation kind)
    {
        var random = new RandomTensors(1);
        var (teacher, target) = (random.Learned(4, 6), random.Normal(4, 6).softmax(-1));
        Check.Gradients(inputs => M2mKd.Loss(inputs[0], teacher, target, 0.3, 2, kind).Total, [random.Normal(4, 6)]);
        Assert.Null(teacher.grad);
    }

    [Fact]
    public void TheSoftTermIsAClassNumberthOfTheUsualDivergence()
    {
        var random = new RandomTensors(2);
        var (student, teacher, target) = (random.Normal(4, 6), random.Normal(4, 6), random.Normal(4, 6).softmax(-1));
        var usual = AttentionDistillation.Losses.Divergences.KlDivergence(teacher, student, null, 2.0);
        Check.Close(usual / 6, M2mKd.Loss(student, teacher, target, 0.5, 2)[M2mKd.Distil], 1e-12);
        Assert.Equal(0, M2mKd.Loss(teacher, teacher, target)[M2mKd.Distil].item<double>(), 1e-12);
        var labels = tensor(new long[] { 1, 0, 5, 3 });
        Check.Close(
            nn.functional.cross_entropy(student.to(ScalarType.Float32), labels, label_smoothing: 0.1),
            M2mKd.Loss(student, teacher, M2mKd.Targets(labels, 6, 0.1))[M2mKd.Base],
            1e-6
        );
    }

    [Fact]
    public void GradientsPassThroughLaterMetaLayersAndNotIntoEarlierOnes()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(3);
        var weights = Enumerable.Range(0, 3).Select(_ => random.Learned(5, 5)).ToArray();
        Func<Tensor, Tensor>[] meta = [.. weights.Select(weight => (Func<Tensor, Tensor>)(x => matmul(x, weight).tanh()))];
        var (input, mine) = (random.Learned(2, 5), random.Learned(5, 5));
        M2mKd.Hybrid(M2mKd.Prefix(input, meta, 1), x => matmul(x, mine), meta, x => x, 1).sum().backward();
        Assert.NotNull(mine.grad);
        Assert.NotNull(weights[2].grad);
        Assert.Null(weights[0].grad);
        Assert.Null(weights[1].grad);
        Assert.Null(input.grad);
        // With the meta layer itself in the module's place the hybrid is the meta model.
        var whole = meta.Aggregate(input, (at, layer) => layer(at));
        for (int index = 0; index < 3; index++)
            Check.Close(whole, M2mKd.Hybrid(M2mKd.Prefix(input, meta, index), meta[index], meta, x => x, index), 1e-12);
        Assert.Throws<ArgumentOutOfRangeException>(() => M2mKd.Prefix(input, meta, 3));
    }

    [Fact]
    public void LayersAreSplitEvenly()
    {
        Assert.Equal([(0, 2), (2, 2), (4, 2), (6, 2)], M2mKd.Split(8, 4));
        Assert.Equal([(0, 3), (3, 2), (5, 2)], M2mKd.Split(7, 3));
        Assert.Throws<ArgumentException>(() => M2mKd.Split(2, 3));
    }

    [Fact]
    public void ExpertsComputeTheirTokensAsIfAllComputedAll()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(4);
        Tensor[] inputs =
        [
            random.Normal(7, 4),
            random.Normal(3, 4),
            random.Normal(3, 6, 4),
            random.Normal(3, 6),
            random.Normal(3, 4, 6),
            random.Normal(3, 4),
        ];
        Tensor Naive(Tensor[] at)
        {
            var logits = matmul(at[0], at[1].t());
            var least = logits.topk(2, -1).values.amin([-1L], keepdim: true);
            var gates = logits.masked_fill(logits < least, double.NegativeInfinity).softmax(-1);
            var all = Enumerable
                .Range(0, 3)
                .Select(e =>
                    nn.functional.linear(nn.functional.gelu(nn.functional.linear(at[0], at[2][e], at[3][e])), at[4][e], at[5][e])
                );
            return (stack([.. all], 1) * gates.unsqueeze(-1)).sum(1L);
        }
        Tensor Fast(Tensor[] at) => MixtureOfExperts.Compute(at[0], at[1], null, at[2], at[3], at[4], at[5]).Output;
        Check.Close(Naive(inputs), Fast(inputs), 1e-12);
        Check.Gradients(at => Fast(at).square().sum(), inputs, 1e-5);
        var routing = MixtureOfExperts.Compute(inputs[0], inputs[1], null, inputs[2], inputs[3], inputs[4], inputs[5]);
        Assert.Equal(14, routing.Load.sum().item<long>());
        Assert.Equal(1, MixtureOfExperts.LoadEntropy(tensor(new long[] { 5, 5, 5 })), 1e-12);
        Assert.Equal(0, MixtureOfExperts.LoadEntropy(tensor(new long[] { 9, 0, 0 })), 1e-12);
        using var module = new MixtureOfExperts(4, 6, 3, 2, new SeededLayers(1, 0.5));
        Assert.Equal([2, 5, 4], module.call(rand(2, 5, 4)).shape);
        Assert.Throws<ArgumentException>(() => new MixtureOfExperts(4, 6, 1, 2, new SeededLayers(1, 0.5)));
    }

    [Fact]
    public void KernelsAreDistributionsAndTruncationCutsEdges()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(5);
        var signatures = random.Normal(6, 4);
        var kernel = ModularAttention.SignatureKernel(signatures, signatures, 0.7);
        Check.Close(ones(6, dtype: ScalarType.Float64), kernel.exp().sum(-1), 1e-12);
        // A module is nearest to itself, and the length of a signature says nothing.
        Assert.Equal([0L, 1, 2, 3, 4, 5], kernel.argmax(-1).data<long>().ToArray());
        Check.Close(kernel, ModularAttention.SignatureKernel(signatures * 3, signatures, 0.7), 1e-12);
        var cut = ModularAttention.SignatureKernel(signatures, signatures, 0.7, 0.9);
        Assert.True(cut.isneginf().any().item<bool>());
        Check.Close(ones(6, dtype: ScalarType.Float64), cut.exp().sum(-1), 1e-12);
        var drawn = ModularAttention.SampleKernel(cut, full(6, 6, 0.5, dtype: ScalarType.Float64));
        Check.Close(ones(6, dtype: ScalarType.Float64), drawn.exp().sum(-1), 1e-12);
        Assert.True(drawn.isneginf().eq(cut.isneginf()).all().item<bool>());
        Assert.Throws<ArgumentException>(() => ModularAttention.SignatureKernel(signatures, signatures, 0));
    }

    [Fact]
    public void ModularAttentionHasItsGradientAndLooksOnlyAlongEdges()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(6);
        var (states, codes) = (random.Normal(2, 4, 6), random.Normal(4, 5));
        (Tensor, Tensor) Part() => (random.Normal(6, 5), random.Normal(6, 6));
        var weights = new ModularAttentionWeights
        {
            Norm = (random.Normal(6), random.Normal(6)),
            Query = Part(),
            Key = Part(),
            Value = Part(),
            Exit = (random.Normal(6, 5), random.Normal(6, 6), random.Normal(6)),
            LayerScale = random.Normal(6),
            Gain = tensor(0.1),
        };
        // Modules 0 and 1 see each other, and 2 and 3.
        var edges = tensor(new[] { 1.0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1 }, [4, 4]).log();
        Check.Gradients(
            at => ModularAttention.Attend(at[0], at[1], weights, 2, edges).States.square().sum(),
            [states, codes],
            1e-5
        );
        var moved = states.clone();
        moved[.., 3, 0] += 1.0; // one channel: a layer norm does not see what all channels share
        var (before, after) = (
            ModularAttention.Attend(states, codes, weights, 2, edges).States,
            ModularAttention.Attend(moved, codes, weights, 2, edges).States
        );
        Check.Close(before[.., ..2], after[.., ..2], 1e-12);
        Assert.False(before[.., 2].allclose(after[.., 2]));
    }

    [Fact]
    public void ReceiversMayReadOtherSenders()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(8);
        (Tensor, Tensor) Part() => (random.Normal(6, 5), random.Normal(6, 6));
        var weights = new ModularAttentionWeights
        {
            Norm = (random.Normal(6), random.Normal(6)),
            Query = Part(),
            Key = Part(),
            Value = Part(),
            Exit = (random.Normal(6, 5), random.Normal(6, 6), random.Normal(6)),
            LayerScale = random.Normal(6),
            Gain = tensor(0.1),
        };
        Tensor Read(Tensor receivers, Tensor codes, Tensor senders, Tensor theirs, Tensor? kernel = null) =>
            ModularAttention.Attend(receivers, codes, senders, theirs, weights, 2, kernel).States;
        var (receivers, codes) = (random.Normal(2, 3, 6), random.Normal(3, 5));
        var (senders, theirs) = (random.Normal(2, 4, 6), random.Normal(4, 5));
        Check.Gradients(at => Read(at[0], at[1], at[2], at[3]).square().sum(), [receivers, codes, senders, theirs], 1e-5);
        // One set that reads itself is the other form; senders in another order say the same.
        Check.Close(
            ModularAttention.Attend(receivers, codes, weights, 2, null).States,
            Read(receivers, codes, receivers.clone(), codes),
            1e-12
        );
        var order = tensor(new long[] { 2, 0, 3, 1 });
        Check.Close(
            Read(receivers, codes, senders, theirs),
            Read(receivers, codes, senders.index_select(1, order), theirs.index_select(0, order)),
            1e-12
        );
        Assert.Throws<ArgumentException>(() => Read(receivers, codes, senders, theirs, zeros(3, 3, dtype: ScalarType.Float64)));
        Assert.Throws<ArgumentException>(() => Read(receivers, codes, senders[..1], theirs));
    }

    [Fact]
    public void PoolingWeighsLatents()
    {
        var random = new RandomTensors(7);
        var states = random.Normal(2, 4, 5);
        var score = (zeros(1, 5, dtype: ScalarType.Float64), zeros(1, dtype: ScalarType.Float64));
        var logits = (random.Normal(3, 5), random.Normal(3));
        var (weights, pooled) = ModularAttention.PoolLatents(states, score, logits);
        Check.Close(full(2, 4, 0.25, dtype: ScalarType.Float64), weights, 1e-12);
        Check.Close(nn.functional.linear(states.mean([1L]), logits.Item1, logits.Item2), pooled, 1e-12);
        var (one, _) = ModularAttention.PoolLatents(states, score, logits, 0.01, random.Normal(2, 4) * 10);
        Assert.True(one.amax([-1L]).min().item<double>() > 0.9);
    }
}
