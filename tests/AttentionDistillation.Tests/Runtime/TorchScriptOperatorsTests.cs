using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Runtime;

/// <summary>Each operator beside the same arithmetic in plain C#.</summary>
public sealed class TorchScriptOperatorsTests
{
    private static Tensor[] Random(long seed, ScalarType type = ScalarType.Float64)
    {
        using var generator = Seeds.Generator(seed, "operators");
        return
        [
            randn([3, 4], type, generator: generator),
            randn([5], type, generator: generator),
            randn([], type, generator: generator),
        ];
    }

    private static double[] Host(Tensor[] tensors) =>
        [.. tensors.SelectMany(item => item.to(ScalarType.Float64).reshape(-1).data<double>().ToArray())];

    private static void Near(double[] expected, Tensor[] actual, double tolerance)
    {
        double[] values = Host(actual);
        Assert.Equal(expected.Length, values.Length);
        for (int i = 0; i < values.Length; i++)
            Assert.True(
                Math.Abs(expected[i] - values[i]) <= tolerance * Math.Max(1, Math.Abs(expected[i])),
                $"Element {i} is {values[i]}, expected {expected[i]}."
            );
    }

    // The norm of n numbers rounds a few times in each dtype: 1e-12 for float64, 1e-6 for float32; bfloat16 numbers are summed in float32.
    [Theory]
    [InlineData(ScalarType.Float64, 1e-12)]
    [InlineData(ScalarType.Float32, 1e-6)]
    [InlineData(ScalarType.BFloat16, 1e-6)]
    public void GlobalNormIsTheRootOfTheSumOfSquares(ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        var tensors = Random(1, type);
        double expected = Math.Sqrt(Host(tensors).Sum(value => value * value));
        var norm = TorchScriptOperators.GlobalNorm(tensors);
        Assert.Equal(type == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32, norm.dtype);
        Near([expected], [norm], tolerance);
    }

    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.BFloat16)]
    public void ScaleAllMultiplies(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var tensors = Random(2, type);
        double[] expected = [.. Host(tensors).Select(value => value * 0.5)]; // halving is exact in every dtype
        TorchScriptOperators.ScaleAll(tensors, tensor(0.5f));
        Near(expected, tensors, 0);
    }

    [Fact]
    public void CopyAllConverts()
    {
        using var scope = NewDisposeScope();
        var sources = Random(4, ScalarType.BFloat16);
        Tensor[] targets = [.. sources.Select(item => zeros(item.shape, ScalarType.Float32))];
        TorchScriptOperators.CopyAll(targets, sources);
        Near(Host(sources), targets, 0);
    }

    [Fact]
    public void LerpAllMovesByTheWeight()
    {
        using var scope = NewDisposeScope();
        var (averages, values) = (Random(5), Random(6));
        double[] expected = [.. Host(averages).Zip(Host(values), (average, value) => 0.9 * average + 0.1 * value)];
        TorchScriptOperators.LerpAll(averages, values, 0.1);
        Near(expected, averages, 1e-14);
    }

    [Fact]
    public void EmptyLikeKeepsShapesAndTypes()
    {
        using var scope = NewDisposeScope();
        var templates = Random(7, ScalarType.BFloat16);
        var made = TorchScriptOperators.EmptyLike(templates);
        Assert.Equal(templates.Select(item => item.shape), made.Select(item => item.shape));
        Assert.All(made, item => Assert.Equal(ScalarType.BFloat16, item.dtype));
    }

    [Theory]
    [InlineData(false, 1e-12)]
    [InlineData(true, 1e-6)] // the divisor is a float32
    public void FusedAdamWFollowsTheAlgorithm(bool divided, double tolerance)
    {
        const double rate = 0.01,
            beta1 = 0.8,
            beta2 = 0.95,
            decay = 0.1,
            epsilon = 1e-6,
            divisor = 1.7;
        using var scope = NewDisposeScope();
        var parameters = Random(8);
        double[] weights = Host(parameters),
            mean = new double[weights.Length],
            square = new double[weights.Length];
        Tensor[] averages = [.. parameters.Select(item => zeros_like(item))],
            squares = [.. parameters.Select(item => zeros_like(item))],
            steps = [.. parameters.Select(_ => zeros([], ScalarType.Float32))];
        for (int step = 1; step <= 4; step++)
        {
            var gradients = Random(100 + step);
            double[] slope = [.. Host(gradients).Select(value => divided ? value / divisor : value)];
            for (int i = 0; i < weights.Length; i++)
            {
                weights[i] -= rate * step * decay * weights[i];
                mean[i] = beta1 * mean[i] + (1 - beta1) * slope[i];
                square[i] = beta2 * square[i] + (1 - beta2) * slope[i] * slope[i];
                double corrected = mean[i] / (1 - Math.Pow(beta1, step));
                weights[i] -= rate * step * corrected / (Math.Sqrt(square[i] / (1 - Math.Pow(beta2, step))) + epsilon);
            }
            // The rate changes with every step, as under a schedule.
            TorchScriptOperators.FusedAdamW(
                parameters,
                gradients,
                averages,
                squares,
                steps,
                rate * step,
                beta1,
                beta2,
                decay,
                epsilon,
                divided ? tensor((float)divisor) : null
            );
            Near(weights, parameters, tolerance);
        }
        Near([4, 4, 4], steps, 0);
        Near(mean, averages, tolerance);
        Near(square, squares, tolerance);
    }

    [Fact]
    public void ListsThatDoNotPairUpAreRefusedBeforeLibtorchSeesThem()
    {
        using var scope = NewDisposeScope();
        var three = Random(9);
        Assert.Contains(
            "hold 3 and 2",
            Assert.Throws<ArgumentException>(() => TorchScriptOperators.CopyAll(three, three[..2])).Message
        );
        Assert.Throws<ArgumentException>(() => TorchScriptOperators.GlobalNorm([]));
        Assert.Throws<ArgumentException>(() => TorchScriptOperators.ScaleAll(three, ones(2)));
    }
}
