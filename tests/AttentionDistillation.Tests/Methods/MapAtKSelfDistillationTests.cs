using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class MapAtKSelfDistillationTests
{
    private static Tensor Ranking(int length, params int[] best)
    {
        var logits = new double[length];
        for (int rank = 0; rank < best.Length; rank++)
            logits[best[rank]] = 100 - rank;
        return tensor(logits).unsqueeze(0);
    }

    private static double Score(Tensor logits, long gold, MapAtKOptions options) =>
        MapAtKSelfDistillation
            .Coefficient(logits, logits, tensor(new[] { gold }), tensor(new[] { gold }), options)
            .Coefficient.item<double>();

    [Theory]
    [InlineData(7, 5, 2, 0.0)] // gold + c lies outside the window: half-open
    [InlineData(6, 5, 2, 1.0)]
    [InlineData(3, 5, 2, 1.0)] // gold - c lies inside
    [InlineData(2, 5, 2, 0.0)]
    public void TheWindowIsHalfOpen(int position, long gold, int context, double expected) =>
        Assert.Equal(expected, Score(Ranking(12, position), gold, new() { K = 1, Context = context }));

    [Fact]
    public void FormsByHand()
    {
        // Ranks 1 to 4: positions 9, 5, 4, 0; gold 5, window 3 ... 6: hits at ranks 2 and 3, 4 positions are relevant.
        var logits = Ranking(12, 9, 5, 4, 0);
        Assert.Equal(1.0 / 2, Score(logits, 5, new() { K = 4, Context = 2 }), 1e-12);
        Assert.Equal(1.0 / 2, Score(logits, 5, new() { K = 4, Score = RankScore.ReciprocalRank }), 1e-12);
        Assert.Equal(
            (1.0 / 2 + 2.0 / 3) / 4,
            Score(
                logits,
                5,
                new()
                {
                    K = 4,
                    Context = 2,
                    Score = RankScore.AveragePrecision,
                }
            ),
            1e-12
        );
        Assert.Equal(1, Score(logits, 5, new() { Score = RankScore.None }));
        Assert.Equal(0, Score(logits, 40, new() { K = 4 })); // the answer lies outside this window of text
    }

    [Fact]
    public void EqualLogitsKeepTheirOrder() =>
        Assert.Equal(
            1.0 / 3,
            Score(zeros(1, 12, dtype: ScalarType.Float64), 2, new() { K = 5, Score = RankScore.ReciprocalRank }),
            1e-12
        );

    [Fact]
    public void TemperatureAndShiftCannotMatter()
    {
        var logits = new RandomTensors(1).Normal(4, 20);
        var gold = tensor(new[] { 3L, 0, 19, 7 });
        var options = new MapAtKOptions { K = 6, Context = 3 };
        var plain = MapAtKSelfDistillation.Coefficient(logits, logits, gold, gold, options).Start;
        Check.Close(plain, MapAtKSelfDistillation.Coefficient((logits * 5) + 1, logits, gold, gold, options).Start, 1e-12);
    }

    [Theory]
    [InlineData(CoefficientScope.Batch)]
    [InlineData(CoefficientScope.Example)]
    public void TheLossHasItsGradientAndTheTeacherNone(CoefficientScope scope)
    {
        var random = new RandomTensors(2);
        var (teacherStart, teacherEnd) = (random.Learned(3, 12), random.Learned(3, 12));
        var (start, end) = (tensor(new[] { 2L, 5, 30 }), tensor(new[] { 4L, 5, 31 }));
        var options = new MapAtKOptions
        {
            K = 4,
            Context = 2,
            Scope = scope,
            Direction = DivergenceDirection.Symmetric,
        };
        var mask = RandomTensors.Mask(12, 12, 9, 12);
        Check.Gradients(
            inputs =>
                MapAtKSelfDistillation.Loss(teacherStart, teacherEnd, inputs[0], inputs[1], start, end, mask, options).Total,
            [random.Normal(3, 12), random.Normal(3, 12)]
        );
        MapAtKSelfDistillation
            .Loss(teacherStart, teacherEnd, random.Learned(3, 12), random.Learned(3, 12), start, end, mask, options)
            .Total.backward();
        Assert.Null(teacherStart.grad);
    }

    [Fact]
    public void ABatchOfOneDoesNotTellTheScopesApart()
    {
        var random = new RandomTensors(3);
        Tensor[] logits = [.. Enumerable.Range(0, 4).Select(_ => random.Normal(1, 15))];
        var gold = tensor(new[] { 6L });
        Tensor Total(CoefficientScope scope) =>
            MapAtKSelfDistillation
                .Loss(logits[0], logits[1], logits[2], logits[3], gold, gold, null, new() { Scope = scope })
                .Total;
        Check.Close(Total(CoefficientScope.Batch), Total(CoefficientScope.Example), 1e-12);
    }

    [Fact]
    public void LanguagesAreDrawnWithoutReplacementAndThePivotComesFirst()
    {
        long[] all = [4, 0, 1, 2, 3];
        for (int seed = 0; seed < 20; seed++)
        {
            long[] drawn = MapAtKSelfDistillation.DrawLanguages(all, 0, 2, new Random(seed));
            Assert.Equal(3, drawn.Distinct().Count());
            Assert.Equal(0, drawn[0]);
        }
        Assert.Equal([0, 1, 2, 3, 4], MapAtKSelfDistillation.DrawLanguages(all, 0, 9, new Random(1)));
        Assert.Throws<ArgumentException>(() => MapAtKSelfDistillation.DrawLanguages(all, 7, 2, new Random(1)));
    }

    [Fact]
    public void NonsenseIsRefused()
    {
        var (logits, gold) = (zeros(2, 6), zeros(2, dtype: ScalarType.Int64));
        ArgumentException Refused(MapAtKOptions options) =>
            Assert.Throws<ArgumentException>(() => MapAtKSelfDistillation.Coefficient(logits, logits, gold, gold, options));
        Assert.Contains("length 6", Refused(new() { K = 7 }).Message, StringComparison.Ordinal);
        Assert.Contains("window", Refused(new() { K = 2, Context = 0 }).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => MapAtKSelfDistillation.Coefficient(logits, zeros(2, 5), gold, gold));
    }
}
