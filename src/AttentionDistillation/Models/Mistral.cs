using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>Sizes and options of a Mistral model (Jiang et al., "Mistral 7B", 2023). The defaults are those of Mistral 7B v0.1.</summary>
public sealed record MistralConfig : RotaryDecoderConfig
{
    /// <summary>The defaults.</summary>
    public MistralConfig()
    {
        (IntermediateSize, KeyValueHeads, MaximumPositions) = (14336, 8, 131072);
        (BeginToken, EndTokens) = (1, [2]);
    }

    /// <summary>Mistral 7B v0.1: 7,241,732,096 parameters, windows of 4096 tokens.</summary>
    public static MistralConfig Mistral7B { get; } = new() { MaximumPositions = 32768, NormEpsilon = 1e-5 };

    /// <summary>Keys that a query sees at most, its own included; null for all (as since v0.2).</summary>
    public long? SlidingWindow { get; init; } = 4096;

    /// <inheritdoc/>
    public override long? WindowOf(int layer) => SlidingWindow;

    internal override (bool Input, bool Output, bool FeedForward) Biases => (false, false, false);

    internal static MistralConfig FromJson(ConfigReader reader)
    {
        var config = DecoderConfigFormat.Read(reader, new MistralConfig()) with
        {
            SlidingWindow = reader.OptionalInteger("sliding_window", 4096),
        };
        string expected = config.SlidingWindow is null ? Qwen2Config.Full : Qwen2Config.Sliding;
        if (reader.Texts("layer_types") is { } types && types.Any(type => type != expected))
            throw new NotSupportedException(
                $"'{reader.Path}' sets layer_types to [{string.Join(", ", types)}]; a Mistral model has '{expected}' in every layer where sliding_window is {config.SlidingWindow?.ToString() ?? "null"}."
            );
        return config;
    }

    internal JsonObject ToJson()
    {
        var json = DecoderConfigFormat.Write((RotaryDecoderConfig)this);
        json["sliding_window"] = SlidingWindow;
        return json;
    }
}

/// <summary>The bare Mistral decoder; its output is the last hidden state [B, L, C], after the final norm (<c>MistralModel</c> in transformers).</summary>
public sealed class MistralModel : BareDecoder
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public MistralModel(MistralConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal MistralModel(MistralConfig config, SeededLayers layers)
        : base(config, "MistralModel", DecoderNames.Rotary, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public MistralConfig Config => (MistralConfig)DecoderConfig;
}

/// <summary>Mistral with a language-model head; its output is scores [B, L, V] of each next token (<c>MistralForCausalLM</c> in transformers).</summary>
public sealed class MistralForCausalLanguageModel : CausalLanguageModel
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public MistralForCausalLanguageModel(MistralConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal MistralForCausalLanguageModel(MistralConfig config, SeededLayers layers)
        : base(config, "MistralForCausalLM", DecoderNames.Rotary with { Prefix = "model." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public MistralConfig Config => (MistralConfig)DecoderConfig;
}

/// <summary>Mistral with a classifier on the last token that is not padding; its output is scores [B, classes] (<c>MistralForSequenceClassification</c> in transformers).</summary>
public sealed class MistralForSequenceClassification : DecoderForSequenceClassification
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public MistralForSequenceClassification(MistralConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal MistralForSequenceClassification(MistralConfig config, SeededLayers layers)
        : base(config, "MistralForSequenceClassification", DecoderNames.Rotary with { Prefix = "model." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public MistralConfig Config => (MistralConfig)DecoderConfig;
}

/// <summary>Mistral with a classifier on every token; its output is scores [B, L, classes] (<c>MistralForTokenClassification</c> in transformers).</summary>
public sealed class MistralForTokenClassification : DecoderForTokenClassification
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public MistralForTokenClassification(MistralConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal MistralForTokenClassification(MistralConfig config, SeededLayers layers)
        : base(config, "MistralForTokenClassification", DecoderNames.Rotary with { Prefix = "model." }, "score", layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public MistralConfig Config => (MistralConfig)DecoderConfig;
}

/// <summary>Mistral with a span head; its output is scores of start and end [B, L, 2] (<c>MistralForQuestionAnswering</c> in transformers).</summary>
public sealed class MistralForQuestionAnswering : DecoderForQuestionAnswering
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public MistralForQuestionAnswering(MistralConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal MistralForQuestionAnswering(MistralConfig config, SeededLayers layers)
        : base(config, "MistralForQuestionAnswering", DecoderNames.Rotary with { Prefix = "model." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public MistralConfig Config => (MistralConfig)DecoderConfig;
}
