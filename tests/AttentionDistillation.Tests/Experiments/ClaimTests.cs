using AttentionDistillation.Experiments;

namespace AttentionDistillation.Tests.Experiments;

public class ClaimTests
{
    private static ClaimOutcome Judge(Claim claim, params double[] differences) =>
        claim.Judge(
            differences.Select((value, seed) => ((long)seed, value)).ToDictionary(pair => pair.Item1, pair => pair.value)
        );

    private static readonly Claim Higher = new("a beats b", "a", "b", "score");

    [Fact]
    public void TheFiguresAreThoseOfAPairedTTest()
    {
        var outcome = Judge(Higher, 1, 2, 3);
        Assert.Equal(ClaimVerdict.Holds, outcome.Verdict); // 2 > 2 x 0.577
        Assert.Equal((2.0, 1.0, 3), (outcome.Difference, outcome.StandardDeviation, outcome.N));
        Assert.Equal(1 / Math.Sqrt(3), outcome.StandardError, 1e-15);
        Assert.Equal(2 - 4.302653 / Math.Sqrt(3), outcome.Lower, 1e-6);
        Assert.Equal(2 + 4.302653 / Math.Sqrt(3), outcome.Upper, 1e-6);
    }

    [Theory]
    [InlineData(ClaimVerdict.Holds, ClaimDirection.Higher, 0, new[] { 1.0, 1.1, 0.9 })]
    [InlineData(ClaimVerdict.Fails, ClaimDirection.Higher, 0, new[] { -1.0, -2.0, -3.0 })] // 3.5 standard errors, yet the interval reaches above 0
    [InlineData(ClaimVerdict.Fails, ClaimDirection.Lower, 0, new[] { 1.0, 1.1, 0.9 })]
    [InlineData(ClaimVerdict.Holds, ClaimDirection.Lower, 0, new[] { -1.0, -1.1, -0.9 })]
    [InlineData(ClaimVerdict.Fails, ClaimDirection.Higher, 5, new[] { 1.0, 1.1, 0.9 })]
    [InlineData(ClaimVerdict.Inconclusive, ClaimDirection.Higher, 1, new[] { 1.0, 1.1, 0.9 })]
    [InlineData(ClaimVerdict.Inconclusive, ClaimDirection.Higher, 0, new[] { -1.0, 2.0, 0.5 })]
    [InlineData(ClaimVerdict.Holds, ClaimDirection.Higher, -1, new[] { -0.1, -0.11, -0.09 })]
    [InlineData(ClaimVerdict.Holds, ClaimDirection.Higher, 0, new[] { 0.1, 0.1, 0.1 })]
    [InlineData(ClaimVerdict.Fails, ClaimDirection.Higher, 0, new[] { -0.1, -0.1, -0.1 })]
    [InlineData(ClaimVerdict.Inconclusive, ClaimDirection.Higher, 0, new[] { 0.0, 0.0, 0.0 })]
    [InlineData(ClaimVerdict.Inconclusive, ClaimDirection.Higher, 0, new[] { 1.0, double.NaN })]
    [InlineData(ClaimVerdict.Inconclusive, ClaimDirection.Higher, 0, new[] { 1.0, double.PositiveInfinity })]
    [InlineData(ClaimVerdict.Inconclusive, ClaimDirection.Higher, 0, new[] { 1.0 })]
    [InlineData(ClaimVerdict.Inconclusive, ClaimDirection.Higher, 0, new double[0])]
    public void Verdicts(ClaimVerdict expected, ClaimDirection direction, double margin, double[] differences) =>
        Assert.Equal(expected, Judge(Higher with { Direction = direction, Margin = margin }, differences).Verdict);

    [Fact]
    public void TooFewSeedsAreTheReason() => Assert.Contains("at least 2", Judge(Higher, 1).Reason);

    [Fact]
    public void AConjunctionListsEveryPart()
    {
        var result = AblationTests.ResultOf(("a", [3, 3.1]), ("c", [1, 3]), ("d", [0, 0.1]), ("b", [2, 2]));
        Claim Part(string variant) => new($"{variant} beats b", variant, "b", "score");
        ClaimVerdict Whole(params string[] variants) =>
            new ClaimConjunction("all", [.. variants.Select(Part)]).Judge(result).Verdict;
        Assert.Equal(ClaimVerdict.Holds, Whole("a"));
        Assert.Equal(ClaimVerdict.Inconclusive, Whole("a", "c"));
        Assert.Equal(ClaimVerdict.Fails, Whole("a", "c", "d"));
        var outcome = new ClaimConjunction("all", [Part("a"), Part("c"), Part("d")]).Judge(result);
        Assert.Equal(
            [ClaimVerdict.Holds, ClaimVerdict.Inconclusive, ClaimVerdict.Fails],
            outcome.Parts.Select(part => part.Verdict)
        );
        Assert.Throws<InvalidOperationException>(() => Whole());
    }
}
