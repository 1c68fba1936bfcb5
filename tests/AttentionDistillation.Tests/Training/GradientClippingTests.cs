using AttentionDistillation.Runtime;
using AttentionDistillation.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

public sealed class GradientClippingTests
{
    [Theory]
    [InlineData(0.5)]
    [InlineData(1e6)] // far above the norm: nothing changes
    public void MatchesClipGradNorm(double most)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(3, "gradients");
        Tensor[] gradients =
        [
            randn([3, 4], ScalarType.Float64, generator: generator),
            randn([5], ScalarType.Float64, generator: generator),
        ];
        Parameter[] parameters = [.. gradients.Select(item => new Parameter(zeros_like(item)))];
        foreach (var (parameter, gradient) in parameters.Zip(gradients))
            parameter.grad = gradient.clone();
        double expected = nn.utils.clip_grad_norm_(parameters, most);
        Assert.Equal(expected, GradientClipping.ByGlobalNorm(gradients, most).ToDouble(), 1e-12);
        // float64: a few roundings of numbers of size 1.
        foreach (var (parameter, gradient) in parameters.Zip(gradients))
            Assert.True(gradient.allclose(parameter.grad!, 1e-12, 1e-14));
    }

    [Theory]
    [InlineData(3.0, 0.5, 6.000002)]
    [InlineData(0.25, 0.5, 1.0)]
    [InlineData(0.0, 0.5, 1.0)]
    public void TheDivisorIsAtLeastOne(double norm, double most, double expected)
    {
        using var scope = NewDisposeScope();
        Assert.Equal(expected, GradientClipping.Divisor(tensor(norm), most).ToDouble(), 1e-12);
    }

    [Fact]
    public void ANormThatIsNotPositiveIsRefused()
    {
        using var scope = NewDisposeScope();
        Assert.Throws<ArgumentException>(() => GradientClipping.ByGlobalNorm([ones(2)], 0));
        Assert.Throws<ArgumentException>(() => GradientClipping.Divisor(tensor(1.0), double.NaN));
        Assert.Throws<ArgumentException>(() => GradientClipping.ByGlobalNorm([], 1.0));
    }
}
