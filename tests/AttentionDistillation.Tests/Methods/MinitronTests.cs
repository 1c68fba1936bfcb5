using AttentionDistillation.Methods;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class MinitronTests
{
    [Theory]
    [InlineData(MinitronHiddenForm.Cosine)]
    [InlineData(MinitronHiddenForm.SumOfSquares)]
    public void TheHiddenLossLeavesPaddingOutAndItsGradientsAreTrue(MinitronHiddenForm form)
    {
        var random = new RandomTensors(1);
        var (teacher, student) = (random.Normal(2, 4, 3), random.Normal(2, 4, 3));
        var mask = RandomTensors.Mask(4, 4, 1);
        Check.Gradients(inputs => Minitron.HiddenLoss(teacher, inputs[0], mask, form), [student]);
        var noise = student.masked_fill(mask.unsqueeze(-1), 0.0) * 50;
        Check.Close(
            Minitron.HiddenLoss(teacher, student, mask, form),
            Minitron.HiddenLoss(teacher - noise, student + noise, mask, form),
            1e-12
        );
    }

    [Fact]
    public void BalanceBringsTermsToOneSizeAndSurvivesZero()
    {
        var (logit, hidden, language) = (tensor(2.0), tensor(new[] { 0.5, 1.5 }), tensor(6.0));
        Assert.Equal(4.0, Minitron.Balance(logit, hidden, null).item<double>(), 12);
        Assert.Equal(12.0, Minitron.Balance(logit, hidden, language).item<double>(), 12);
        Assert.Equal(2.0, Minitron.Balance(logit, null, null).item<double>(), 12);
        var none = zeros(2, dtype: ScalarType.Float64, requires_grad: true);
        var total = Minitron.Balance(logit, none, null);
        total.backward();
        Assert.Equal(2.0, total.item<double>());
        Assert.True(none.grad!.isfinite().all().item<bool>());
    }

    [Fact]
    public void ProjectionsAreTrainedAlong()
    {
        using var projections = new MinitronProjections(3, 5, [(0, 0), (4, 2)], 1);
        var random = new RandomTensors(2);
        Tensor Teacher(int state) => random.Normal(2, 4, 5).to(ScalarType.Float32);
        Tensor Student(int state) => random.Normal(2, 4, 3).to(ScalarType.Float32);
        var losses = projections.Losses(Teacher, Student, null);
        Assert.Equal([2], losses.shape);
        losses.sum().backward();
        Assert.Equal(4, projections.parameters().Count(parameter => parameter.grad is not null));
    }

    [Fact]
    public void CutsKeepTheBestFirst()
    {
        var random = new RandomTensors(3);
        var (inner, outer) = (random.Normal(4, 3), random.Normal(3, 4));
        var score = tensor(new[] { 0.1, 0.9, 0.5, 0.7 });
        var cut = MinitronPruning.FeedForward(inner, null, outer, score, 2);
        Check.Close(stack([inner[1], inner[3]]), cut.Inner, 1e-12);
        Check.Close(stack([outer[.., 1], outer[.., 3]], 1), cut.Outer, 1e-12);
        Assert.Null(cut.InnerBias);
        Assert.Throws<ArgumentException>(() => MinitronPruning.FeedForward(inner, null, outer, score, 5));
    }
}
