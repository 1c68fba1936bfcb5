using AttentionDistillation.Attention;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Runtime;

public class AttentionOperatorsTests
{
    private const double Scale = 0.3;

    [Theory]
    [InlineData(false, false, ScalarType.Float64)]
    [InlineData(true, false, ScalarType.Float64)]
    [InlineData(false, true, ScalarType.Float64)]
    [InlineData(true, true, ScalarType.Float64)]
    [InlineData(true, true, ScalarType.Float32)]
    [InlineData(true, true, ScalarType.BFloat16)]
    public void TheKernelMatchesTheDefinition(bool biased, bool causal, ScalarType type)
    {
        var random = new RandomTensors(1);
        foreach (var (queries, width, valueWidth) in new[] { (40L, 8L, 8L), (17, 7, 20), (40, 20, 7), (1, 8, 8) })
        {
            var (query, key, value) = (
                random.Normal(2, 4, queries, width).to(type),
                random.Normal(2, 2, 40, width).to(type),
                random.Normal(2, 2, 40, valueWidth).to(type)
            );
            var bias = biased ? random.Normal(2, 1, 40) : null;
            var (expected, expectedSums) = AttentionOperators.Forward(
                query.@double(),
                key.@double(),
                value.@double(),
                bias,
                causal,
                Scale,
                AttentionKernel.Naive
            );
            var (output, sums) = AttentionOperators.Forward(query, key, value, bias, causal, Scale, AttentionKernel.CpuFlash);
            // A few rounding units of each dtype.
            double tolerance = type switch
            {
                ScalarType.Float64 => 1e-12,
                ScalarType.Float32 => 1e-6,
                _ => Math.Pow(2, -7),
            };
            Assert.Equal(type, output.dtype);
            Assert.Equal(type == ScalarType.Float64 ? type : ScalarType.Float32, sums.dtype);
            Check.Close(expected, output, tolerance, "output");
            Check.Close(expectedSums, sums, tolerance, "log-sum-exp");
        }
    }

    [Theory]
    [InlineData(40, false)]
    [InlineData(40, true)]
    [InlineData(25, true)]
    public void TheTransposedCallIsAProductWithTheTransposedMap(long queries, bool causal)
    {
        var random = new RandomTensors(2);
        var (query, key, rows) = (random.Normal(2, 3, queries, 8), random.Normal(2, 3, 40, 8), random.Normal(2, 3, queries, 5));
        var (_, sums) = AttentionOperators.Forward(query, key, key, null, causal, Scale);
        var scores = matmul(query, key.transpose(-2, -1)) * Scale;
        if (causal)
            scores = scores.masked_fill(
                ones(queries, 40, dtype: ScalarType.Bool).tril(40 - queries).logical_not(),
                double.NegativeInfinity
            );
        var counted = RandomTensors.Mask(queries, queries, 9).unsqueeze(1);
        var expected = matmul(scores.softmax(-1).transpose(-2, -1), rows * counted.unsqueeze(-1));
        var bias = (-sums).masked_fill(counted.logical_not(), AttentionOperators.HiddenKeyBias);
        var (columns, factor) = AttentionOperators.Transposed(query, key, rows, bias, causal, Scale);
        Check.Close(expected, columns * factor.exp().unsqueeze(-1), 1e-11);
    }

    [Fact]
    public void RowsWithoutKeysStayFinite()
    {
        var random = new RandomTensors(3);
        var (query, key) = (random.Normal(2, 2, 6, 8).@float(), random.Normal(2, 2, 6, 8).@float());
        var bias = AttentionOperators.KeyBias(RandomTensors.Mask(6, 6, 0), ScalarType.Float32);
        foreach (var kernel in new[] { AttentionKernel.Naive, AttentionKernel.CpuFlash })
        {
            var (output, sums) = AttentionOperators.Forward(query, key, key, bias, false, Scale, kernel);
            Assert.True(output.isfinite().all().item<bool>() && sums.isfinite().all().item<bool>());
        }
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void TheDifferentiableFormHasTheDefinitionsGradients(bool padded, bool causal)
    {
        var random = new RandomTensors(4);
        var mask = padded ? RandomTensors.Mask(9, 9, 5) : null;
        Tensor[] inputs = [random.Normal(2, 4, 7, 3), random.Normal(2, 2, 9, 3), random.Normal(2, 2, 9, 5)];
        var probe = random.Normal(2, 4, 7, 5);
        var gradients = new[] { true, false }
            .Select(fused =>
            {
                var learned = inputs.Select(input => input.clone().requires_grad_()).ToArray();
                var output = fused
                    ? AttentionOperators.Differentiable(learned[0], learned[1], learned[2], mask, causal, Scale)
                    : matmul(
                        new AttentionState(learned[0], learned[1], learned[2], mask, causal, Scale).Probabilities(),
                        learned[2].repeat_interleave(2, 1)
                    );
                (output * probe).sum().backward();
                return learned.Select(tensor => tensor.grad!).Prepend(output.detach()).ToArray();
            })
            .ToArray();
        for (int part = 0; part < 4; part++)
            Check.Close(gradients[1][part], gradients[0][part], 1e-11, $"part {part}");
    }

    [Fact]
    public void ABiasInFeaturesIsExactInBFloat16()
    {
        var random = new RandomTensors(5);
        var (query, key) = (
            random.Normal(2, 3, 4, 20).to(ScalarType.BFloat16),
            random.Normal(2, 3, 50, 20).to(ScalarType.BFloat16)
        );
        var bias = (random.Normal(2, 1, 50) * 30).@float();
        var (wideQuery, wideKey) = AttentionOperators.WithBiasFeatures(query, key, bias, Scale);
        Assert.Equal(24, wideKey.size(3)); // 20 and 3 rounded up to a multiple of 8
        var difference =
            matmul(wideQuery.@double(), wideKey.@double().transpose(-2, -1))
            - matmul(query.@double(), key.@double().transpose(-2, -1));
        Check.Close((bias.@double() / Scale).unsqueeze(2).expand(2, 3, 4, 50), difference, Math.Pow(2, -23));
        var hidden = AttentionOperators.WithBiasFeatures(
            query,
            key,
            full(2, 1, 50, AttentionOperators.HiddenKeyBias, dtype: ScalarType.Float32),
            Scale
        );
        Assert.True(hidden.Key.isfinite().all().item<bool>());
    }

    [Theory]
    [InlineData(64, 64, 64)]
    [InlineData(64, 128, 128)] // both values in one call
    [InlineData(72, 128, 128)]
    [InlineData(64, 96, 96)]
    [InlineData(128, 256, 256)]
    [InlineData(64, 320, 64)] // too wide for one call
    [InlineData(7, 20, 24)]
    public void WideValuesTakeTheCheaperOfOneCallOrSeveral(long queryWidth, long valueWidth, long expected) =>
        Assert.Equal(expected, AttentionOperators.BestWidth(queryWidth, valueWidth, 256));

    [Fact]
    public void EverySourceCompiles() => Assert.Equal(5, AttentionOperators.CompileAll());

    [Fact]
    public void AKernelThatDoesNotServeTheCallIsRefusedByName()
    {
        var query = zeros(1, 1, 4, 8);
        foreach (var kernel in new[] { AttentionKernel.Flash, AttentionKernel.CuDnn, AttentionKernel.MemoryEfficient })
        {
            var error = Assert.Throws<NotSupportedException>(() =>
                AttentionOperators.Forward(query, query, query, null, false, Scale, kernel)
            );
            Assert.Contains(kernel.ToString(), error.Message, StringComparison.Ordinal);
            Assert.Contains("Auto", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void NothingIsLeftBehind()
    {
        var query = randn([1, 2, 16, 8], generator: new Generator(6));
        AttentionOperators.Forward(query, query, query, null, false, Scale);
        using var scope = NewDisposeScope();
        AttentionOperators.Forward(query, query, query, null, true, Scale);
        Assert.Equal(2, scope.DisposablesCount); // the output and the log-sum-exps
    }
}
