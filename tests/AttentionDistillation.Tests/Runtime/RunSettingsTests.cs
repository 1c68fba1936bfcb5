using AttentionDistillation.Runtime;

namespace AttentionDistillation.Tests.Runtime;

public sealed class RunSettingsTests
{
    [Theory]
    [InlineData(null, Scale.Small)]
    [InlineData("", Scale.Small)]
    [InlineData("smoke", Scale.Smoke)]
    [InlineData(" Large ", Scale.Large)]
    public void ScalesAreReadByName(string? name, Scale expected) => Assert.Equal(expected, RunSettings.ParseScale(name));

    [Theory]
    [InlineData("huge")]
    [InlineData("1")]
    [InlineData("-1")]
    [InlineData("Smoke,Large")]
    public void OtherScalesAreRefusedWithTheChoice(string name) =>
        Assert.Contains(
            "Use smoke, small or large",
            Assert.Throws<ArgumentException>(() => RunSettings.ParseScale(name)).Message
        );

    [Fact]
    public void ThreeValuesLieSideBySide()
    {
        var steps = new ByScale<int>(Smoke: 10, Small: 100, Large: 1_000);
        Assert.Equal([10, 100, 1_000], Enum.GetValues<Scale>().Select(scale => steps[scale]));
        Assert.Throws<ArgumentOutOfRangeException>(() => steps[(Scale)7]);
    }
}
