using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class BdKdTests
{
    private static readonly Tensor Labels = tensor(new[] { 0L, 2L, 1L });

    [Theory]
    [InlineData(1.0, 2.0, DivergenceDirection.Reverse)]
    [InlineData(3.0, 1.0, DivergenceDirection.Forward)]
    public void GradientsAreThoseOfTheValues(double temperature, double boost, DivergenceDirection direction)
    {
        var random = new RandomTensors(1);
        var (student, teacher) = (random.Normal(3, 4), random.Normal(3, 4));
        var options = new BdKdOptions
        {
            Temperature = temperature,
            Boost = boost,
            TeacherDirection = direction,
            DistillationWeight = 0.7,
        };
        Check.Gradients(inputs => BdKd.StudentLoss(inputs[0], teacher, Labels, options).Terms.Total, [student]);
        Check.Gradients(inputs => BdKd.TeacherLoss(student, inputs[0], Labels, options).Total, [teacher]);
    }

    [Fact]
    public void NoGradientCrosses()
    {
        var random = new RandomTensors(2);
        var (student, teacher) = (random.Learned(3, 4), random.Learned(3, 4));
        BdKd.StudentLoss(student, teacher, Labels).Terms.Total.backward();
        Assert.Null(teacher.grad);
        var alone = student.grad!.clone();
        student.grad.zero_();
        BdKd.JointLoss(student, teacher, Labels).Total.backward();
        Check.Close(alone, student.grad!, 1e-12);
        Assert.NotNull(teacher.grad);
    }

    [Fact]
    public void TheLessCertainStudentPaysMoreReverse()
    {
        var sharp = tensor(
            new[,]
            {
                { 9.0, 0.0, 0.0 },
            }
        );
        var flat = tensor(
            new[,]
            {
                { 0.1, 0.0, 0.0 },
            }
        );
        var label = tensor(new[] { 0L });
        var uncertain = BdKd.StudentLoss(flat, sharp, label, new BdKdOptions { Boost = 3 });
        Assert.Equal((1.0, 3.0), (uncertain.ForwardWeight.item<double>(), uncertain.ReverseWeight.item<double>()));
        var certain = BdKd.StudentLoss(sharp, flat, label, new BdKdOptions { Boost = 3 });
        Assert.Equal((3.0, 1.0), (certain.ForwardWeight.item<double>(), certain.ReverseWeight.item<double>()));
    }

    [Fact]
    public void WithoutReverseAndBoostItIsMutualLearning()
    {
        var random = new RandomTensors(3);
        var (student, teacher) = (random.Normal(3, 4), random.Normal(3, 4));
        var options = new BdKdOptions
        {
            Temperature = 2,
            Boost = 1,
            ReverseShare = 0,
            DistillationWeight = 0.4,
        };
        Check.Close(
            BdKd.MutualLearning(student, teacher, Labels, 2, 0.4).Total,
            BdKd.JointLoss(student, teacher, Labels, options).Total,
            1e-12
        );
    }

    [Fact]
    public void AGroupOfTwoIsThePair()
    {
        var random = new RandomTensors(4);
        var (student, teacher) = (random.Normal(3, 4), random.Normal(3, 4));
        var options = new BdKdOptions { Temperature = 2, Boost = 3 };
        var (group, pair) = (
            BdKd.GroupLoss([teacher, student], Labels, options),
            BdKd.JointLoss(student, teacher, Labels, options)
        );
        Check.Close(pair["teacher"], group["net 1"], 1e-12);
        Check.Close(pair["student"], group["net 2"], 1e-12);
        Assert.Equal(3, BdKd.GroupLoss([teacher, student, student], Labels, options).Terms.Count);
        Assert.Throws<ArgumentException>(() => BdKd.GroupLoss([teacher], Labels));
        Assert.Throws<ArgumentException>(() => BdKd.StudentLoss(student, teacher, Labels, new BdKdOptions { Boost = 0.5 }));
    }

    [Fact]
    public void EntropyIsBetweenNothingAndTheLogarithmOfTheClasses()
    {
        Assert.Equal(Math.Log(4), Divergences.EntropyRows(zeros(1, 4, dtype: ScalarType.Float64)).item<double>(), 12);
        Assert.Equal(
            0.0,
            Divergences
                .EntropyRows(
                    tensor(
                        new[,]
                        {
                            { 0.0, double.NegativeInfinity },
                        }
                    )
                )
                .item<double>(),
            12
        );
        Check.Gradients(inputs => Divergences.EntropyRows(inputs[0], 2.0).sum(), [new RandomTensors(5).Normal(2, 3)]);
    }

    [Fact]
    public void ElementsAverageOverTheClassesComparedToo()
    {
        var random = new RandomTensors(6);
        var (student, teacher) = (random.Normal(3, 4), random.Normal(3, 4));
        Tensor Of(DivergenceReduction reduction, int? top) =>
            Divergences.KlDivergence(teacher, student, null, new DivergenceOptions { Reduction = reduction, TopClasses = top });
        Check.Close(Of(DivergenceReduction.Tokens, null) / 4, Of(DivergenceReduction.Elements, null), 1e-12);
        Check.Close(Of(DivergenceReduction.Tokens, 2) / 2, Of(DivergenceReduction.Elements, 2), 1e-12);
    }

    [Fact]
    public void CalibrationOfACertainAndWrongClassifierIsWorst()
    {
        var wrong = tensor(
            new[,]
            {
                { 60.0, 0.0 },
                { 60.0, 0.0 },
            }
        );
        var found = Calibration.OfLogits(wrong, tensor(new[] { 1L, 1L }), null);
        Assert.Equal((1.0, 1.0, 0.0), (Math.Round(found.ExpectedError, 9), Math.Round(found.MaximumError, 9), found.Accuracy));
        Assert.Equal(2.0, found.Brier, 9);
        Assert.Equal(60.0, found.NegativeLogLikelihood, 9);
        Assert.Equal(2, found.Bins[^1].Count);
        var ignored = Calibration.OfLogits(wrong, tensor(new[] { Batch.IgnoredLabel, Batch.IgnoredLabel }), null);
        Assert.True(double.IsNaN(ignored.ExpectedError));
        var masked = Calibration.OfLogits(wrong, tensor(new[] { 1L, 0L }), tensor(new[] { false, true }));
        Assert.Equal(0.0, masked.Brier, 9);
        Assert.Throws<ArgumentException>(() => Calibration.OfLogits(wrong, tensor(new[] { 1L, 1L }), null, 0));
    }
}
