using AttentionDistillation.Models.Quantization;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Quantization;

public class QuantizationTests
{
    [Theory]
    [InlineData(2, 5)]
    [InlineData(4, null)]
    [InlineData(16, 100)]
    public void ValuesLieOnTheLevelsAndQuantizingAgainChangesNothing(int levels, int? bucket)
    {
        var weight = new RandomTensors(1).Normal(4, 6);
        var options = new QuantizationOptions { Levels = levels, Bucket = bucket };
        var once = UniformQuantizer.Quantize(weight, options);
        Check.Close(once.Values, UniformQuantizer.Quantize(once.Values, options).Values, 1e-12);
        Assert.True(once.Codes.max().item<double>() <= levels - 1);
        Assert.True(
            (once.Values - weight).abs().max().item<double>() <= once.Alpha.max().item<double>() / (2 * (levels - 1)) + 1e-12
        );
        Check.Close(once.Values, UniformQuantizer.StraightThrough(weight, options), 0);
    }

    [Theory]
    [InlineData(QuantizationGradient.Identity)]
    [InlineData(QuantizationGradient.Truncated)]
    [InlineData(QuantizationGradient.Scaled)]
    public void TheModelsGradientIsTheFunctions(QuantizationGradient style)
    {
        var random = new RandomTensors(2);
        var (weight, upstream) = (random.Learned(5, 7), random.Normal(5, 7));
        var options = new QuantizationOptions { Bucket = 8, Gradient = style };
        (UniformQuantizer.StraightThrough(weight, options) * upstream).sum().backward();
        Check.Close(weight.grad!, UniformQuantizer.Gradient(weight, upstream, options), 1e-12);
    }

    // A bucket of two has no interior: both elements are levels, so that the derivative of the values is exact and rounding does not matter.
    [Fact]
    public void TheScaledGradientIsExactWhereEveryElementIsAnExtreme()
    {
        var weight = new RandomTensors(3).Normal(3, 2);
        var options = new QuantizationOptions { Bucket = 2, Gradient = QuantizationGradient.Scaled };
        Check.Gradients(inputs => UniformQuantizer.StraightThrough(inputs[0], options).square().sum(), [weight]);
    }

    [Fact]
    public void StochasticRoundingIsRightOnAverage()
    {
        var weight = new RandomTensors(4).Normal(1, 6).expand(20000, 6).contiguous();
        var draws = rand(20000, 6, dtype: ScalarType.Float64, generator: new Generator(5, CPU));
        var found = UniformQuantizer.Quantize(weight, new QuantizationOptions { Levels = 3, Bucket = 6 }, draws);
        // The deviation of a mean of 20,000 draws is below α/4/√20000; six of them.
        double bound = 6 * found.Alpha.max().item<double>() / 4 / Math.Sqrt(20000);
        Assert.True((found.Values.mean([0L]) - weight[0]).abs().max().item<double>() < bound);
    }

    [Fact]
    public void LearnedPointsHaveTrueGradientsAndStartAtQuantiles()
    {
        var random = new RandomTensors(6);
        var (weight, probe) = (random.Normal(5, 7), random.Normal(5, 7));
        var points = LearnedLevels.Quantiles(weight, 4, 8);
        Assert.Equal(0.0, points[0].item<double>());
        Assert.Equal(1.0, points[3].item<double>());
        Check.Gradients(inputs => (LearnedLevels.Quantize(weight, inputs[0], 8).Values * probe).sum(), [points]);
        var learned = points.detach().clone().requires_grad_();
        (LearnedLevels.Quantize(weight, learned, 8).Values * probe).sum().backward();
        Check.Close(learned.grad!, LearnedLevels.Gradient(weight, probe, points, 8), 1e-12);
        Check.Close(
            UniformQuantizer.Quantize(weight, new QuantizationOptions { Bucket = 8 }).Values,
            LearnedLevels.Quantize(weight, LearnedLevels.Even(weight, 4), 8).Values,
            1e-12
        );
    }

    [Fact]
    public void AModelHoldsLevelsForAPassAndItsWeightsForTheStep()
    {
        using var model = nn.Linear(6, 4, dtype: ScalarType.Float64);
        var before = model.weight!.detach().clone();
        using var quantizer = new ModelQuantizer(model, new QuantizationOptions { Levels = 3, Bucket = null });
        Assert.Equal(["weight"], quantizer.Names);
        Assert.Equal(24, quantizer.LevelCounts().Sum());
        quantizer.Quantize();
        Assert.True(model.weight.detach().unique().output.numel() <= 3);
        Assert.Throws<InvalidOperationException>(quantizer.Quantize);
        quantizer.Restore();
        Check.Close(before, model.weight, 0);
        Assert.Throws<InvalidOperationException>(quantizer.Restore);
        quantizer.Finish();
        Assert.True(model.weight.detach().unique().output.numel() <= 3);
        Assert.Throws<ArgumentException>(() => new ModelQuantizer(model, quantizer.Options, (_, _) => false));
        Assert.Throws<ArgumentException>(() => new ModelQuantizer(model, new QuantizationOptions { Levels = 1 }));
    }

    [Fact]
    public void LearnedLevelsOfAModelLowerItsLoss()
    {
        using var model = nn.Linear(6, 4, dtype: ScalarType.Float64);
        var inputs = new RandomTensors(7).Normal(32, 6);
        var wanted = model.call(inputs).detach();
        using var quantizer = new ModelQuantizer(
            model,
            new QuantizationOptions { Levels = 4, Bucket = null },
            learnsLevels: true
        );
        var weight = model.weight!.detach().clone();
        double Pass(double rate)
        {
            model.zero_grad();
            quantizer.Quantize();
            var loss = (model.call(inputs) - wanted).square().mean();
            loss.backward();
            quantizer.StepLevels(rate);
            return loss.item<double>();
        }
        double first = Pass(0.02);
        for (int step = 0; step < 30; step++)
            Pass(0.02);
        Assert.True(Pass(0) < 0.9 * first);
        Check.Close(weight, model.weight, 0);
        double[] points = quantizer.Points[0].data<double>().ToArray();
        Assert.Equal(points.Order(), points);
    }

    [Fact]
    public void AHundredStepsLeaveNothing()
    {
        using var model = nn.Linear(6, 4, dtype: ScalarType.Float64);
        using var inputs = new RandomTensors(8).Normal(8, 6);
        foreach (bool learns in new[] { false, true })
        {
            using var quantizer = new ModelQuantizer(
                model,
                new QuantizationOptions { Gradient = QuantizationGradient.Scaled, Bucket = 8 },
                learnsLevels: learns
            );
            void Step()
            {
                using var scope = NewDisposeScope();
                model.zero_grad();
                quantizer.Quantize();
                model.call(inputs).square().mean().backward();
                if (learns)
                    quantizer.StepLevels(0.01);
                else
                    quantizer.Restore();
            }
            Step(); // gradients are made once
            long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
            for (int step = 0; step < 100; step++)
                Step();
            quantizer.LevelCounts();
            Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        }
    }
}
