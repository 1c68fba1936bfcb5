using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Decoders;

/// <summary>Small decoders of every family, in float64 so that different orders of summation agree closely.</summary>
internal static class TinyDecoders
{
    public const int Vocabulary = 29;

    public static TheoryData<string> Names() => ["gpt2", "llama", "llama-biased", "qwen2-window", "mistral-window"];

    public static CausalLanguageModel Build(string name, long seed = 3)
    {
        CausalLanguageModel model = name switch
        {
            "gpt2" => new Gpt2ForCausalLanguageModel(Gpt2, seed),
            "llama" => new LlamaForCausalLanguageModel(Llama, seed),
            "llama-biased" => new LlamaForCausalLanguageModel(
                Llama with
                {
                    AttentionBias = true,
                    FeedForwardBias = true,
                    HeadWidth = 6,
                    TieWordEmbeddings = true,
                    HiddenActivation = "gelu",
                    Rotary = new RotaryOptions { PartialFactor = 0.67 },
                },
                seed
            ),
            "qwen2-window" => new Qwen2ForCausalLanguageModel(Qwen2, seed),
            "mistral-window" => new MistralForCausalLanguageModel(Mistral, seed),
            _ => throw new ArgumentException(name),
        };
        Spread(model, seed);
        model.to(ScalarType.Float64);
        model.eval();
        return model;
    }

    public static Gpt2Config Gpt2 { get; } =
        new()
        {
            VocabularySize = Vocabulary,
            HiddenSize = 16,
            Layers = 3,
            Heads = 4,
            MaximumPositions = 32,
            EndTokens = [2],
            ScaleByLayer = true,
        };

    public static LlamaConfig Llama { get; } =
        new()
        {
            VocabularySize = Vocabulary,
            HiddenSize = 16,
            IntermediateSize = 24,
            Layers = 3,
            Heads = 4,
            KeyValueHeads = 2,
            MaximumPositions = 32,
        };

    public static Qwen2Config Qwen2 { get; } =
        new()
        {
            VocabularySize = Vocabulary,
            HiddenSize = 16,
            IntermediateSize = 24,
            Layers = 3,
            Heads = 4,
            KeyValueHeads = 2,
            MaximumPositions = 32,
            UseSlidingWindow = true,
            SlidingWindow = 3,
            FirstWindowLayer = 1,
        };

    public static MistralConfig Mistral { get; } =
        new()
        {
            VocabularySize = Vocabulary,
            HiddenSize = 16,
            IntermediateSize = 24,
            Layers = 3,
            Heads = 4,
            KeyValueHeads = 1,
            MaximumPositions = 32,
            SlidingWindow = 4,
        };

    /// <summary>int64 [2, length], the same for the same seed.</summary>
    public static Tensor Tokens(long batch, long length, long seed = 5) =>
        randint(3, Vocabulary, [batch, length], dtype: ScalarType.Int64, generator: Seeds.Generator(seed, "tokens"));

    public static double Difference(Tensor first, Tensor second)
    {
        Assert.Equal(first.shape, second.shape);
        return (first - second).abs().max().ToDouble();
    }

    // Weights of the usual small size make attention nearly uniform and biases zero: nothing would be seen of a wrong mask.
    private static void Spread(nn.Module model, long seed)
    {
        using var guard = no_grad();
        var generator = Seeds.Generator(seed, "spread");
        foreach (var (_, parameter) in model.named_parameters())
            if (parameter.dim() > 1)
                parameter.mul_(12.0);
            else
                parameter.add_(randn(parameter.shape, generator: generator) * 0.3);
    }
}
