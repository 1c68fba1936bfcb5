using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Attention;

public sealed class MultiHeadAttentionTests
{
    private const long Width = 12;
    private const long Heads = 3;

    /// <summary>float64: the fused and the naive form differ only in the order of summation.</summary>
    private const double Tolerance = 1e-12;

    private static readonly TraceCapabilities OneLayer = new("one layer", 1);

    [Theory]
    [InlineData(false, false, 7)]
    [InlineData(true, false, 7)]
    [InlineData(false, true, 7)]
    [InlineData(true, true, 7)]
    [InlineData(true, true, 9)]
    [InlineData(false, true, 5)]
    public void EqualsTheNaiveFormInValuesAndGradients(bool masked, bool causal, long keys)
    {
        using var scope = NewDisposeScope();
        using var attention = Build(causal);
        var hidden = Noise(1, 2, 7, Width).requires_grad_();
        var context = Noise(2, 2, keys, Width).requires_grad_();
        var mask = masked ? Mask(keys) : null;
        var weights = Noise(3, 2, 7, Width);

        var trace = new ForwardTrace(TraceRequest.LastAttention, OneLayer);
        var fused = attention.call(hidden, context, mask, trace);
        var state = trace.LastAttention;
        var naive = Project(attention, matmul(state.Probabilities(), state.Value));
        AssertClose(naive, fused);
        var parameters = attention.parameters().Cast<Tensor>().Concat([hidden, context]).ToArray();
        var expected = autograd.grad([(naive * weights).sum()], parameters, retain_graph: true);
        var actual = autograd.grad([(fused * weights).sum()], parameters);
        foreach (var (first, second) in expected.Zip(actual))
            AssertClose(first, second);
    }

    [Fact]
    public void CrossAttentionEqualsTheNaiveForm()
    {
        using var scope = NewDisposeScope();
        using var attention = new MultiHeadAttention(Width, Heads, new SeededLayers(5, 0.4), 0, contextWidth: 8);
        attention.to(ScalarType.Float64);
        var (hidden, context, mask) = (Noise(1, 2, 4, Width), Noise(2, 2, 6, 8), Mask(6));
        var parts = attention
            .named_parameters()
            .SelectMany(pair => MultiHeadAttention.Separate(pair.name, pair.parameter))
            .ToDictionary(part => part.Name, part => part.Value);
        Tensor Part(string name, Tensor source) =>
            nn
                .functional.linear(source, parts[$"{name}.weight"], parts[$"{name}.bias"])
                .view(2, -1, Heads, Width / Heads)
                .transpose(1, 2);
        var state = new AttentionState(Part("query", hidden), Part("key", context), Part("value", context), mask);
        AssertClose(Project(attention, matmul(state.Probabilities(), state.Value)), attention.call(hidden, context, mask, null));
    }

    [Fact]
    public void SeparatePartsAreViewsInTheOrderQueryKeyValue()
    {
        using var scope = NewDisposeScope();
        using var attention = Build(causal: false);
        var fused = attention.get_parameter("queryKeyValue.weight")!;
        var parts = MultiHeadAttention.Separate("layer.attention.queryKeyValue.weight", fused).ToArray();
        Assert.Equal(
            ["layer.attention.query.weight", "layer.attention.key.weight", "layer.attention.value.weight"],
            parts.Select(part => part.Name)
        );
        parts[1].Value.fill_(7.0);
        Assert.True(fused.narrow(0, Width, Width).eq(7.0).all().ToBoolean());
        Assert.Equal(Width * Width, fused.eq(7.0).sum().ToInt64());
        var output = attention.get_parameter("output.weight")!;
        Assert.Same(output, Assert.Single(MultiHeadAttention.Separate("layer.attention.output.weight", output)).Value);
    }

    [Fact]
    public void AModelsFirstWeightsAreThoseOfSeparateProjections()
    {
        using var scope = NewDisposeScope();
        using var attention = new MultiHeadAttention(Width, Heads, new SeededLayers(5, 0.4), 0);
        var layers = new SeededLayers(5, 0.4);
        foreach (
            var (_, part) in MultiHeadAttention.Separate("queryKeyValue.weight", attention.get_parameter("queryKeyValue.weight")!)
        )
            Assert.True(layers.Linear(Width, Width).weight!.eq(part).all().ToBoolean());
    }

    [Fact]
    public void RowsThatSeeNothingGiveZerosAndFiniteGradients()
    {
        using var scope = NewDisposeScope();
        using var attention = Build(causal: false);
        var hidden = Noise(1, 2, 4, Width).requires_grad_();
        var mask = tensor(
            new[,]
            {
                { true, true, false, false },
                { false, false, false, false },
            }
        );
        var output = attention.call(hidden, null, mask, null);
        var bias = attention.get_parameter("output.bias")!;
        AssertClose(bias.expand(4, Width), output[1]);
        output.sum().backward();
        Assert.True(hidden.grad!.isfinite().all().ToBoolean());
    }

    [Fact]
    public void PaddedKeysDoNotChangeTheResult()
    {
        using var scope = NewDisposeScope();
        using var attention = Build(causal: false);
        var hidden = Noise(1, 2, 5, Width);
        var padded = cat([hidden, Noise(2, 2, 3, Width) * 100], 1);
        var mask = cat([ones(2, 5, dtype: ScalarType.Bool), zeros(2, 3, dtype: ScalarType.Bool)], 1);
        AssertClose(attention.call(hidden, null, null, null), attention.call(padded, null, mask, null).narrow(1, 0, 5));
    }

    [Fact]
    public void CausalRowsIgnoreLaterTokens()
    {
        using var scope = NewDisposeScope();
        using var attention = Build(causal: true);
        var hidden = Noise(1, 2, 6, Width);
        var changed = cat([hidden.narrow(1, 0, 4), Noise(2, 2, 2, Width)], 1);
        AssertClose(
            attention.call(hidden, null, null, null).narrow(1, 0, 4),
            attention.call(changed, null, null, null).narrow(1, 0, 4)
        );
    }

    [Fact]
    public void TheOrderOfKeysDoesNotMatterAndTheMapFollowsIt()
    {
        using var scope = NewDisposeScope();
        using var attention = Build(causal: false);
        var hidden = Noise(1, 2, 4, Width);
        var context = Noise(2, 2, 6, Width);
        var mask = Mask(6);
        var order = tensor(new long[] { 3, 0, 5, 1, 4, 2 });
        var first = new ForwardTrace(TraceRequest.LastAttention, OneLayer);
        var second = new ForwardTrace(TraceRequest.LastAttention, OneLayer);
        var plain = attention.call(hidden, context, mask, first);
        var shuffled = attention.call(hidden, context.index_select(1, order), mask.index_select(1, order), second);
        AssertClose(plain, shuffled);
        AssertClose(first.LastAttention.Probabilities().index_select(3, order), second.LastAttention.Probabilities());
    }

    [Fact]
    public void StopsAfterItsInputsWhenNothingElseIsWanted()
    {
        using var scope = NewDisposeScope();
        using var attention = Build(causal: false);
        var trace = new ForwardTrace(TraceRequest.LastAttention, OneLayer, wantsOutput: false);
        Assert.Equal([0L], attention.call(Noise(1, 2, 4, Width), null, null, trace).shape);
        Assert.Equal([2L, Heads, 4, Width / Heads], trace.LastAttention.Query.shape);
    }

    [Theory]
    [InlineData(12, 5)]
    [InlineData(12, 0)]
    [InlineData(0, 1)]
    public void HeadsMustDivideTheWidth(long width, long heads) =>
        Assert.Contains(
            $"{heads} heads",
            Assert.Throws<ArgumentException>(() => new MultiHeadAttention(width, heads, SeededLayers.Blank, 0)).Message
        );

    private static MultiHeadAttention Build(bool causal, double dropout = 0.0)
    {
        var attention = new MultiHeadAttention(Width, Heads, new SeededLayers(5, 0.4), 0, dropout, causal);
        using var guard = no_grad();
        using var generator = new Generator(8, CPU);
        foreach (var parameter in attention.parameters().Where(parameter => parameter.dim() == 1))
            parameter.normal_(0.0, 1.0, generator);
        attention.to(ScalarType.Float64);
        return attention;
    }

    private static Tensor Project(MultiHeadAttention attention, Tensor mixed) =>
        nn.functional.linear(
            mixed.transpose(1, 2).flatten(2),
            attention.get_parameter("output.weight")!,
            attention.get_parameter("output.bias")!
        );

    private static Tensor Noise(long seed, params long[] shape) =>
        empty(shape, dtype: ScalarType.Float64).normal_(0.0, 1.0, new Generator((ulong)seed, CPU));

    private static Tensor Mask(long keys)
    {
        var mask = ones(2, keys, dtype: ScalarType.Bool);
        mask[1, keys - 2] = tensor(false);
        mask[1, keys - 1] = tensor(false);
        return mask;
    }

    private static void AssertClose(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        double difference = (expected - actual).abs().max().ToDouble();
        Assert.True(difference <= Tolerance, $"The largest difference is {difference:E2}.");
    }
}
