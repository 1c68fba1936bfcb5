using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>Sizes and options of a Llama model (Touvron et al., "LLaMA", 2023). The defaults are those of Llama 2 7B.</summary>
public sealed record LlamaConfig : RotaryDecoderConfig
{
    /// <summary>The base of the rotary frequencies since Llama 3.</summary>
    private const double Llama3Theta = 500000.0;

    /// <summary>The defaults.</summary>
    public LlamaConfig() => (BeginToken, EndTokens) = (1, [2]);

    /// <summary>A small model for tests and studies on the CPU: 4 layers of 64 with 4 heads, 2 of them for keys, untied.</summary>
    public static LlamaConfig Tiny { get; } =
        new()
        {
            VocabularySize = 256,
            HiddenSize = 64,
            IntermediateSize = 176,
            Layers = 4,
            Heads = 4,
            KeyValueHeads = 2,
            MaximumPositions = 512,
        };

    /// <summary>Llama 2 7B: 6,738,415,616 parameters.</summary>
    public static LlamaConfig Llama2_7B { get; } = new() { MaximumPositions = 4096, NormEpsilon = 1e-5 };

    /// <summary>Llama 3 8B: 8,030,261,248 parameters.</summary>
    public static LlamaConfig Llama3_8B { get; } =
        new()
        {
            VocabularySize = 128256,
            IntermediateSize = 14336,
            KeyValueHeads = 8,
            MaximumPositions = 8192,
            NormEpsilon = 1e-5,
            Rotary = new RotaryOptions { Theta = Llama3Theta },
            BeginToken = 128000,
            EndTokens = [128001],
        };

    /// <summary>Llama 3.2 1B: 1,235,814,400 parameters, head and word table shared.</summary>
    public static LlamaConfig Llama32_1B { get; } =
        Llama3_8B with
        {
            HiddenSize = 2048,
            IntermediateSize = 8192,
            Layers = 16,
            Heads = 32,
            HeadWidth = 64,
            MaximumPositions = 131072,
            TieWordEmbeddings = true,
            Rotary = new RotaryOptions
            {
                Theta = Llama3Theta,
                Scaling = RotaryScaling.Llama3,
                Factor = 32,
                LowFrequencyFactor = 1,
                HighFrequencyFactor = 4,
                OriginalPositions = 8192,
            },
        };

    /// <summary>Llama 3.2 3B: 3,212,749,824 parameters, head and word table shared.</summary>
    public static LlamaConfig Llama32_3B { get; } =
        Llama32_1B with
        {
            HiddenSize = 3072,
            Layers = 28,
            Heads = 24,
            HeadWidth = 128,
        };

    /// <summary>Whether the projections of attention have biases.</summary>
    public bool AttentionBias { get; init; }

    /// <summary>Whether the projections of the feed-forward blocks have biases.</summary>
    public bool FeedForwardBias { get; init; }

    internal override (bool Input, bool Output, bool FeedForward) Biases => (AttentionBias, AttentionBias, FeedForwardBias);

    internal static LlamaConfig FromJson(ConfigReader reader) =>
        DecoderConfigFormat.Read(reader, new LlamaConfig()) with
        {
            AttentionBias = reader.Flag("attention_bias", false),
            FeedForwardBias = reader.Flag("mlp_bias", false),
        };

    internal JsonObject ToJson()
    {
        var json = DecoderConfigFormat.Write((RotaryDecoderConfig)this);
        json["attention_bias"] = AttentionBias;
        json["mlp_bias"] = FeedForwardBias;
        return json;
    }
}

/// <summary>The bare Llama decoder; its output is the last hidden state [B, L, C], after the final norm (<c>LlamaModel</c> in transformers).</summary>
public sealed class LlamaModel : BareDecoder
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public LlamaModel(LlamaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal LlamaModel(LlamaConfig config, SeededLayers layers)
        : base(config, "LlamaModel", DecoderNames.Rotary, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public LlamaConfig Config => (LlamaConfig)DecoderConfig;
}

/// <summary>Llama with a language-model head; its output is scores [B, L, V] of each next token (<c>LlamaForCausalLM</c> in transformers).</summary>
public sealed class LlamaForCausalLanguageModel : CausalLanguageModel
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public LlamaForCausalLanguageModel(LlamaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal LlamaForCausalLanguageModel(LlamaConfig config, SeededLayers layers)
        : base(config, "LlamaForCausalLM", DecoderNames.Rotary with { Prefix = "model." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public LlamaConfig Config => (LlamaConfig)DecoderConfig;
}

/// <summary>Llama with a classifier on the last token that is not padding; its output is scores [B, classes] (<c>LlamaForSequenceClassification</c> in transformers).</summary>
public sealed class LlamaForSequenceClassification : DecoderForSequenceClassification
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public LlamaForSequenceClassification(LlamaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal LlamaForSequenceClassification(LlamaConfig config, SeededLayers layers)
        : base(config, "LlamaForSequenceClassification", DecoderNames.Rotary with { Prefix = "model." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public LlamaConfig Config => (LlamaConfig)DecoderConfig;
}

/// <summary>Llama with a classifier on every token; its output is scores [B, L, classes] (<c>LlamaForTokenClassification</c> in transformers).</summary>
public sealed class LlamaForTokenClassification : DecoderForTokenClassification
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public LlamaForTokenClassification(LlamaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal LlamaForTokenClassification(LlamaConfig config, SeededLayers layers)
        : base(config, "LlamaForTokenClassification", DecoderNames.Rotary with { Prefix = "model." }, "score", layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public LlamaConfig Config => (LlamaConfig)DecoderConfig;
}

/// <summary>Llama with a span head; its output is scores of start and end [B, L, 2] (<c>LlamaForQuestionAnswering</c> in transformers).</summary>
public sealed class LlamaForQuestionAnswering : DecoderForQuestionAnswering
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public LlamaForQuestionAnswering(LlamaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal LlamaForQuestionAnswering(LlamaConfig config, SeededLayers layers)
        : base(config, "LlamaForQuestionAnswering", DecoderNames.Rotary with { Prefix = "transformer." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public LlamaConfig Config => (LlamaConfig)DecoderConfig;
}
