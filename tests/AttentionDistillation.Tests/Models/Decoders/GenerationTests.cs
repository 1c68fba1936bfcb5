using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Generation;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Decoders;

public sealed class GenerationTests
{
    private static readonly GenerationOptions Greedy = new() { MaxNewTokens = 12 };

    [Theory]
    [MemberData(nameof(TinyDecoders.Names), MemberType = typeof(TinyDecoders))]
    public void CachedUncachedAndSteppedByHandGiveTheSameTokens(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build(name);
        var prompts = TinyDecoders.Tokens(3, 6);
        var mask = ones(3, 6, dtype: ScalarType.Bool);
        mask[1].narrow(0, 0, 2).fill_(false);
        foreach (var options in new[] { Greedy, Greedy with { Sample = true, Seed = 4, TopK = 9, RepetitionPenalty = 1.3 } })
        {
            var cached = Generate(model, prompts, mask, options);
            var uncached = Generate(model, prompts, mask, options with { UseCache = false });
            Assert.Equal(cached.NewTokens.data<long>().ToArray(), uncached.NewTokens.data<long>().ToArray());
        }
        // The padded prompt alone, by the definition.
        var text = prompts[1].narrow(0, 2, 4).unsqueeze(0);
        for (int step = 0; step < Greedy.MaxNewTokens; step++)
            text = cat([text, model.Run(text, null).select(1, -1).argmax(-1, true)], 1);
        var together = Generate(model, prompts, mask, Greedy);
        Assert.Equal(text[0].narrow(0, 4, 12).data<long>().ToArray(), together.Of(1));
    }

    [Fact]
    public void TextsEndWhereTheyShould()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build("llama");
        var prompts = TinyDecoders.Tokens(4, 5);
        var free = Generate(model, prompts, null, Greedy with { MaxNewTokens = 20 });
        long[][] rows = [.. Enumerable.Range(0, 4).Select(free.Of)];
        long[] ends = [rows[0][3], rows[1][6]];
        var options = Greedy with { MaxNewTokens = 20, EndTokens = ends, PaddingToken = 0, StepsBetweenChecks = 3 };
        var ended = Generate(model, prompts, null, options);
        for (int row = 0; row < 4; row++)
        {
            int end = Array.FindIndex(rows[row], ends.Contains);
            Assert.Equal(end < 0 ? rows[row] : rows[row][..(end + 1)], ended.Of(row));
            Assert.All(ended.NewTokens[row].data<long>().ToArray()[ended.Lengths[row]..], token => Assert.Equal(0, token));
        }
        Assert.Equal(ended.Lengths.Max(), ended.NewTokens.size(1));
        var late = Generate(model, prompts, null, options with { MinNewTokens = 9 });
        Assert.All(late.Lengths, length => Assert.True(length >= 10));
    }

    [Fact]
    public async Task StreamedTokensAreThoseOfTheWhole()
    {
        using var model = TinyDecoders.Build("qwen2-window");
        using var prompts = TinyDecoders.Tokens(2, 5);
        var options = Greedy with { Sample = true, Seed = 8, SamplesPerPrompt = 2 };
        using var whole = Generate(model, prompts, null, options);
        List<long[]> steps = [];
        await foreach (
            long[] step in TextGeneration.Stream(
                model,
                new DecoderInput(prompts, null),
                options,
                TestContext.Current.CancellationToken
            )
        )
            steps.Add(step);
        Assert.Equal(12, steps.Count);
        for (int row = 0; row < 4; row++)
            Assert.Equal(whole.Of(row), steps.Select(step => step[row]).ToArray());
        List<long[]> called = [];
        Generate(model, prompts, null, options, (_, tokens) => called.Add(tokens)).Dispose();
        Assert.Equal(steps, called);
        Assert.NotEqual(whole.Of(0), whole.Of(1));
        using var other = Generate(model, prompts, null, options with { Seed = 9 });
        Assert.NotEqual(whole.Of(0), other.Of(0));
    }

    [Fact]
    public void FiltersKeepWhatTheirDefinitionsKeep()
    {
        using var scope = NewDisposeScope();
        // Probabilities 0.4, 0.3, 0.2, 0.1 in the order 2, 0, 3, 1.
        var scores = tensor(new[] { 0.3, 0.1, 0.4, 0.2 }).log().unsqueeze(0);
        Assert.Equal([0, 2], Kept(new() { Sample = true, TopK = 2 }));
        Assert.Equal([0, 2], Kept(new() { Sample = true, TopP = 0.65 }));
        Assert.Equal([0, 2, 3], Kept(new() { Sample = true, TopP = 0.75 }));
        Assert.Equal([2], Kept(new() { Sample = true, TopP = 0.1 }));
        Assert.Equal([0, 2], Kept(new() { Sample = true, MinP = 0.6 }));
        Assert.Equal([0, 1, 2, 3], Kept(new() { Sample = true, Temperature = 0.5 }));
        using (var sampler = new TokenSampler(new() { RepetitionPenalty = 2 }, 1, CPU))
        {
            var penalised = sampler.Processed(
                tensor(new[] { 1.0, -1.0, 3.0 }).unsqueeze(0),
                tensor(new long[] { 0, 1, 1 }).unsqueeze(0),
                0
            );
            Assert.Equal([0.5, -2.0, 3.0], penalised.data<double>().ToArray());
        }

        long[] Kept(GenerationOptions options)
        {
            using var sampler = new TokenSampler(options, 1, CPU);
            return sampler.Filtered(scores)[0].isfinite().nonzero().reshape(-1).data<long>().ToArray();
        }
    }

    [Fact]
    public void DrawsFollowTheProbabilities()
    {
        using var scope = NewDisposeScope();
        const int Draws = 4000;
        var scores = tensor(new[] { 0.3, 0.1, 0.4, 0.2 }).log().unsqueeze(0).expand(Draws, 4);
        using var sampler = new TokenSampler(
            new()
            {
                Sample = true,
                Seed = 2,
                MaxNewTokens = 1,
            },
            Draws,
            CPU
        );
        var counts = sampler.Choose(scores, null, 0).reshape(-1).bincount(null, 4).to(ScalarType.Float64) / Draws;
        // Four standard deviations of a share of 0.4 among 4000 draws.
        Assert.True((counts - tensor(new[] { 0.3, 0.1, 0.4, 0.2 })).abs().max().ToDouble() < 0.031);
    }

    [Fact]
    public void EmbeddingsGoOnAsTheirWords()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build("mistral-window");
        var prompts = TinyDecoders.Tokens(2, 5);
        var words = Generate(model, prompts, null, Greedy);
        var embeddings = Generate(model, DecoderInput.FromEmbeddings(model.Embed(prompts), null), Greedy);
        Assert.Equal(words.NewTokens.data<long>().ToArray(), embeddings.NewTokens.data<long>().ToArray());
        // A prompt in two parts, the first in a cache.
        using var cache = model.NewCache(32);
        using (no_grad())
            model.call(new DecoderInput(prompts.narrow(1, 0, 3), null) { Cache = cache }, null);
        var rest = Generate(model, new DecoderInput(prompts.narrow(1, 3, 2), null) { Cache = cache }, Greedy);
        Assert.Equal(words.NewTokens.data<long>().ToArray(), rest.NewTokens.data<long>().ToArray());
    }

    [Fact]
    public void PromptsThatEndInPaddingAndBadOptionsAreRefused()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build("llama");
        var prompts = TinyDecoders.Tokens(2, 5);
        var mask = ones(2, 5, dtype: ScalarType.Bool);
        mask[0, 4].fill_(false);
        Assert.Contains("left", Assert.Throws<ArgumentException>(() => Generate(model, prompts, mask, Greedy)).Message);
        Assert.Contains(
            "Temperature",
            Assert.Throws<ArgumentException>(() => Generate(model, prompts, null, Greedy with { Temperature = 0 })).Message
        );
    }

    [Fact]
    public void ACheckpointsDefaultsAreRead()
    {
        string folder = Directory.CreateTempSubdirectory("generation-").FullName;
        try
        {
            File.WriteAllText(Path.Combine(folder, "config.json"), """{"eos_token_id": 7, "pad_token_id": 1}""");
            Assert.Equal([7], GenerationOptions.Read(folder).EndTokens);
            File.WriteAllText(
                Path.Combine(folder, GenerationOptions.FileName),
                """{"do_sample": true, "eos_token_id": [5, 6], "temperature": 0.6, "top_p": 0.95, "max_new_tokens": 64, "repetition_penalty": 1.05, "num_beams": 1}"""
            );
            var options = GenerationOptions.Read(folder);
            Assert.Equal([5, 6], options.EndTokens);
            Assert.Equal(
                (true, 0.6, 50L, 0.95, 64, 1.05, 1L),
                (
                    options.Sample,
                    options.Temperature,
                    options.TopK!.Value,
                    options.TopP,
                    options.MaxNewTokens,
                    options.RepetitionPenalty,
                    options.PaddingToken!.Value
                )
            );
            File.WriteAllText(Path.Combine(folder, GenerationOptions.FileName), """{"num_beams": 4}""");
            Assert.Contains("num_beams", Assert.Throws<NotSupportedException>(() => GenerationOptions.Read(folder)).Message);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static GeneratedTokens Generate(
        CausalLanguageModel model,
        Tensor prompts,
        Tensor? mask,
        GenerationOptions options,
        Action<int, long[]>? onTokens = null
    ) => TextGeneration.Generate(model, prompts, mask, options, onTokens, TestContext.Current.CancellationToken);

    private static GeneratedTokens Generate(CausalLanguageModel model, DecoderInput prompt, GenerationOptions options) =>
        TextGeneration.Generate(model, prompt, options, null, TestContext.Current.CancellationToken);
}
