using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Training;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class BdKdTests
{
    private static Tensor Logits(long seed, double scale = 2)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn([6, 5], generator: generator, dtype: ScalarType.Float64) * scale;
    }

    private static Tensor Labels() => tensor(new long[] { 0, 1, 2, 3, 4, 0 });

    [Fact]
    public void TheLessCertainStudentIsSharpenedTheMoreCertainSoftened()
    {
        using var scope = NewDisposeScope();
        var flat = Logits(1, 0.1);
        var sharp = Logits(2, 5);
        var samples = BdKd.Samples(flat, sharp, new BdKdOptions { Boost = 3 });
        Assert.True(samples.ReverseWeight.eq(3).all().ToBoolean());
        Assert.True(samples.ForwardWeight.eq(1).all().ToBoolean());
        samples = BdKd.Samples(sharp, flat, new BdKdOptions { Boost = 3 });
        Assert.True(samples.ForwardWeight.eq(3).all().ToBoolean());
        Assert.True(samples.ReverseWeight.eq(1).all().ToBoolean());
        samples = BdKd.Samples(flat, flat);
        Assert.True(samples.ForwardWeight.eq(1).all().ToBoolean());
        Assert.True(samples.ReverseWeight.eq(1).all().ToBoolean());
        Assert.True(samples.Forward.abs().max().ToDouble() < 1e-12);
    }

    [Fact]
    public void ABoostOfOneIsTheSumOfBothDivergences()
    {
        using var scope = NewDisposeScope();
        var options = new BdKdOptions { Boost = 1, Temperature = 2 };
        double both = BdKd.StudentLoss(Logits(1), Logits(2), Labels(), options)["divergence"].ToDouble();
        double forward = Divergences.KlDivergence(Logits(2), Logits(1), null, 2).ToDouble();
        double reverse = Divergences.KlDivergence(Logits(1), Logits(2), null, 2).ToDouble();
        Assert.Equal(forward + reverse, both, 10);
        double alone = BdKd.StudentLoss(Logits(1), Logits(2), Labels(), options with { ReverseWeight = 0 })["divergence"]
            .ToDouble();
        Assert.Equal(forward, alone, 10);
    }

    [Fact]
    public void TheGradientIsThatOfTheWeightsHeldFixed()
    {
        using var scope = NewDisposeScope();
        var student = Logits(1).requires_grad_(true);
        var teacher = Logits(2).requires_grad_(true);
        var options = new BdKdOptions
        {
            Temperature = 1.5,
            Boost = 2.5,
            DistillationWeight = 0.7,
        };
        BdKd.StudentLoss(student, teacher, Labels(), options).Total.backward();
        Assert.True(teacher.grad is null);
        using var gradient = student.grad!.clone();
        // Central differences; a step this small changes no weight.
        const double Step = 1e-6;
        for (long row = 0; row < 6; row++)
        for (long column = 0; column < 5; column++)
        {
            double At(double change)
            {
                using var moved = Logits(1);
                moved[row, column] += change;
                return BdKd.StudentLoss(moved, Logits(2), Labels(), options).Total.ToDouble();
            }
            Assert.Equal((At(Step) - At(-Step)) / (2 * Step), gradient[row, column].ToDouble(), 5);
        }
    }

    [Theory]
    [InlineData(DivergenceDirection.Reverse)]
    [InlineData(DivergenceDirection.Forward)]
    public void TheTeachersDirectionIsNamedFromItsStudent(DivergenceDirection direction)
    {
        using var scope = NewDisposeScope();
        var options = new BdKdOptions { TeacherDirection = direction };
        double found = BdKd.TeacherLoss(Logits(2), Logits(1), Labels(), options)["divergence"].ToDouble();
        var expected =
            direction == DivergenceDirection.Reverse
                ? Divergences.KlDivergence(Logits(1), Logits(2), null) // KL(student || teacher)
                : Divergences.KlDivergence(Logits(2), Logits(1), null);
        Assert.Equal(expected.ToDouble(), found, 10);
    }

    [Fact]
    public void AmongPeersAveragesTheForms()
    {
        using var scope = NewDisposeScope();
        double larger = BdKd.StudentLoss(Logits(1), Logits(2), Labels())["divergence"].ToDouble();
        double smaller = BdKd.TeacherLoss(Logits(1), Logits(3), Labels())["divergence"].ToDouble();
        var terms = BdKd.AmongPeers(Logits(1), [(Logits(2), true), (Logits(3), false)], Labels());
        Assert.Equal((larger + smaller) / 2, terms["divergence"].ToDouble(), 10);
        Assert.Throws<ArgumentException>(() => BdKd.AmongPeers(Logits(1), [], Labels()));
    }

    [Fact]
    public void WrongOptionsAndShapesAreNamed()
    {
        Assert.Contains(
            "Temperature is 0",
            Assert
                .Throws<ArgumentException>(() => BdKd.Samples(Logits(1), Logits(2), new BdKdOptions { Temperature = 0 }))
                .Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() => BdKd.Samples(Logits(1), Logits(2), new BdKdOptions { Boost = -1 }));
        Assert.Throws<ArgumentException>(() =>
            BdKd.TeacherLoss(Logits(1), Logits(2), Labels(), new BdKdOptions { TeacherDirection = DivergenceDirection.Symmetric })
        );
        Assert.Throws<ArgumentException>(() => BdKd.Samples(Logits(1), Logits(2)[.., ..4]));
        Assert.Throws<ArgumentException>(() => BdKd.StudentLoss(Logits(1), Logits(2), Labels()[..3]));
    }

    [Fact]
    public void CalibrationOfACoinThatSaysSo()
    {
        using var scope = NewDisposeScope();
        // Two classes at 0.75: right three times of four.
        double gap = Math.Log(3);
        var logits = tensor(
            new double[,]
            {
                { gap, 0 },
                { gap, 0 },
                { gap, 0 },
                { gap, 0 },
            }
        );
        var found = Calibration.Of(logits, tensor(new long[] { 0, 0, 0, 1 }), bins: 10);
        Assert.Equal(0, found.Expected, 10);
        Assert.Equal(0, found.Maximum, 10);
        Assert.Equal(0.75, found.Accuracy, 10);
        Assert.Equal(-(3 * Math.Log(0.75) + Math.Log(0.25)) / 4, found.NegativeLogLikelihood, 10);
        Assert.Equal(2 * (3 * 0.0625 + 0.5625) / 4, found.Brier, 10);
        Assert.Equal(4, found.Bins[7].Count);
        Assert.Equal(
            ClassificationMetrics.ExpectedCalibrationError(logits.softmax(1), tensor(new long[] { 1, 1, 0, 1 }), null, 10),
            Calibration.Of(logits, tensor(new long[] { 1, 1, 0, 1 }), 10).Expected,
            10
        );
        Assert.Throws<ArgumentException>(() => Calibration.Of(logits, tensor(new long[] { 0, 0, 0, 1 }), 0));
    }

    [Fact]
    public void APairTrainsBothAndNeitherThroughTheOther()
    {
        var world = new KeyObjects(new() { Size = 16 });
        ConvolutionalClassifierConfig Config(long width) => new() { Widths = [width, width], Strides = [2, 2] };
        using var teacher = new ConvolutionalClassifier(Config(8), 1);
        using var student = new ConvolutionalClassifier(Config(4), 2);
        using var pair = new OnlinePair(teacher, student);
        var objective = pair.Objective(
            (own, other, batch) => LossTerms.Of("labels", nn.functional.cross_entropy(own, batch.Labels)),
            (own, other, batch) => BdKd.StudentLoss(own, other, batch.Labels)
        );
        // The teacher learns from labels alone here: with or without its student it must end in the same weights.
        using var trainer = new Trainer(pair, objective, Options());
        trainer.Run(world.Images(1, ImageSplit.Train, 48).Training(1, 12));
        using var lonely = new ConvolutionalClassifier(Config(8), 1);
        using var alone = new Trainer(
            lonely,
            TraceRequest.Nothing,
            (trace, batch) => LossTerms.Of("labels", nn.functional.cross_entropy(trace.Output, batch.Labels)),
            Options()
        );
        alone.Run(world.Images(1, ImageSplit.Train, 48).Training(1, 12));
        foreach (var (own, other) in teacher.parameters().Zip(lonely.parameters()))
            Assert.True((own - other).abs().max().ToSingle() < 1e-6);
        using var fresh = new ConvolutionalClassifier(Config(4), 2);
        Assert.Contains(
            student.parameters().Zip(fresh.parameters()),
            each => (each.First - each.Second).abs().max().ToSingle() > 1e-4
        );

        static TrainingOptions Options() =>
            new()
            {
                Steps = 8,
                LearningRate = 1e-3,
                Seed = 1,
                ClipNorm = null,
            };
    }
}
