using AttentionDistillation.Methods;
using AttentionDistillation.Models.Quantization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class QuantizedDistillationTests
{
    private static Tensor Draw(long seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn(shape, generator: generator, dtype: ScalarType.Float64);
    }

    [Theory]
    [InlineData(2, 7)]
    [InlineData(4, 8)]
    [InlineData(16, null)]
    public void NoWeightMovesMoreThanHalfAStepAndTwiceIsOnce(int levels, int? bucket)
    {
        using var scope = NewDisposeScope();
        var weight = Draw(1, 9, 5);
        var found = BucketedQuantization.Quantize(weight, levels, bucket);
        double step = found.Scale.max().ToDouble() / (levels - 1);
        Assert.True((found.Quantized - weight).abs().max().ToDouble() <= step / 2 + 1e-12);
        Assert.InRange(found.Codes.max().ToDouble(), 0, levels - 1);
        var again = BucketedQuantization.Quantize(found.Quantized, levels, bucket);
        Assert.True((again.Quantized - found.Quantized).abs().max().ToDouble() < 1e-12);
    }

    [Fact]
    public void StochasticRoundingIsRightInTheMean()
    {
        using var scope = NewDisposeScope();
        var weight = tensor(new double[] { 0, 0.3, 1 });
        using var generator = new Generator(5, CPU);
        double sum = 0;
        const int Draws = 4000;
        for (int draw = 0; draw < Draws; draw++)
            sum += BucketedQuantization
                .Quantize(weight, 2, null, rand([1, 3], generator: generator, dtype: ScalarType.Float64))
                .Quantized[1]
                .ToDouble();
        Assert.Equal(0.3, sum / Draws, 1);
    }

    [Fact]
    public void LevelsAreLearnedByTheirGradient()
    {
        using var scope = NewDisposeScope();
        var weight = Draw(2, 6, 6);
        var points = BucketedQuantization.QuantilePoints(weight, 4, 12).requires_grad_(true);
        var (quantized, _) = BucketedQuantization.ToPoints(weight, points, 12);
        (quantized - weight).square().sum().backward();
        using var gradient = points.grad!.clone();
        const double Step = 1e-7;
        for (int level = 0; level < 4; level++)
        {
            double At(double change)
            {
                using var moved = points.detach().clone();
                moved[level] += change;
                return (BucketedQuantization.ToPoints(weight, moved, 12).Quantized - weight).square().sum().ToDouble();
            }
            Assert.Equal((At(Step) - At(-Step)) / (2 * Step), gradient[level].ToDouble(), 4);
        }
        Assert.Throws<ArgumentException>(() => BucketedQuantization.ToPoints(weight, tensor(new[] { 0.5, 0.2 })));
    }

    [Fact]
    public void TrainingKeepsFullPrecisionAndFinishingDoesNot()
    {
        using var scope = NewDisposeScope();
        var weight = new Parameter(Draw(3, 4, 4));
        var before = weight.detach().clone();
        var training = new QuantizedDistillation([weight], levels: 4, bucket: 8);
        bool sawQuantized = false;
        double loss = training.Backward(() =>
        {
            sawQuantized = (weight.detach() - before).abs().max().ToDouble() > 0.01;
            return weight.square().sum();
        });
        Assert.True(sawQuantized);
        Assert.True(weight.detach().eq(before).all().ToBoolean());
        var quantized = BucketedQuantization.Quantize(before, 4, 8).Quantized;
        Assert.Equal(quantized.square().sum().ToDouble(), loss, 10);
        Assert.True((weight.grad! - 2 * quantized).abs().max().ToDouble() < 1e-12);
        Assert.Throws<InvalidOperationException>(() => training.Backward(() => throw new InvalidOperationException("stop")));
        Assert.True(weight.detach().eq(before).all().ToBoolean());
        long[] counts = training.Finish();
        Assert.Equal(16, counts.Sum());
        Assert.True((weight.detach() - quantized).abs().max().ToDouble() < 1e-12);
    }

    [Fact]
    public void SizesOfKnownCodes()
    {
        Assert.Equal(0, QuantizationSize.HuffmanBits([7, 0, 0]));
        Assert.Equal(1.75, QuantizationSize.HuffmanBits([8, 4, 2, 2]), 10);
        Assert.Equal(16, QuantizationSize.AssignPoints([1, 3, 0.5, 2], [4, 4, 4, 4]).Sum());
        Assert.Throws<ArgumentException>(() => QuantizationSize.HuffmanBits([0, 0]));
        Assert.Throws<ArgumentException>(() => QuantizationSize.AssignPoints([1], [4, 4]));
        Assert.Throws<ArgumentException>(() => BucketedQuantization.Quantize(Draw(1, 3), 1));
        Assert.Throws<ArgumentException>(() => BucketedQuantization.Quantize(Draw(1, 3), 4, 0));
    }
}
