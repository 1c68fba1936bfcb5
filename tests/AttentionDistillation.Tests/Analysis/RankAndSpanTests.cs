using AttentionDistillation.Analysis;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Analysis;

/// <summary>Rank, span, answer and sampling metrics against values worked out by hand or by counting.</summary>
public class RankAndSpanTests
{
    private const double Rounding = 1e-12;

    [Fact]
    public void TiesShareTheirRanks()
    {
        Assert.Equal([4, 1.5, 3, 1.5], RankMetrics.AverageRanks([9, 2, 5, 2]));
        Assert.Throws<ArgumentException>(() => RankMetrics.AverageRanks([1, double.NaN]));
    }

    [Fact]
    public void SpearmanSeesOnlyTheOrder()
    {
        double[] x = [3, 1, 4, 1, 5, 9, 2, 6],
            y = [2, 7, 1, 8, 2, 8, 1, 8];
        double plain = RankMetrics.Spearman(x, y);
        Assert.Equal(plain, RankMetrics.Spearman([.. x.Select(value => Math.Exp(value))], y), Rounding);
        Assert.Equal(-plain, RankMetrics.Spearman([.. x.Select(value => -value)], y), Rounding);
        Assert.Equal(1, RankMetrics.Spearman(x, x), Rounding);
        Assert.NotEqual(plain, RankMetrics.Pearson(x, y), 1e-3);
        Assert.Equal(plain, RankMetrics.Spearman(tensor(x), tensor(y)), Rounding);
    }

    [Fact]
    public void CorrelationsThatDoNotExistAreNaN()
    {
        Assert.True(double.IsNaN(RankMetrics.Pearson([1.0, 1, 1], [1.0, 2, 3])));
        Assert.True(double.IsNaN(RankMetrics.Spearman([1.0], [1.0])));
        Assert.True(double.IsNaN(RankMetrics.RocAuc([0.1, 0.2], [true, true])));
        Assert.Throws<ArgumentException>(() => RankMetrics.Pearson([1.0, 2], [1.0]));
        Assert.Throws<ArgumentException>(() => RankMetrics.RocAuc([1.0, 2], [true]));
    }

    [Fact]
    public void AucCountsPairs()
    {
        double[] scores = [0.1, 0.4, 0.4, 0.8, 0.4, 0.2];
        bool[] positive = [false, true, false, true, true, false];
        var pairs =
            from p in Enumerable.Range(0, 6).Where(i => positive[i])
            from n in Enumerable.Range(0, 6).Where(i => !positive[i])
            select scores[p] > scores[n] ? 1
            : scores[p] == scores[n] ? 0.5
            : 0;
        Assert.Equal(pairs.Average(), RankMetrics.RocAuc(scores, positive), Rounding);
    }

    [Fact]
    public void BestSpanIsTheBestOfAllAllowedPairs()
    {
        var generator = new Generator(1, CPU);
        var (start, end) = (
            randn(5, 9, dtype: ScalarType.Float64, generator: generator),
            randn(5, 9, dtype: ScalarType.Float64, generator: generator)
        );
        var valid = rand(5, 9, generator: generator) > 0.4;
        var spans = SpanMetrics.BestSpans(start, end, valid, nBest: 9, maxLength: 4);
        for (int row = 0; row < 5; row++)
        {
            var best = (
                from i in Enumerable.Range(0, 9)
                from j in Enumerable.Range(i, Math.Min(4, 9 - i))
                where valid[row, i].item<bool>() && valid[row, j].item<bool>()
                select (Score: start[row, i].item<double>() + end[row, j].item<double>(), i, j)
            ).Max();
            Assert.Equal((best.i, best.j), (spans[row, 0].item<long>(), spans[row, 1].item<long>()));
        }
        var ranked = SpanMetrics.RankedSpans(start, end, valid, 5, 9, 4);
        Assert.All(ranked, list => Assert.True(list.Zip(list.Skip(1)).All(pair => pair.First.Score >= pair.Second.Score)));
        var none = SpanMetrics.BestSpans(start, end, zeros(5, 9, dtype: ScalarType.Bool));
        Assert.True(none.eq(SpanMetrics.NoSpan).all().item<bool>());
        Assert.Throws<ArgumentException>(() => SpanMetrics.BestSpans(start, end, null, nBest: 0));
    }

    [Fact]
    public void OverlapByHand()
    {
        var score = SpanMetrics.Overlap(
            tensor(
                new long[,]
                {
                    { 2, 4 },
                    { -1, -1 },
                }
            ),
            tensor(
                new long[,]
                {
                    { 3, 4 },
                    { 0, 2 },
                }
            )
        );
        Assert.Equal(0.4, score.F1, Rounding); // 2 of 3 against 2 of 2, and nothing
        Assert.Equal(0, score.ExactMatch);
    }

    [Fact]
    public void EntitiesByHand()
    {
        // B-0 I-0 | stray I-1 | B-0; gold: the first, the last, and one more.
        var predicted = tensor(
            new long[,]
            {
                { 1, 2, 4, 0, 1, 3 },
            }
        );
        var gold = tensor(
            new long[,]
            {
                { 1, 2, 0, 3, 1, 1 },
            }
        );
        var mask = tensor(
            new[,]
            {
                { true, true, true, true, true, false },
            }
        );
        var score = SpanMetrics.EntityF1(predicted, gold, mask);
        Assert.Equal((3, 3, 2), (score.Predicted, score.Gold, score.Correct));
        Assert.Equal(2.0 / 3, score.F1, Rounding);
        var nothing = SpanMetrics.EntityF1(zeros_like(gold), zeros_like(gold), null);
        Assert.Equal((0.0, 0.0, 0.0), (nothing.Precision, nothing.Recall, nothing.F1));
        Assert.Throws<ArgumentException>(() => SpanMetrics.EntityF1(predicted - 2, gold, null));
    }

    [Fact]
    public void AnswersAreComparedByTheirWords()
    {
        Assert.Equal(["quick", "fox"], AnswerText.Words("The quick, (a) FOX!"));
        Assert.Equal(1, AnswerText.ExactMatch("the Fox", ["a dog", "fox."]));
        Assert.Equal(2.0 * 1 / 4, AnswerText.F1("red fox", ["red red dog", "cow"]) * 5 / 4, Rounding);
        Assert.Equal(["北", "京", "2008"], AnswerText.Words("北京 2008"));
        Assert.Equal(1, AnswerText.F1("the", ["..."])); // both empty
        Assert.Throws<ArgumentException>(() => AnswerText.F1("fox", []));
    }

    [Fact]
    public void PassAtKCountsSubsets()
    {
        var correct = tensor(
            new[,]
            {
                { false, true, false, true },
                { false, false, false, true },
                { false, false, false, false },
            }
        );
        // Of the 6 pairs of 4 samples: 5 and 3 and 0 hold a right one.
        Assert.Equal((5.0 / 6 + 0.5) / 3, SamplingMetrics.PassAtK(correct, 2), Rounding);
        Assert.Equal(2.0 / 3, SamplingMetrics.PassAtK(correct, 4), Rounding);
        Assert.Equal(1.0 / 3, SamplingMetrics.SuccessAtK(correct, 2), Rounding);
        Assert.Throws<ArgumentException>(() => SamplingMetrics.PassAtK(correct, 5));
        Assert.Throws<ArgumentException>(() => SamplingMetrics.SuccessAtK(correct, 0));
    }

    [Fact]
    public void CoverageIsMonotonous()
    {
        var correct = rand(20, 8, generator: new Generator(3, CPU)) > 0.7;
        double[] pass = [.. Enumerable.Range(1, 8).Select(k => SamplingMetrics.PassAtK(correct, k))];
        Assert.Equal(correct.to(ScalarType.Float64).mean().item<double>(), pass[0], 1e-12);
        Assert.True(pass.Zip(pass.Skip(1)).All(pair => pair.Second >= pair.First));
        Assert.Equal(SamplingMetrics.SuccessAtK(correct, 8), pass[7], Rounding);
    }
}
