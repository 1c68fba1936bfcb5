using AttentionDistillation.Analysis;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Analysis;

/// <summary>Fidelity, classification metrics and cost, against values worked out by hand.</summary>
public class ScoreTests
{
    private const double Rounding = 1e-12; // float64 sums of a few dozen terms

    private static Tensor Normal(long seed, params long[] shape) =>
        randn(shape, dtype: ScalarType.Float64, generator: new Generator((ulong)seed, CPU));

    [Fact]
    public void LogitKl()
    {
        var teacher = tensor(new[] { Math.Log(0.5), Math.Log(0.5), double.NegativeInfinity }).unsqueeze(0);
        var student = tensor(new[] { Math.Log(0.25), Math.Log(0.5), Math.Log(0.25) }).unsqueeze(0);
        Assert.Equal(0.5 * Math.Log(2), Fidelity.LogitKl(teacher, student, null), Rounding);
        Assert.Equal(0, Fidelity.LogitKl(teacher, teacher, null), Rounding);
        Assert.Equal(double.PositiveInfinity, Fidelity.LogitKl(student, teacher, null));
        Tensor a = Normal(1, 2, 3, 5),
            b = Normal(2, 2, 3, 5);
        Assert.Equal(4 * Fidelity.LogitKl(a / 2, b / 2, null), Fidelity.LogitKl(a, b, null, temperature: 2), Rounding);
        Assert.Throws<ArgumentException>(() => Fidelity.LogitKl(a, b, null, temperature: 0));
        Assert.Throws<ArgumentException>(() => Fidelity.LogitKl(a, b.narrow(1, 0, 2), null));
    }

    [Fact]
    public void MaskedPositionsDoNotCount()
    {
        var mask = tensor(new[] { true, true, false, true, false, false }).reshape(2, 3);
        Tensor a = Normal(1, 2, 3, 5),
            b = Normal(2, 2, 3, 5);
        Tensor noise = Normal(3, 2, 3, 5).masked_fill(mask.unsqueeze(-1), 0) * 100;
        foreach (
            var measure in (Func<Tensor, Tensor, Tensor?, double>[])
                [(x, y, m) => Fidelity.LogitKl(x, y, m), Fidelity.TopOneAgreement, Fidelity.LinearCka]
        )
        {
            double expected = measure(a[mask], b[mask], null);
            Assert.Equal(expected, measure(a + noise, b - noise, mask), Rounding);
            Assert.True(double.IsNaN(measure(a, b, zeros_like(mask))));
        }
    }

    [Fact]
    public void Agreement()
    {
        var teacher = eye(4, dtype: ScalarType.Float64);
        var student = teacher.clone();
        student[0, 1] = 5;
        Assert.Equal(0.75, Fidelity.TopOneAgreement(teacher, student, null));
    }

    [Fact]
    public void LinearCkaIsThatOfGramMatrices()
    {
        Tensor x = Normal(1, 10, 4),
            y = Normal(2, 10, 6);
        var centre = eye(10, dtype: ScalarType.Float64) - 0.1;
        Tensor Gram(Tensor rows) => centre.mm(rows).mm(rows.t()).mm(centre);
        double Hsic(Tensor a, Tensor b) => (Gram(a) * Gram(b)).sum().item<double>();
        Assert.Equal(Hsic(x, y) / Math.Sqrt(Hsic(x, x) * Hsic(y, y)), Fidelity.LinearCka(x, y, null), Rounding);
        var (rotation, _) = linalg.qr(Normal(3, 4, 4));
        Assert.Equal(1, Fidelity.LinearCka(x, x.mm(rotation) * 3 + 7, null), Rounding);
        Assert.True(double.IsNaN(Fidelity.LinearCka(ones_like(x), y, null)));
    }

    [Fact]
    public void ClassMetrics()
    {
        var labels = tensor(new long[] { 0, 0, 1, 1, 2, Batch.IgnoredLabel, 2 });
        var predicted = tensor(new long[] { 0, 1, 1, 1, 0, 0, 2 });
        var mask = tensor(new[] { true, true, true, true, true, true, false });
        Assert.Equal(0.6, ClassificationMetrics.Accuracy(predicted, labels, mask), Rounding);
        // F1: class 0 2/(2+2), class 1 4/(3+2), class 2 0
        Assert.Equal((0.5 + 0.8 + 0) / 3, ClassificationMetrics.MacroF1(predicted, labels, mask), Rounding);
        // c s - sum p t = 3*5 - (2*2 + 3*2 + 0*1) = 5; s^2 - sum p^2 = 25 - 13; s^2 - sum t^2 = 25 - 9
        Assert.Equal(5 / Math.Sqrt(12 * 16), ClassificationMetrics.MatthewsCorrelation(predicted, labels, mask), Rounding);
        Assert.Equal(4.0 / 6, ClassificationMetrics.Accuracy(predicted, labels, null), Rounding);
        Assert.True(double.IsNaN(ClassificationMetrics.MacroF1(predicted, labels, zeros_like(mask))));
        Assert.Throws<ArgumentException>(() => ClassificationMetrics.Accuracy(predicted, labels.narrow(0, 0, 3), null));
    }

    [Fact]
    public void BinaryMatthewsIsTheFormulaOfTheFourCounts()
    {
        var labels = tensor(new long[] { 1, 1, 1, 0, 0, 0, 0 });
        var predicted = tensor(new long[] { 1, 1, 0, 0, 0, 0, 1 });
        const double Tp = 2,
            Tn = 3,
            Fp = 1,
            Fn = 1;
        double expected = (Tp * Tn - Fp * Fn) / Math.Sqrt((Tp + Fp) * (Tp + Fn) * (Tn + Fp) * (Tn + Fn));
        Assert.Equal(expected, ClassificationMetrics.MatthewsCorrelation(predicted, labels, null), Rounding);
        Assert.Equal(0, ClassificationMetrics.MatthewsCorrelation(zeros_like(labels), labels, null));
    }

    [Fact]
    public void CalibrationError()
    {
        var probabilities = tensor(new[] { 0.9, 0.1, 0.8, 0.2, 0.4, 0.6, 0.5, 0.5 }).reshape(4, 2);
        var labels = tensor(new long[] { 0, 1, 1, Batch.IgnoredLabel });
        // Two bins: (0, 0.5] is empty, (0.5, 1] has accuracy 2/3 and mean confidence 2.3/3.
        Assert.Equal(0.1, ClassificationMetrics.ExpectedCalibrationError(probabilities, labels, null, bins: 2), Rounding);
        // Ten bins: 0.9 right, 0.8 wrong, 0.6 right, each alone.
        Assert.Equal(
            (0.1 + 0.8 + 0.4) / 3,
            ClassificationMetrics.ExpectedCalibrationError(probabilities, labels, null, bins: 10),
            Rounding
        );
        Assert.Equal(Math.E, ClassificationMetrics.Perplexity(1));
    }

    [Fact]
    public void Costs()
    {
        using var layer = nn.Linear(3, 4);
        Assert.Equal((16L, 64L), (ModelCost.Parameters(layer), ModelCost.Bytes(layer)));
        using var tied = nn.Sequential(("a", layer), ("b", layer));
        Assert.Equal(16, ModelCost.Parameters(tied));
        using var norm = nn.BatchNorm1d(4); // 8 parameters, 8 running figures in float32, 1 count in int64
        Assert.Equal((8L, 72L), (ModelCost.Parameters(norm), ModelCost.Bytes(norm)));
        // L = 3, C = 2, F = 5, V = 7: 2 x (2 x (48 + 36 + 60) + 42)
        Assert.Equal(660, ModelCost.ForwardOperations(new(2, 2, 5, 7), 3));
    }
}
