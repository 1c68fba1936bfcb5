using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Decoders;

public sealed class AttentionFormTests
{
    private const double Tolerance = 1e-9;

    [Theory]
    [InlineData(150, 150, false)]
    [InlineData(150, 150, true)]
    [InlineData(70, 150, true)]
    public void CausalLinearAttentionInChunksIsItsMap(long queries, long keys, bool padded)
    {
        using var scope = NewDisposeScope();
        var call = Call(queries, keys, padded, true);
        var mixed = new LinearAttention().Mix(call);
        var weights = matmul(
            LinearAttention.EluPlusOne(call.State.Query),
            LinearAttention.EluPlusOne(AttentionMask.RepeatHeads(call.State.Key, 4)).transpose(-1, -2)
        );
        weights = weights * AttentionMask.Allowed(call.State.Mask, true, queries, keys, CPU)!.to(ScalarType.Float64);
        var expected =
            matmul(weights, AttentionMask.RepeatHeads(call.State.Value, 4)) / (weights.sum(-1, true) + LinearAttention.Epsilon);
        Assert.True(TinyDecoders.Difference(expected, mixed) < Tolerance);
    }

    [Fact]
    public void AWindowedFormIsTheWindowOfTheState()
    {
        using var scope = NewDisposeScope();
        var call = Call(20, 30, true, true);
        var state = call.State;
        var windowed = new AttentionState(state.Query, state.Key, state.Value, state.Mask, true, null, null, 5);
        var expected = matmul(windowed.Probabilities(), AttentionMask.RepeatHeads(state.Value, 4));
        Assert.True(TinyDecoders.Difference(expected, new SlidingWindowAttention(5).Mix(call)) < Tolerance);
        Assert.True(TinyDecoders.Difference(expected, FullAttention.Instance.Mix(call with { State = windowed })) < Tolerance);
        Assert.Throws<ArgumentException>(() =>
            new AttentionState(state.Query, state.Key, state.Value, null, false, null, null, 5)
        );
    }

    [Fact]
    public void BlocksThatAreNotChosenAreNotSeen()
    {
        using var scope = NewDisposeScope();
        var call = Call(10, 14, false, true);
        var blocks = ones(4, 4, dtype: ScalarType.Bool);
        Assert.True(
            TinyDecoders.Difference(FullAttention.Instance.Mix(call), new BlockSparseAttention(4, _ => blocks).Mix(call))
                < Tolerance
        );
        // The queries at places 4 to 13 without block 1 (places 4 to 7); those of block 1 then see block 0 alone.
        blocks[TensorIndex.Colon, 1].fill_(false);
        var allowed = AttentionMask.Allowed(null, true, 10, 14, CPU)!.clone();
        allowed.narrow(1, 4, 4).fill_(false);
        var scores = call.State.Scores().masked_fill(allowed.logical_not(), double.NegativeInfinity);
        var expected = matmul(nn.functional.softmax(scores, -1), AttentionMask.RepeatHeads(call.State.Value, 4));
        Assert.True(TinyDecoders.Difference(expected, new BlockSparseAttention(4, _ => blocks).Mix(call)) < Tolerance);
        blocks.fill_(false);
        Assert.Equal(0.0, new BlockSparseAttention(4, _ => blocks).Mix(call).abs().max().ToDouble());
        Assert.Contains(
            "[..., 4, 4]",
            Assert.Throws<ArgumentException>(() => new BlockSparseAttention(4, _ => blocks.narrow(0, 0, 3)).Mix(call)).Message
        );
    }

    [Fact]
    public void AFormWithWeightsBelongsToItsLayer()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build("llama");
        var tokens = TinyDecoders.Tokens(2, 6);
        var before = model.Run(tokens, null);
        int parameters = model.named_parameters().Count();
        model.SetAttention(-1, new Gated());
        Assert.Equal(parameters + 1, model.named_parameters().Count());
        model.to(ScalarType.Float64);
        var gated = model.Run(tokens, null);
        Assert.True(TinyDecoders.Difference(before, gated) > 1e-3);
        gated.sum().backward();
        Assert.NotNull(
            model.named_parameters().Single(pair => pair.name.EndsWith("form.gate", StringComparison.Ordinal)).parameter.grad
        );
        // Checkpoints hold the model without it.
        Assert.DoesNotContain(model.HubParameters().Keys, name => name.Contains("gate.", StringComparison.Ordinal));
        model.SetAttention(_ => FullAttention.Instance);
        Assert.Equal(parameters, model.named_parameters().Count());
        Assert.Equal(0.0, TinyDecoders.Difference(before, model.Run(tokens, null)));
    }

    private static AttentionCall Call(long queries, long keys, bool padded, bool isCausal)
    {
        var generator = Seeds.Generator(1, "forms");
        Tensor Draw(params long[] shape) => randn(shape, dtype: ScalarType.Float64, generator: generator);
        Tensor? mask = null;
        if (padded)
        {
            mask = ones(2, keys, dtype: ScalarType.Bool);
            mask[1].narrow(0, 5, 3).fill_(false);
        }
        return new AttentionCall(
            new AttentionState(Draw(2, 4, queries, 6), Draw(2, 2, keys, 6), Draw(2, 2, keys, 6), mask, isCausal),
            0
        );
    }

    private sealed class Gated : nn.Module, IAttentionForm
    {
        private readonly Parameter gate = nn.Parameter(full(1, 0.5));

        public Gated()
            : base(nameof(Gated)) => RegisterComponents();

        public Tensor Mix(AttentionCall call) => FullAttention.Instance.Mix(call) * gate;
    }
}
