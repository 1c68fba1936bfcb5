using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

public sealed class ExponentialMovingAverageTests
{
    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void FollowsItsFormula(ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var model = nn.Linear(2, 1, hasBias: false);
        using (no_grad())
            model.weight!.fill_(1.0);
        model.to(type);
        using var average = new ExponentialMovingAverage(model, 0.75);
        double expected = 1.0;
        foreach (double value in (double[])[2.0, -1.0, 4.0])
        {
            using (no_grad())
                model.weight!.fill_(value);
            average.Update();
            expected = 0.75 * expected + 0.25 * value;
        }
        var kept = average.Values.Single().Value;
        Assert.Equal(ScalarType.Float32, kept.dtype);
        Assert.Equal(expected, kept.max().ToSingle(), 1e-6);
        using (average.Lend(model))
            Assert.Equal(expected, model.weight!.max().to(ScalarType.Float32).ToSingle(), 0.01); // bfloat16 rounds by up to 1/256
        Assert.Equal(4f, model.weight!.max().to(ScalarType.Float32).ToSingle());
        average.CopyTo(model);
        Assert.Equal(expected, model.weight!.max().to(ScalarType.Float32).ToSingle(), 0.01);
    }

    [Fact]
    public void RefusesWhatCannotBe()
    {
        using var model = nn.Linear(2, 1);
        using var other = nn.Linear(2, 1, hasBias: false);
        Assert.Contains(
            "between 0 and 1",
            Assert.Throws<ArgumentException>(() => new ExponentialMovingAverage(model, 1.0)).Message
        );
        using var average = new ExponentialMovingAverage(model, 0.9);
        Assert.Contains("no parameter 'bias'", Assert.Throws<ArgumentException>(() => average.CopyTo(other)).Message);
    }
}
