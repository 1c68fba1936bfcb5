using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

public class LogitAndStateLossTests
{
    [Fact]
    public void KlByHand()
    {
        // p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2).
        var teacher = tensor(
            new[,]
            {
                { Math.Log(3.0), 0.0 },
            }
        );
        var student = tensor(
            new[,]
            {
                { 0.0, 0.0 },
            }
        );
        double expected = 0.75 * Math.Log(1.5) + 0.25 * Math.Log(0.5);
        Assert.Equal(expected, Divergences.KlDivergence(teacher, student, null).item<double>(), 12);
    }

    [Fact]
    public void TemperatureScalesByItsSquare()
    {
        var random = new RandomTensors(1);
        var (teacher, student) = (random.Normal(6, 5), random.Normal(6, 5));
        Check.Close(
            Divergences.KlDivergence(teacher / 2.5, student / 2.5, null) * 6.25,
            Divergences.KlDivergence(teacher, student, null, 2.5),
            1e-12
        );
    }

    [Fact]
    public void LogitKlGradientAndMask()
    {
        var random = new RandomTensors(2);
        var teacher = random.Normal(2, 3, 4);
        var mask = RandomTensors.Mask(3, 3, 1);
        Check.Gradients(student => Divergences.KlDivergence(teacher, student[0], mask, 2.0), [random.Normal(2, 3, 4)]);
        var student = random.Normal(2, 3, 4);
        var kept = cat([teacher[0], teacher[1, ..1]], 0);
        Check.Close(
            Divergences.KlDivergence(kept, cat([student[0], student[1, ..1]], 0), null),
            Divergences.KlDivergence(teacher, student, mask),
            1e-12
        );
    }

    [Fact]
    public void LogitKlRefusesNonsense()
    {
        Assert.Throws<ArgumentException>(() => Divergences.KlDivergence(zeros(2, 3), zeros(2, 4), null));
        Assert.Throws<ArgumentException>(() => Divergences.KlDivergence(zeros(2, 3), zeros(2, 3), null, 0));
        Assert.Throws<ArgumentException>(() => Divergences.KlDivergence(zeros(2, 3), zeros(2, 3), null, double.NaN));
    }

    [Fact]
    public void HiddenStatesLeavePaddingOut()
    {
        var random = new RandomTensors(3);
        var (teacher, student) = (random.Normal(2, 5, 4), random.Normal(2, 5, 4));
        var mask = RandomTensors.Mask(5, 5, 2);
        var (realTeacher, realStudent) = (cat([teacher[0], teacher[1, ..2]], 0), cat([student[0], student[1, ..2]], 0));
        Check.Close((realTeacher - realStudent).square().mean(), HiddenStates.MeanSquaredError(teacher, student, mask), 1e-12);
        Check.Close(
            1.0 - nn.functional.cosine_similarity(realStudent, realTeacher, -1).mean(),
            HiddenStates.CosineDistance(teacher, student, mask),
            1e-12
        );
        Check.Gradients(inputs => HiddenStates.MeanSquaredError(teacher, inputs[0], mask), [student]);
        Check.Gradients(inputs => HiddenStates.CosineDistance(teacher, inputs[0], mask), [student]);
        Assert.Contains(
            "project",
            Assert.Throws<ArgumentException>(() => HiddenStates.MeanSquaredError(teacher, student[.., .., ..2], mask)).Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ScoresErrorIsThatOfRealPairs(bool causal)
    {
        var random = new RandomTensors(4);
        Tensor[] teacher = [random.Normal(2, 2, 4, 3), random.Normal(2, 2, 4, 3)];
        var mask = RandomTensors.Mask(4, 4, 2);
        AttentionState State(Tensor q, Tensor k) => new(q, k, k, mask, causal);
        Tensor[] student = [random.Normal(2, 2, 4, 5), random.Normal(2, 2, 4, 5)];
        double sum = 0;
        int count = 0;
        var (ts, ss) = (
            matmul(teacher[0], teacher[1].transpose(-2, -1)) / Math.Sqrt(3),
            matmul(student[0], student[1].transpose(-2, -1)) / Math.Sqrt(5)
        );
        for (int b = 0; b < 2; b++)
        for (int h = 0; h < 2; h++)
        for (int i = 0; i < (b == 0 ? 4 : 2); i++)
        for (int j = 0; j < (b == 0 ? 4 : 2) && (!causal || j <= i); j++, count++)
            sum += Math.Pow((ts[b, h, i, j] - ss[b, h, i, j]).item<double>(), 2);
        var loss = AttentionMaps.ScoresMeanSquaredError(State(teacher[0], teacher[1]), State(student[0], student[1]));
        Assert.Equal(sum / count, loss.item<double>(), 10);
        Check.Gradients(
            inputs => AttentionMaps.ScoresMeanSquaredError(State(teacher[0], teacher[1]), State(inputs[0], inputs[1])),
            student
        );
    }

    [Fact]
    public void TheAuthorsCodeCountsPaddingAsZero()
    {
        var random = new RandomTensors(5);
        var mask = RandomTensors.Mask(4, 2);
        AttentionState State() => new(random.Normal(1, 1, 4, 3), random.Normal(1, 1, 4, 3), random.Normal(1, 1, 4, 3), mask);
        var (teacher, student) = (State(), State());
        var difference = (teacher.Scores() - student.Scores()).narrow(-1, 0, 2);
        Check.Close(
            difference.square().sum() / 16,
            AttentionMaps.ScoresMeanSquaredError(teacher, student, Convention.Code),
            1e-12
        );
    }

    [Fact]
    public void TermsAddUpAndAreNamed()
    {
        var terms = new LossTerms().Add("a", tensor(2.0)).Add("b", tensor(3.0), 0.5);
        Assert.Equal(3.5, terms.Total.item<double>());
        Assert.Equal(3.0, terms["b"].item<double>());
        Assert.Throws<ArgumentException>(() => terms.Add("a", tensor(1.0)));
        Assert.Throws<ArgumentException>(() => terms.Add("c", zeros(2)));
        Assert.Contains("a, b", Assert.Throws<KeyNotFoundException>(() => terms["c"]).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => new LossTerms().Total);
    }
}
