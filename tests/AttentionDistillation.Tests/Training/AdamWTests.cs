using AttentionDistillation.Runtime;
using AttentionDistillation.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using AdamW = AttentionDistillation.Training.AdamW;

namespace AttentionDistillation.Tests.Training;

public sealed class AdamWTests
{
    private static Parameter Weight(long seed, ScalarType type, params long[] shape)
    {
        using var generator = Seeds.Generator(seed, "weight");
        return new Parameter(randn(shape, type, generator: generator));
    }

    private static void SetGradient(Parameter parameter, long seed)
    {
        using var generator = Seeds.Generator(seed, "gradient");
        parameter.grad = randn(parameter.shape, ScalarType.Float32, generator: generator).to(parameter.dtype);
    }

    [Fact]
    public void MatchesTorchSharpsOwn()
    {
        using var scope = NewDisposeScope();
        Parameter ours = Weight(1, ScalarType.Float64, 4, 3),
            theirs = Weight(1, ScalarType.Float64, 4, 3);
        using var mine = new AdamW([("linear.weight", ours)], weightDecay: 0.05, beta1: 0.85, beta2: 0.99, epsilon: 1e-7);
        using var peer = optim.AdamW([theirs], lr: 0.02, beta1: 0.85, beta2: 0.99, eps: 1e-7, weight_decay: 0.05);
        for (int step = 0; step < 20; step++)
        {
            SetGradient(ours, step);
            SetGradient(theirs, step);
            mine.Step(0.02);
            peer.step();
        }
        Assert.True(ours.allclose(theirs, 1e-10, 1e-12), $"{ours.sub(theirs).abs().max().ToDouble()}");
    }

    [Fact]
    public void ClippingIsThatOfClipGradNorm()
    {
        using var scope = NewDisposeScope();
        Parameter[] ours = [Weight(1, ScalarType.Float32, 4, 3), Weight(2, ScalarType.Float32, 5)],
            theirs = [Weight(1, ScalarType.Float32, 4, 3), Weight(2, ScalarType.Float32, 5)];
        using var mine = new AdamW([("a.weight", ours[0]), ("a.bias", ours[1])], weightDecay: 0.0);
        using var peer = optim.AdamW(theirs, lr: 0.02);
        for (int step = 0; step < 5; step++)
        {
            for (int i = 0; i < 2; i++)
            {
                SetGradient(ours[i], 10 * step + i);
                SetGradient(theirs[i], 10 * step + i);
            }
            nn.utils.clip_grad_norm_(theirs, 0.3);
            peer.step();
            mine.Step(0.02, clipNorm: 0.3);
        }
        // float32: the last bits of a division beside a multiplication, over five steps of 0.02.
        for (int i = 0; i < 2; i++)
            Assert.True(ours[i].allclose(theirs[i], 1e-5, 1e-6));
    }

    [Theory]
    [InlineData("encoder.0.attention.query.weight", true)]
    [InlineData("embedding.weight", true)]
    [InlineData("encoder.0.attention.query.bias", false)]
    [InlineData("encoder.0.LayerNorm.weight", false)]
    [InlineData("final_layernorm.weight", false)]
    [InlineData("h.3.ln_1.weight", false)]
    [InlineData("lnear.weight", true)]
    public void BiasesAndNormalisationsDoNotDecay(string name, bool decays) => Assert.Equal(decays, AdamW.DecaysByName(name));

    [Fact]
    public void OnlyDecayingWeightsShrinkWithoutAGradient()
    {
        using var scope = NewDisposeScope();
        Parameter weight = new(ones(2, 2)),
            bias = new(ones(2));
        using var optimiser = new AdamW([("a.weight", weight), ("a.bias", bias)], weightDecay: 0.5);
        weight.grad = zeros(2, 2);
        bias.grad = zeros(2);
        optimiser.Step(0.1);
        Assert.Equal([0.95f, 0.95f, 0.95f, 0.95f], weight.data<float>().ToArray());
        Assert.Equal([1f, 1f], bias.data<float>().ToArray());
    }

    [Fact]
    public void AParameterWithoutAGradientIsLeftAlone()
    {
        using var scope = NewDisposeScope();
        Parameter used = new(ones(2, 2)),
            idle = new(ones(2, 2)),
            frozen = new(ones(2, 2), requires_grad: false);
        using var optimiser = new AdamW([("used.weight", used), ("idle.weight", idle), ("frozen.weight", frozen)]);
        used.grad = ones(2, 2);
        optimiser.Step(0.1, clipNorm: 1.0);
        var state = optimiser.State.ToDictionary(item => item.Name, item => item.Value);
        Assert.Equal(1f, state["used.weight.step"].ToSingle());
        Assert.Equal(0f, state["idle.weight.step"].ToSingle());
        Assert.DoesNotContain(state.Keys, name => name.StartsWith("frozen", StringComparison.Ordinal));
        Assert.Equal(1f, idle.min().ToSingle());
        optimiser.ZeroGradients();
        Assert.Null(used.grad);
    }

    [Fact]
    public void LowPrecisionWeightsFollowFloat32Masters()
    {
        using var scope = NewDisposeScope();
        var low = Weight(1, ScalarType.BFloat16, 6, 6);
        var full = new Parameter(low.detach().to(ScalarType.Float32));
        using var mixed = new AdamW([("a.weight", low)]);
        using var plain = new AdamW([("a.weight", full)]);
        for (int step = 0; step < 50; step++)
        {
            SetGradient(low, step);
            full.grad = low.grad!.to(ScalarType.Float32);
            // Far less than bfloat16 can add to a weight near 1: without masters nothing would ever change.
            mixed.Step(1e-5, clipNorm: 1.0);
            plain.Step(1e-5, clipNorm: 1.0);
        }
        var master = mixed.State.Single(item => item.Name == "a.weight.master").Value;
        Assert.Equal(full.data<float>().ToArray(), master.data<float>().ToArray());
        Assert.True(low.equal(master.to(ScalarType.BFloat16)).all().ToBoolean());
        Assert.Same(master, mixed.Weights.Single().Value);
    }

    [Fact]
    public void WhatCannotBeOptimisedIsRefused()
    {
        using var scope = NewDisposeScope();
        Parameter frozen = new(ones(2), requires_grad: false),
            free = new(ones(2));
        Assert.Contains("requires_grad", Assert.Throws<ArgumentException>(() => new AdamW([("a", frozen)])).Message);
        Assert.Contains(
            "'a' repeats",
            Assert.Throws<ArgumentException>(() => new AdamW([("a", free), ("a", new Parameter(ones(2)))])).Message
        );
        Assert.Throws<ArgumentException>(() => new AdamW([("a", free)], beta1: 1.0));
        Assert.Throws<ArgumentException>(() => new AdamW([("a", free)], epsilon: 0.0));
    }
}
