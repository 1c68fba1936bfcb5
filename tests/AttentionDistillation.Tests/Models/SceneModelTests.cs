using AttentionDistillation.Methods;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Driving;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public class SceneModelTests
{
    public static TheoryData<SceneFusion> Fusions { get; } = [.. Enum.GetValues<SceneFusion>()];

    [Theory]
    [MemberData(nameof(Fusions))]
    public void EveryFusionTrainsEveryWeightAlsoWhereNobodySpeaks(SceneFusion fusion)
    {
        using var scope = NewDisposeScope();
        var model = new SceneModel(new() { Fusion = fusion, Levels = fusion == SceneFusion.Gated ? 2 : 1 }, 1);
        var (views, geometry, valid, caption) = Inputs();
        var output = model.Run(views, geometry, valid, caption);
        Assert.Equal([3, 6, 4], output.Classes.shape);
        Assert.Equal([3, 6], output.Relevance.shape);
        Assert.Equal([3, 6, 2], output.Trajectory.shape);
        var loss = output.Classes[valid].sum() + output.Relevance[valid].sum() + output.Trajectory.sum();
        if (fusion is SceneFusion.Gated or SceneFusion.Concatenation or SceneFusion.Sum)
        {
            var (weight, bias) = model.Alignment;
            var match = arange(6).expand(3, 6);
            loss += OmniScene
                .TextAlignment(
                    output.Instances,
                    model.Describe(randint(1, 30, [3, 6, 2])),
                    match,
                    valid,
                    weight,
                    bias,
                    TextAlignmentKind.Contrast
                )
                .Loss;
        }
        else
            Assert.Throws<InvalidOperationException>(() => model.Alignment);
        loss.backward();
        foreach (var (name, parameter) in model.named_parameters())
        {
            Assert.True(parameter.grad is not null, $"no gradient reached {name}");
            Assert.True(parameter.grad!.isfinite().all().ToBoolean(), $"the gradient of {name} is not finite");
        }
    }

    [Fact]
    public void PaddedAgentsChangeNothingAndASilentSceneGivesTextNoShare()
    {
        using var scope = NewDisposeScope();
        var model = new SceneModel(new(), 1);
        var (views, geometry, valid, caption) = Inputs();
        var output = model.Run(views, geometry, valid, caption);
        var other = geometry.clone();
        other[valid.logical_not()] = 7;
        var changed = model.Run(views, other, valid, caption);
        Check.Close(output.Relevance[valid], changed.Relevance[valid], 1e-5);
        Check.Close(output.Trajectory, changed.Trajectory, 1e-5);
        // Scene 1 has no caption.
        foreach (var gates in output.Gates)
        {
            Assert.True(gates[1, .., 2].eq(0).all().ToBoolean());
            Assert.True(gates[0, .., 2].gt(0).all().ToBoolean());
            Check.Close(ones(3, 6), gates.sum([-1L]), 1e-6);
        }
        Assert.Equal(2, output.Gates.Count);
        Assert.Equal([3, 4, 6, 64], output.Visual[0].Probabilities().shape);
        Assert.True(output.Textual[0].Probabilities()[1].eq(0).all().ToBoolean());
        // A scene does not depend on those beside it.
        var alone = model.Run(views[1..2], geometry[1..2], valid[1..2], caption[1..2]);
        Check.Close(output.Relevance[1], alone.Relevance[0], 1e-5);
    }

    [Fact]
    public void SharesAndEntropyOfGatesHaveTheirLimits()
    {
        using var scope = NewDisposeScope();
        var gates = tensor(
            new double[,,]
            {
                {
                    { 1, 0, 0 },
                    { 1.0 / 3, 1.0 / 3, 1.0 / 3 },
                },
            }
        );
        Check.Close(tensor(new[] { 2.0 / 3, 1.0 / 6, 1.0 / 6 }), HierarchicalFusion.Share(gates), 1e-12);
        Assert.Equal(Math.Log(3) / 2, HierarchicalFusion.Entropy(gates).item<double>(), 1e-12);
        var first = tensor(
            new[,]
            {
                { true, false },
            }
        );
        Check.Close(tensor(new[] { 1.0, 0, 0 }), HierarchicalFusion.Share(gates, first), 1e-12);
        Assert.Equal(0, HierarchicalFusion.Entropy(gates, first).item<double>(), 1e-12);
    }

    [Fact]
    public void AlignmentOfNothingIsZeroAndOfItsOwnTextIsNone()
    {
        using var scope = NewDisposeScope();
        var instances = randn(2, 3, 4, dtype: ScalarType.Float64).requires_grad_();
        var eye = torch.eye(4, dtype: ScalarType.Float64);
        var match = arange(3).expand(2, 3);
        var (own, _) = OmniScene.TextAlignment(instances, instances, match, null, eye, null, TextAlignmentKind.Cosine);
        Assert.Equal(0, own.item<double>(), 1e-12);
        var none = zeros(2, 3, dtype: ScalarType.Bool);
        var (nothing, _) = OmniScene.TextAlignment(
            instances,
            randn(2, 3, 4, dtype: ScalarType.Float64),
            match,
            none,
            eye,
            null,
            TextAlignmentKind.Contrast
        );
        Assert.Equal(0, nothing.item<double>(), 0);
        nothing.backward();
        Assert.True(instances.grad!.eq(0).all().ToBoolean());
        Assert.Throws<ArgumentException>(() =>
            OmniScene.TextAlignment(
                instances,
                randn(2, 3, 5, dtype: ScalarType.Float64),
                match,
                null,
                eye,
                null,
                TextAlignmentKind.Cosine
            )
        );
        var student = randn(2, 3, 5);
        Assert.Contains(
            "share of 0",
            Assert.Throws<ArgumentException>(() => OmniScene.CaptionLoss(null, student, match, none, 0.5)).Message
        );
        Assert.Single(OmniScene.CaptionLoss(null, student, match, none.logical_not(), 0).Terms);
    }

    [Fact]
    public void WhatCannotBeIsRefused()
    {
        Assert.Contains(
            "needs Levels = 1",
            Assert.Throws<ArgumentException>(() => new SceneModel(new() { Fusion = SceneFusion.Sum }, 1)).Message
        );
        Assert.Contains(
            "does not divide",
            Assert.Throws<ArgumentException>(() => new SceneModel(new() { Patch = 5 }, 1)).Message
        );
        Assert.Contains(
            "divisible by 4",
            Assert.Throws<ArgumentException>(() => new SceneModel(new() { Width = 30 }, 1)).Message
        );
    }

    private static (Tensor Views, Tensor Geometry, Tensor Valid, Tensor Caption) Inputs()
    {
        manual_seed(1);
        var valid = ones(3, 6, dtype: ScalarType.Bool);
        valid[0, 4..] = false;
        valid[2, 3..] = false;
        var caption = randint(1, 30, [3, 12]);
        caption[0, 5..] = 0;
        caption[1] = 0;
        return (rand([3, 2, 3, 16, 32]), randn(3, 6, 4) * 0.5, valid, caption);
    }
}
