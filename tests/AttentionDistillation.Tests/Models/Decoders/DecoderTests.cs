using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Decoders;

public sealed class DecoderTests
{
    /// <summary>float64, another order of summation.</summary>
    private const double Tolerance = 1e-9;

    public static TheoryData<string, long> PublishedCounts() =>
        new()
        {
            { nameof(Gpt2Config.Small), 124_439_808 },
            { nameof(Gpt2Config.Medium), 354_823_168 },
            { nameof(Gpt2Config.Large), 774_030_080 },
            { nameof(Gpt2Config.Xl), 1_557_611_200 },
            { nameof(LlamaConfig.Llama2_7B), 6_738_415_616 },
            { nameof(LlamaConfig.Llama3_8B), 8_030_261_248 },
            { nameof(LlamaConfig.Llama32_1B), 1_235_814_400 },
            { nameof(LlamaConfig.Llama32_3B), 3_212_749_824 },
            { nameof(Qwen2Config.Qwen2_0_5B), 494_032_768 },
            { nameof(Qwen2Config.Qwen2_1_5B), 1_543_714_304 },
            { nameof(Qwen2Config.Qwen2_7B), 7_615_616_512 },
            { nameof(MistralConfig.Mistral7B), 7_241_732_096 },
        };

    [Theory]
    [MemberData(nameof(PublishedCounts))]
    public void PresetsHaveThePublishedNumberOfParameters(string name, long expected)
    {
        var config = new[] { typeof(Gpt2Config), typeof(LlamaConfig), typeof(Qwen2Config), typeof(MistralConfig) }
            .Select(type => type.GetProperty(name)?.GetValue(null))
            .OfType<DecoderConfig>()
            .Single();
        config.Validate();
        Assert.Equal(expected, config.ParameterCount);
    }

    [Theory]
    [MemberData(nameof(TinyDecoders.Names), MemberType = typeof(TinyDecoders))]
    public void TheCountedParametersAreThoseOfTheBuiltModel(string name)
    {
        using var model = TinyDecoders.Build(name);
        Assert.Equal(model.DecoderConfig.ParameterCount, model.parameters().Sum(parameter => parameter.numel()));
    }

    [Theory]
    [MemberData(nameof(TinyDecoders.Names), MemberType = typeof(TinyDecoders))]
    public void ACacheChangesNothing(string name)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = TinyDecoders.Build(name);
        var tokens = TinyDecoders.Tokens(2, 13);
        var whole = model.Run(tokens, null);
        // One token at a time, and in chunks longer and shorter than the windows.
        foreach (long[] chunks in new long[][] { [.. Enumerable.Repeat(1L, 13)], [5, 1, 2, 5], [1, 12] })
        {
            using var cache = model.NewCache(2);
            Assert.True(TinyDecoders.Difference(whole, InChunks(model, tokens, null, null, cache, chunks)) < Tolerance, name);
            Assert.Equal(13, cache.Length);
        }
    }

    [Theory]
    [MemberData(nameof(TinyDecoders.Names), MemberType = typeof(TinyDecoders))]
    public void PaddingOnTheLeftChangesNothingWithOrWithoutACache(string name)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = TinyDecoders.Build(name);
        var tokens = TinyDecoders.Tokens(1, 9);
        var alone = model.Run(tokens, null);
        var padded = cat([zeros(1, 4, dtype: ScalarType.Int64), tokens], 1);
        var both = cat([padded, TinyDecoders.Tokens(1, 13, 8)], 0);
        var mask = ones(2, 13, dtype: ScalarType.Bool);
        mask[0].narrow(0, 0, 4).fill_(false);
        var positions = DecoderInput.PositionsOf(mask);
        var input = new DecoderInput(both, mask) { Positions = positions };
        var together = model.call(input, null);
        Assert.True(TinyDecoders.Difference(alone, together.narrow(0, 0, 1).narrow(1, 4, 9)) < Tolerance, name);
        using var cache = model.NewCache(64);
        var cached = InChunks(model, both, mask, positions, cache, [6, 1, 1, 5]);
        Assert.True(TinyDecoders.Difference(together.narrow(1, 4, 9), cached.narrow(1, 4, 9)) < Tolerance, name);
    }

    [Theory]
    [MemberData(nameof(TinyDecoders.Names), MemberType = typeof(TinyDecoders))]
    public void PaddingOnTheRightNeedsNoMask(string name)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = TinyDecoders.Build(name);
        var tokens = TinyDecoders.Tokens(2, 10);
        var mask = ones(2, 10, dtype: ScalarType.Bool);
        mask[1].narrow(0, 7, 3).fill_(false);
        var input = new DecoderInput(tokens, mask);
        var masked = model.call(input, null);
        var unmasked = model.call(input with { IsPaddedOnTheRight = true }, null);
        var real = mask.unsqueeze(-1).to(ScalarType.Float64);
        Assert.True(TinyDecoders.Difference(masked * real, unmasked * real) < Tolerance);
        Assert.True(TinyDecoders.Difference(model.Run(tokens.narrow(1, 0, 7), null)[1], masked[1].narrow(0, 0, 7)) < Tolerance);
    }

    [Theory]
    [MemberData(nameof(TinyDecoders.Names), MemberType = typeof(TinyDecoders))]
    public void RecordedCallsExplainWhatHeadsWrite(string name)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = TinyDecoders.Build(name);
        var mask = ones(2, 8, dtype: ScalarType.Bool);
        mask[0].narrow(0, 0, 3).fill_(false);
        var trace = new ForwardTrace(
            TraceRequest.AllAttention + TraceRequest.AllHidden + TraceRequest.Features(model.Capabilities.Features),
            model.Capabilities
        );
        model.Run(TinyDecoders.Tokens(2, 8), mask, trace);
        var real = mask.unsqueeze(1).unsqueeze(-1).to(ScalarType.Float64);
        var stream = trace.Hidden(0);
        foreach (var layer in model.DecoderLayers)
        {
            int number = layer.Attention.Layer;
            var state = trace.Attention(number);
            var mixed = matmul(state.Probabilities(), AttentionMask.RepeatHeads(state.Value, state.Heads));
            var heads = trace.Feature(DecoderFeatures.HeadOutputs(number));
            Assert.True(TinyDecoders.Difference(mixed * real, heads * real) < Tolerance, name);
            var written = trace.Feature(DecoderFeatures.HeadWrites(number)).sum(1);
            if (layer.Attention.Output.Bias is { } bias)
                written = written + bias;
            var attention = trace.Feature(DecoderFeatures.AttentionOutput(number));
            Assert.True(TinyDecoders.Difference(written, attention) < Tolerance, name);
            stream = stream + attention + trace.Feature(DecoderFeatures.FeedForwardOutput(number));
            if (number < 2)
                Assert.True(TinyDecoders.Difference(stream, trace.Hidden(number + 1)) < Tolerance, name);
        }
        Assert.True(TinyDecoders.Difference(model.FinalNorm.call(stream), trace.Hidden(-1)) < Tolerance, name);
        Assert.True(TinyDecoders.Difference(model.Scores(trace.Hidden(-1)), trace.Output) < Tolerance, name);
    }

    [Fact]
    public void FactorsScaleAndReferencesReplaceWhatHeadsWrite()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build("llama-biased");
        var tokens = TinyDecoders.Tokens(2, 6);
        var features = TraceRequest.Features(DecoderFeatures.AttentionOutput(1), DecoderFeatures.HeadWrites(1));
        var plain = new ForwardTrace(features, model.Capabilities);
        model.Run(tokens, null, plain);
        var writes = plain.Feature(DecoderFeatures.HeadWrites(1));
        var factors = HeadIntervention.FactorsOf(3, 4, 0.25, (1, 2)).to(ScalarType.Float64).requires_grad_();
        var references = randn(3, 4, 6, 16, dtype: ScalarType.Float64);
        foreach (bool replaces in new[] { false, true })
        {
            var changed = new ForwardTrace(features, model.Capabilities);
            var output = model.call(
                new DecoderInput(tokens, null) { Heads = new HeadIntervention(factors, replaces ? references : null) },
                changed
            );
            var expected = plain.Feature(DecoderFeatures.AttentionOutput(1)) - writes.select(1, 2) * 0.75;
            if (replaces)
                expected = expected + references[1, 2] * 0.75;
            Assert.True(TinyDecoders.Difference(expected, changed.Feature(DecoderFeatures.AttentionOutput(1))) < Tolerance);
            var gradient = autograd.grad([output.sum()], [factors])[0];
            Assert.True(gradient.abs().min().ToDouble() > 0);
        }
        Assert.Contains(
            "[3, 4]",
            Assert
                .Throws<ArgumentException>(() =>
                    model.call(new DecoderInput(tokens, null) { Heads = new HeadIntervention(ones(3, 2)) }, null)
                )
                .Message
        );
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void EmbeddingsAreAnEntryWithGradients(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build(name);
        var tokens = TinyDecoders.Tokens(2, 6);
        var embeddings = model.Embed(tokens).detach().requires_grad_();
        var output = model.call(DecoderInput.FromEmbeddings(embeddings, null), null);
        Assert.Equal(0.0, TinyDecoders.Difference(model.Run(tokens, null), output));
        // The third token's scores depend on the first three embeddings and on no later one.
        output.select(1, 2).pow(2).sum().backward();
        var norms = embeddings.grad!.norm(dim: 2);
        Assert.True(norms.narrow(1, 0, 3).min().ToDouble() > 0);
        Assert.Equal(0.0, norms.narrow(1, 3, 3).max().ToDouble());
    }

    [Fact]
    public void ASoftPromptStandsBeforeTheText()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build("llama");
        var tokens = TinyDecoders.Tokens(2, 7);
        using var prompt = SoftPrompt.FromWords(model, tokens[0].narrow(0, 0, 2));
        var whole = cat([tokens[0].narrow(0, 0, 2).expand(2, 2), tokens], 1);
        var output = model.call(prompt.Before(model, tokens, null), null);
        Assert.True(TinyDecoders.Difference(model.Run(whole, null), output) < Tolerance);
        output.sum().backward();
        Assert.True(prompt.Embeddings.grad!.abs().sum().ToDouble() > 0);
    }

    [Theory]
    [MemberData(nameof(TinyDecoders.Names), MemberType = typeof(TinyDecoders))]
    public void ATraceRunsNoMoreThanItNeeds(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build(name);
        var tokens = TinyDecoders.Tokens(2, 6);
        var whole = new ForwardTrace(TraceRequest.AllAttention + TraceRequest.AllHidden, model.Capabilities);
        model.Run(tokens, null, whole);
        foreach (
            var request in new[]
            {
                TraceRequest.Hidden(0),
                TraceRequest.Hidden(1),
                TraceRequest.Hidden(-1),
                TraceRequest.Attention(1),
                TraceRequest.LastAttention,
            }
        )
        {
            var trace = new ForwardTrace(request, model.Capabilities, wantsOutput: false);
            Assert.Equal(0, model.Run(tokens, null, trace).numel());
            foreach (int state in Enumerable.Range(0, 4).Where(trace.WantsHidden))
                Assert.Equal(0.0, TinyDecoders.Difference(whole.Hidden(state), trace.Hidden(state)));
            foreach (var (layer, state) in trace.Attentions)
                Assert.Equal(0.0, TinyDecoders.Difference(whole.Attention(layer).Key, state.Key));
        }
    }

    [Fact]
    public void PassesLeaveNothingBehind()
    {
        using var model = TinyDecoders.Build("mistral-window");
        using var tokens = TinyDecoders.Tokens(2, 6);
        using var mask = ones(2, 6, dtype: ScalarType.Int64);
        Pass();
        long before = DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        for (int number = 0; number < 3; number++)
            Pass();
        Assert.Equal(before, DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount);

        void Pass()
        {
            using var scope = NewDisposeScope();
            using var cache = model.NewCache(4);
            var trace = new ForwardTrace(
                TraceRequest.AllAttention + TraceRequest.AllHidden + TraceRequest.Features(model.Capabilities.Features),
                model.Capabilities
            );
            using (no_grad())
                model.call(new DecoderInput(tokens, mask) { Cache = cache }, trace);
            trace.Attention(0).Probabilities();
            model.Run(tokens, mask, trace).sum().backward();
            model.zero_grad();
            Assert.Throws<ArgumentException>(() => model.Run(tokens, mask.narrow(1, 0, 3)));
        }
    }

    private static Tensor InChunks(
        TextDecoder model,
        Tensor tokens,
        Tensor? mask,
        Tensor? positions,
        KeyValueCache cache,
        long[] chunks
    )
    {
        List<Tensor> parts = [];
        long start = 0;
        foreach (long chunk in chunks)
        {
            parts.Add(
                model.call(
                    new DecoderInput(tokens.narrow(1, start, chunk), mask?.narrow(1, 0, start + chunk))
                    {
                        Cache = cache,
                        Positions = positions?.narrow(1, start, chunk),
                    },
                    null
                )
            );
            start += chunk;
        }
        return cat([.. parts], 1);
    }
}
