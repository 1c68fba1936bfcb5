using AttentionDistillation.Training;

namespace AttentionDistillation.Tests.Training;

public sealed class ScheduleTests
{
    // Values of transformers' get_*_schedule_with_warmup(num_warmup_steps=4, num_training_steps=12), written out as fractions.
    [Theory]
    [InlineData(0, 0.0)]
    [InlineData(1, 0.25)]
    [InlineData(3, 0.75)]
    [InlineData(4, 1.0)]
    [InlineData(6, 0.75)]
    [InlineData(8, 0.5)]
    [InlineData(11, 0.125)]
    [InlineData(12, 0.0)]
    public void LinearFollowsItsFormula(long step, double expected) =>
        Assert.Equal(expected, Schedule.LinearWarmupThenDecay.Factor(step, 4, 12), 15);

    [Theory]
    [InlineData(2, 0.5)]
    [InlineData(4, 1.0)]
    [InlineData(6, 0.85355339059327373)] // (1 + cos(pi / 4)) / 2
    [InlineData(8, 0.5)]
    [InlineData(12, 0.0)]
    public void CosineFollowsItsFormula(long step, double expected) =>
        Assert.Equal(expected, Schedule.LinearWarmupThenCosine.Factor(step, 4, 12), 15);

    [Theory]
    [InlineData(2, 0.5)]
    [InlineData(4, 1.0)]
    [InlineData(12, 1.0)]
    public void ConstantStaysAfterTheWarmUp(long step, double expected) =>
        Assert.Equal(expected, Schedule.Constant.Factor(step, 4, 12), 15);

    [Fact]
    public void WithoutWarmUpTheFirstStepHasTheWholeRate()
    {
        Assert.Equal(1.0, Schedule.LinearWarmupThenDecay.Factor(0, 0, 10));
        Assert.Equal(1.0, Schedule.LinearWarmupThenCosine.Factor(0, 0, 10));
        Assert.Equal(1.0, Schedule.LinearWarmupThenDecay.Factor(10, 10, 10));
    }

    [Fact]
    public void OnesOwnScheduleIsAsked()
    {
        var halves = Schedule.Custom("halves", (step, warmUp, steps) => step < (warmUp + steps) / 2 ? 1.0 : 0.5);
        Assert.Equal(1.0, halves.Factor(5, 2, 12));
        Assert.Equal(0.5, halves.Factor(7, 2, 12));
        Assert.Equal("halves", halves.ToString());
    }

    [Fact]
    public void NumbersOutOfRangeAreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Schedule.Constant.Factor(-1, 0, 10));
        Assert.Throws<ArgumentOutOfRangeException>(() => Schedule.Constant.Factor(0, 11, 10));
        Assert.Throws<ArgumentException>(() => Schedule.Custom(" ", (_, _, _) => 1.0));
    }
}
