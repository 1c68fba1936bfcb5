using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>Sizes and options of a Qwen2 or Qwen2.5 model (Yang et al., "Qwen2 Technical Report", 2024). The defaults are those of transformers.</summary>
public sealed record Qwen2Config : RotaryDecoderConfig
{
    /// <summary>The kinds of layers in <c>layer_types</c>.</summary>
    internal const string Full = "full_attention",
        Sliding = "sliding_attention";

    /// <summary>The base of the rotary frequencies of the released models.</summary>
    private const double ReleasedTheta = 1000000.0;

    /// <summary>The defaults.</summary>
    public Qwen2Config()
    {
        (VocabularySize, IntermediateSize, MaximumPositions) = (151936, 22016, 32768);
        KeyValueHeads = 32;
    }

    /// <summary>Qwen2.5 0.5B: 494,032,768 parameters, head and word table shared.</summary>
    public static Qwen2Config Qwen2_0_5B { get; } =
        new()
        {
            HiddenSize = 896,
            IntermediateSize = 4864,
            Layers = 24,
            Heads = 14,
            KeyValueHeads = 2,
            TieWordEmbeddings = true,
            Rotary = new RotaryOptions { Theta = ReleasedTheta },
            BeginToken = 151643,
            EndTokens = [151643],
        };

    /// <summary>Qwen2.5 1.5B: 1,543,714,304 parameters, head and word table shared.</summary>
    public static Qwen2Config Qwen2_1_5B { get; } =
        Qwen2_0_5B with
        {
            HiddenSize = 1536,
            IntermediateSize = 8960,
            Layers = 28,
            Heads = 12,
        };

    /// <summary>Qwen2.5 7B: 7,615,616,512 parameters.</summary>
    public static Qwen2Config Qwen2_7B { get; } =
        Qwen2_0_5B with
        {
            VocabularySize = 152064,
            HiddenSize = 3584,
            IntermediateSize = 18944,
            Layers = 28,
            Heads = 28,
            KeyValueHeads = 4,
            TieWordEmbeddings = false,
        };

    /// <summary>Whether some layers have a sliding window.</summary>
    public bool UseSlidingWindow { get; init; }

    /// <summary>Keys that a query of such a layer sees at most, its own included.</summary>
    public long? SlidingWindow { get; init; } = 4096;

    /// <summary>Layers before this one see all keys, where <see cref="LayerWindows"/> does not say otherwise.</summary>
    public int FirstWindowLayer { get; init; } = 28;

    /// <summary>Which layers have the window; null means those from <see cref="FirstWindowLayer"/> on.</summary>
    public IReadOnlyList<bool>? LayerWindows { get; init; }

    /// <inheritdoc/>
    public override long? WindowOf(int layer) =>
        UseSlidingWindow && (LayerWindows is null ? layer >= FirstWindowLayer : LayerWindows[layer]) ? SlidingWindow : null;

    internal override (bool Input, bool Output, bool FeedForward) Biases => (true, false, false);

    internal override void Validate()
    {
        if (LayerWindows is not null && LayerWindows.Count != Layers)
            throw Wrong(nameof(LayerWindows), $"of {LayerWindows.Count} layers", $"of {nameof(Layers)} = {Layers}");
        base.Validate();
    }

    internal static Qwen2Config FromJson(ConfigReader reader)
    {
        var config = DecoderConfigFormat.Read(reader, new Qwen2Config());
        var types = reader.Texts("layer_types");
        if (types?.FirstOrDefault(type => type is not (Full or Sliding)) is { } unknown)
            throw new NotSupportedException(
                $"'{reader.Path}' asks for '{unknown}' in layer_types. Supported are: {Full}, {Sliding}."
            );
        return config with
        {
            UseSlidingWindow = reader.Flag("use_sliding_window", false),
            SlidingWindow = reader.OptionalInteger("sliding_window", 4096),
            FirstWindowLayer = checked((int)reader.Integer("max_window_layers", 28)),
            LayerWindows = types is null ? null : [.. types.Select(type => type == Sliding)],
        };
    }

    internal JsonObject ToJson()
    {
        var json = DecoderConfigFormat.Write((RotaryDecoderConfig)this);
        json["use_sliding_window"] = UseSlidingWindow;
        json["sliding_window"] = UseSlidingWindow ? SlidingWindow : null;
        json["max_window_layers"] = FirstWindowLayer;
        json["layer_types"] = new JsonArray([
            .. Enumerable.Range(0, Layers).Select(layer => (JsonNode)(WindowOf(layer) is null ? Full : Sliding)),
        ]);
        return json;
    }
}

/// <summary>The bare Qwen2 decoder; its output is the last hidden state [B, L, C], after the final norm (<c>Qwen2Model</c> in transformers).</summary>
public sealed class Qwen2Model : BareDecoder
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Qwen2Model(Qwen2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Qwen2Model(Qwen2Config config, SeededLayers layers)
        : base(config, "Qwen2Model", DecoderNames.Rotary, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Qwen2Config Config => (Qwen2Config)DecoderConfig;
}

/// <summary>Qwen2 with a language-model head; its output is scores [B, L, V] of each next token (<c>Qwen2ForCausalLM</c> in transformers).</summary>
public sealed class Qwen2ForCausalLanguageModel : CausalLanguageModel
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Qwen2ForCausalLanguageModel(Qwen2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Qwen2ForCausalLanguageModel(Qwen2Config config, SeededLayers layers)
        : base(config, "Qwen2ForCausalLM", DecoderNames.Rotary with { Prefix = "model." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Qwen2Config Config => (Qwen2Config)DecoderConfig;
}

/// <summary>Qwen2 with a classifier on the last token that is not padding; its output is scores [B, classes] (<c>Qwen2ForSequenceClassification</c> in transformers).</summary>
public sealed class Qwen2ForSequenceClassification : DecoderForSequenceClassification
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Qwen2ForSequenceClassification(Qwen2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Qwen2ForSequenceClassification(Qwen2Config config, SeededLayers layers)
        : base(config, "Qwen2ForSequenceClassification", DecoderNames.Rotary with { Prefix = "model." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Qwen2Config Config => (Qwen2Config)DecoderConfig;
}

/// <summary>Qwen2 with a classifier on every token; its output is scores [B, L, classes] (<c>Qwen2ForTokenClassification</c> in transformers).</summary>
public sealed class Qwen2ForTokenClassification : DecoderForTokenClassification
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Qwen2ForTokenClassification(Qwen2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Qwen2ForTokenClassification(Qwen2Config config, SeededLayers layers)
        : base(config, "Qwen2ForTokenClassification", DecoderNames.Rotary with { Prefix = "model." }, "score", layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Qwen2Config Config => (Qwen2Config)DecoderConfig;
}

/// <summary>Qwen2 with a span head; its output is scores of start and end [B, L, 2] (<c>Qwen2ForQuestionAnswering</c> in transformers).</summary>
public sealed class Qwen2ForQuestionAnswering : DecoderForQuestionAnswering
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Qwen2ForQuestionAnswering(Qwen2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Qwen2ForQuestionAnswering(Qwen2Config config, SeededLayers layers)
        : base(config, "Qwen2ForQuestionAnswering", DecoderNames.Rotary with { Prefix = "transformer." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Qwen2Config Config => (Qwen2Config)DecoderConfig;
}
