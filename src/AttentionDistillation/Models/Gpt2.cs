using System.Text.Json.Nodes;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>
/// Sizes and options of a GPT-2 model (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019). The defaults are those of the
/// smallest.
/// </summary>
public sealed record Gpt2Config : DecoderConfig
{
    /// <summary>The feed-forward blocks are four times as wide as the hidden states, unless a width is given.</summary>
    private const long FeedForwardFactor = 4;

    /// <summary>The token that begins and ends texts.</summary>
    private const long EndOfText = 50256;

    /// <summary>The defaults.</summary>
    public Gpt2Config()
    {
        (VocabularySize, HiddenSize, Layers, Heads, MaximumPositions) = (50257, 768, 12, 12, 1024);
        (HiddenActivation, NormEpsilon, AttentionDropout, TieWordEmbeddings) = ("gelu_new", 1e-5, 0.1, true);
        (BeginToken, EndTokens) = (EndOfText, [EndOfText]);
    }

    /// <summary>124,439,808 parameters.</summary>
    public static Gpt2Config Small { get; } = new();

    /// <summary>354,823,168 parameters.</summary>
    public static Gpt2Config Medium { get; } =
        new()
        {
            HiddenSize = 1024,
            Layers = 24,
            Heads = 16,
        };

    /// <summary>774,030,080 parameters.</summary>
    public static Gpt2Config Large { get; } =
        new()
        {
            HiddenSize = 1280,
            Layers = 36,
            Heads = 20,
        };

    /// <summary>1,557,611,200 parameters.</summary>
    public static Gpt2Config Xl { get; } =
        new()
        {
            HiddenSize = 1600,
            Layers = 48,
            Heads = 25,
        };

    /// <summary>Inner width of the feed-forward blocks; null means four times <see cref="DecoderConfig.HiddenSize"/>.</summary>
    public long? IntermediateSize { get; init; }

    /// <summary>Dropout probability of the outputs of both blocks of a layer.</summary>
    public double ResidualDropout { get; init; } = 0.1;

    /// <summary>Dropout probability of the embeddings' sum.</summary>
    public double EmbeddingDropout { get; init; } = 0.1;

    /// <summary>Whether scores are divided by the root of the head width.</summary>
    public bool ScaleByWidth { get; init; } = true;

    /// <summary>Whether scores are divided by the layer's number, from 1, besides.</summary>
    public bool ScaleByLayer { get; init; }

    /// <inheritdoc/>
    public override long HeadSize => HiddenSize / Math.Max(Heads, 1);

    /// <inheritdoc/>
    public override long KeyHeads => Heads;

    internal long InnerSize => IntermediateSize ?? FeedForwardFactor * HiddenSize;

    internal override long? EmbeddingPadding => null;

    /// <inheritdoc/>
    public override long BareParameterCount =>
        (VocabularySize + MaximumPositions) * HiddenSize
        + Layers
            * (
                4 * HiddenSize * HiddenSize
                + 4 * HiddenSize
                + 2 * HiddenSize * InnerSize
                + InnerSize
                + HiddenSize
                + 4 * HiddenSize
            )
        + 2 * HiddenSize;

    internal double ScaleOf(int layer) => (ScaleByWidth ? 1.0 / Math.Sqrt(HeadSize) : 1.0) / (ScaleByLayer ? layer + 1 : 1);

    internal override void Validate()
    {
        base.Validate();
        Positive(InnerSize, nameof(IntermediateSize));
        Probability(ResidualDropout, nameof(ResidualDropout));
        Probability(EmbeddingDropout, nameof(EmbeddingDropout));
        if (HiddenSize % Heads != 0)
            throw Wrong(nameof(Heads), Heads, $"a divisor of {nameof(HiddenSize)} = {HiddenSize}");
    }

    // reorder_and_upcast_attn changes how half precision rounds, not what is computed; kernels here sum in float32 anyway.
    internal static Gpt2Config FromJson(ConfigReader reader)
    {
        var start = new Gpt2Config();
        return DecoderConfigFormat.ReadCommon(
            reader,
            start with
            {
                HiddenSize = reader.Integer("n_embd", start.HiddenSize),
                Layers = checked((int)reader.Integer("n_layer", start.Layers)),
                Heads = reader.Integer("n_head", start.Heads),
                IntermediateSize = reader.OptionalInteger("n_inner", null),
                HiddenActivation = reader.Text("activation_function") ?? start.HiddenActivation,
                MaximumPositions = reader.Integer("n_positions", start.MaximumPositions),
                NormEpsilon = reader.Number("layer_norm_epsilon", start.NormEpsilon),
                AttentionDropout = reader.Number("attn_pdrop", start.AttentionDropout),
                ResidualDropout = reader.Number("resid_pdrop", start.ResidualDropout),
                EmbeddingDropout = reader.Number("embd_pdrop", start.EmbeddingDropout),
                ScaleByWidth = reader.Flag("scale_attn_weights", true),
                ScaleByLayer = reader.Flag("scale_attn_by_inverse_layer_idx", false),
            }
        );
    }

    internal JsonObject ToJson()
    {
        var json = DecoderConfigFormat.WriteCommon(this);
        json["n_embd"] = HiddenSize;
        json["n_layer"] = Layers;
        json["n_head"] = Heads;
        json["n_inner"] = IntermediateSize;
        json["activation_function"] = HiddenActivation;
        json["n_positions"] = MaximumPositions;
        json["layer_norm_epsilon"] = NormEpsilon;
        json["attn_pdrop"] = AttentionDropout;
        json["resid_pdrop"] = ResidualDropout;
        json["embd_pdrop"] = EmbeddingDropout;
        json["scale_attn_weights"] = ScaleByWidth;
        json["scale_attn_by_inverse_layer_idx"] = ScaleByLayer;
        return json;
    }
}

/// <summary>The bare GPT-2 decoder; its output is the last hidden state [B, L, C], after the final norm (<c>GPT2Model</c> in transformers).</summary>
public sealed class Gpt2Model : BareDecoder
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Gpt2Model(Gpt2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Gpt2Model(Gpt2Config config, SeededLayers layers)
        : base(config, "GPT2Model", DecoderNames.Gpt2, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Gpt2Config Config => (Gpt2Config)DecoderConfig;
}

/// <summary>GPT-2 with a language-model head; its output is scores [B, L, V] of each next token (<c>GPT2LMHeadModel</c> in transformers).</summary>
public sealed class Gpt2ForCausalLanguageModel : CausalLanguageModel
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Gpt2ForCausalLanguageModel(Gpt2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Gpt2ForCausalLanguageModel(Gpt2Config config, SeededLayers layers)
        : base(config, "GPT2LMHeadModel", DecoderNames.Gpt2 with { Prefix = "transformer." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Gpt2Config Config => (Gpt2Config)DecoderConfig;
}

/// <summary>GPT-2 with a classifier on the last token that is not padding; its output is scores [B, classes] (<c>GPT2ForSequenceClassification</c> in transformers).</summary>
public sealed class Gpt2ForSequenceClassification : DecoderForSequenceClassification
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Gpt2ForSequenceClassification(Gpt2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Gpt2ForSequenceClassification(Gpt2Config config, SeededLayers layers)
        : base(config, "GPT2ForSequenceClassification", DecoderNames.Gpt2 with { Prefix = "transformer." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Gpt2Config Config => (Gpt2Config)DecoderConfig;
}

/// <summary>GPT-2 with a classifier on every token; its output is scores [B, L, classes] (<c>GPT2ForTokenClassification</c> in transformers).</summary>
public sealed class Gpt2ForTokenClassification : DecoderForTokenClassification
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Gpt2ForTokenClassification(Gpt2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Gpt2ForTokenClassification(Gpt2Config config, SeededLayers layers)
        : base(config, "GPT2ForTokenClassification", DecoderNames.Gpt2 with { Prefix = "transformer." }, "classifier", layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Gpt2Config Config => (Gpt2Config)DecoderConfig;
}

/// <summary>GPT-2 with a span head; its output is scores of start and end [B, L, 2] (<c>GPT2ForQuestionAnswering</c> in transformers).</summary>
public sealed class Gpt2ForQuestionAnswering : DecoderForQuestionAnswering
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public Gpt2ForQuestionAnswering(Gpt2Config config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal Gpt2ForQuestionAnswering(Gpt2Config config, SeededLayers layers)
        : base(config, "GPT2ForQuestionAnswering", DecoderNames.Gpt2 with { Prefix = "transformer." }, layers) { }

    /// <summary>The configuration the model was built from.</summary>
    public Gpt2Config Config => (Gpt2Config)DecoderConfig;
}
