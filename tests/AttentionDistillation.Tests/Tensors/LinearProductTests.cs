using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Tensors;

/// <summary>Linear layers on rows give what they give on any rank.</summary>
public sealed class LinearProductTests
{
    /// <summary>float64: only the order of sums may differ.</summary>
    private const double Tolerance = 1e-13;

    public static TheoryData<long[], bool> Inputs =>
        new()
        {
            { [4], true },
            { [3, 4], true },
            { [2, 3, 4], true },
            { [2, 3, 4], false },
            { [2, 1, 3, 4], true },
            { [0, 3, 4], true },
        };

    [Theory]
    [MemberData(nameof(Inputs))]
    public void ValuesAndGradientsAreTheLayers(long[] shape, bool hasBias)
    {
        using var scope = NewDisposeScope();
        var layer = new SeededLayers(1, 0.5).Linear(4, 5, hasBias);
        layer.to(ScalarType.Float64);
        var input = arange(shape.Aggregate(1L, (a, b) => a * b), dtype: ScalarType.Float64).sin().view(shape).requires_grad_();
        Tensor[] Results(Tensor output)
        {
            Tensor[] from = [input, .. layer.parameters()];
            return [output, .. autograd.grad([(output * output.detach().cos()).sum()], from)];
        }
        var expected = Results(layer.call(input));
        foreach (var form in (Tensor[])[layer.Project(input), LinearProduct.Of(input, layer.weight!, layer.bias)])
        foreach (var (one, other) in expected.Zip(Results(form)))
        {
            Assert.Equal(one.shape, other.shape);
            Assert.True((one - other).abs().le(Tolerance).all().ToBoolean());
        }
    }

    [Fact]
    public void AViewInAnyMemoryOrderWillDo()
    {
        using var scope = NewDisposeScope();
        var layer = new SeededLayers(1, 0.5).Linear(4, 5);
        var input = arange(24, dtype: ScalarType.Float32).view(2, 4, 3).transpose(1, 2);
        Assert.True((layer.call(input) - layer.Project(input)).abs().le(1e-5).all().ToBoolean());
    }

    [Fact]
    public void ThePlaceOfTheFeaturesIsChecked()
    {
        using var scope = NewDisposeScope();
        var layer = new SeededLayers(1, 0.5).Linear(4, 5);
        Assert.Contains("4 features", Assert.Throws<ArgumentException>(() => layer.Project(zeros(4, 3))).Message);
        Assert.Throws<ArgumentException>(() => layer.Project(zeros(2, 2)));
    }
}
