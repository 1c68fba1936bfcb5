using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>Sizes and options of a DistilBERT model (Sanh et al., "DistilBERT, a distilled version of BERT", 2019).</summary>
public sealed record DistilBertConfig : TextEncoderConfig
{
    /// <summary>DistilBERT's defaults: six layers and no segments.</summary>
    public DistilBertConfig()
    {
        Layers = 6;
        TokenTypes = 0;
    }

    /// <summary>DistilBERT-base: 6 layers of 768, 66,362,880 parameters.</summary>
    public static DistilBertConfig Base { get; } = new();

    /// <summary>Whether the position table starts as sines and cosines and is not trained.</summary>
    public bool SinusoidalPositions { get; init; }

    /// <summary>Dropout probability of the sequence classifier.</summary>
    public double SequenceClassificationDropout { get; init; } = 0.2;

    /// <summary>Dropout probability of the question-answering head.</summary>
    public double QuestionAnsweringDropout { get; init; } = 0.1;

    /// <summary>DistilBERT's layer norms have one fixed epsilon (modeling_distilbert.py), which its configuration cannot change.</summary>
    private const double FixedNormEpsilon = 1e-12;

    internal override void Validate()
    {
        base.Validate();
        Probability(SequenceClassificationDropout, nameof(SequenceClassificationDropout));
        Probability(QuestionAnsweringDropout, nameof(QuestionAnsweringDropout));
        if (TokenTypes != 0)
            throw Wrong(nameof(TokenTypes), TokenTypes, "0: DistilBERT has no segments");
        if (NormEpsilon != FixedNormEpsilon)
            throw Wrong(
                nameof(NormEpsilon),
                NormEpsilon,
                FormattableString.Invariant($"{FixedNormEpsilon}, which DistilBERT fixes")
            );
    }

    internal static DistilBertConfig FromJson(ConfigReader reader)
    {
        EncoderConfigFormat.RefuseUnsupported(reader);
        var start = new DistilBertConfig();
        return start with
        {
            VocabularySize = reader.Integer("vocab_size", start.VocabularySize),
            HiddenSize = reader.Integer("dim", start.HiddenSize),
            Layers = checked((int)reader.Integer("n_layers", start.Layers)),
            Heads = reader.Integer("n_heads", start.Heads),
            HeadWidth = reader.OptionalInteger(EncoderConfigFormat.HeadWidth, null),
            IntermediateSize = reader.Integer("hidden_dim", start.IntermediateSize),
            HiddenActivation = reader.Text("activation") ?? start.HiddenActivation,
            HiddenDropout = reader.Number("dropout", start.HiddenDropout),
            AttentionDropout = reader.Number("attention_dropout", start.AttentionDropout),
            MaximumPositions = reader.Integer("max_position_embeddings", start.MaximumPositions),
            InitializerRange = reader.Number("initializer_range", start.InitializerRange),
            PaddingToken = reader.OptionalInteger("pad_token_id", start.PaddingToken),
            SinusoidalPositions = reader.Flag("sinusoidal_pos_embds", false),
            SequenceClassificationDropout = reader.Number("seq_classif_dropout", start.SequenceClassificationDropout),
            QuestionAnsweringDropout = reader.Number("qa_dropout", start.QuestionAnsweringDropout),
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", true),
            Labels = reader.Labels(),
            ProblemType = reader.Text("problem_type"),
        };
    }

    internal JsonObject ToJson() =>
        new JsonObject
        {
            ["model_type"] = "distilbert",
            ["vocab_size"] = VocabularySize,
            ["dim"] = HiddenSize,
            ["n_layers"] = Layers,
            ["n_heads"] = Heads,
            ["hidden_dim"] = IntermediateSize,
            ["activation"] = HiddenActivation,
            ["dropout"] = HiddenDropout,
            ["attention_dropout"] = AttentionDropout,
            ["max_position_embeddings"] = MaximumPositions,
            ["initializer_range"] = InitializerRange,
            ["pad_token_id"] = PaddingToken,
            ["sinusoidal_pos_embds"] = SinusoidalPositions,
            ["seq_classif_dropout"] = SequenceClassificationDropout,
            ["qa_dropout"] = QuestionAnsweringDropout,
            ["tie_word_embeddings"] = TieWordEmbeddings,
        }
            .WithHeadWidth(this)
            .WithLabels(this);
}

/// <summary>The bare DistilBert encoder; its output is the last hidden state [B, L, C] (<c>DistilBertModel</c> in transformers).</summary>
public sealed class DistilBertModel : TextEncoder
{
    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DistilBertModel(DistilBertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DistilBertModel(DistilBertConfig config, SeededLayers layers)
        : base(config, layers, DistilBertNames.Bare)
    {
        SinusoidalPositions.Apply(config, PositionTable);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public DistilBertConfig Config => (DistilBertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => hidden.alias();

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>DistilBert with a masked-language-model head; its output is scores [B, L, V] (<c>DistilBertForMaskedLM</c> in transformers).</summary>
public sealed class DistilBertForMaskedLanguageModel : TextEncoder
{
    private readonly MaskedLanguageHead head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DistilBertForMaskedLanguageModel(DistilBertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DistilBertForMaskedLanguageModel(DistilBertConfig config, SeededLayers layers)
        : base(config, layers, DistilBertNames.MaskedLanguageModel)
    {
        head = new MaskedLanguageHead(config, config.HiddenActivation, layers, WordTable, keepsBiasWhenUntied: false);
        SinusoidalPositions.Apply(config, PositionTable);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public DistilBertConfig Config => (DistilBertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>DistilBert with a classifier on the first token; its output is scores [B, classes] (<c>DistilBertForSequenceClassification</c> in transformers).</summary>
public sealed class DistilBertForSequenceClassification : TextEncoder
{
    private readonly FirstTokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DistilBertForSequenceClassification(DistilBertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DistilBertForSequenceClassification(DistilBertConfig config, SeededLayers layers)
        : base(config, layers, DistilBertNames.SequenceClassification)
    {
        head = new FirstTokenClassifier(
            config.HiddenSize,
            config.Labels.Count,
            "relu",
            0.0,
            config.SequenceClassificationDropout,
            layers
        );
        SinusoidalPositions.Apply(config, PositionTable);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public DistilBertConfig Config => (DistilBertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>DistilBert with a classifier on every token; its output is scores [B, L, classes] (<c>DistilBertForTokenClassification</c> in transformers).</summary>
public sealed class DistilBertForTokenClassification : TextEncoder
{
    private readonly TokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DistilBertForTokenClassification(DistilBertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DistilBertForTokenClassification(DistilBertConfig config, SeededLayers layers)
        : base(config, layers, DistilBertNames.TokenClassification)
    {
        head = new TokenClassifier(config.HiddenSize, config.Labels.Count, config.HiddenDropout, layers);
        SinusoidalPositions.Apply(config, PositionTable);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public DistilBertConfig Config => (DistilBertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>DistilBert with a span head; its output is scores of start and end [B, L, 2] (<c>DistilBertForQuestionAnswering</c> in transformers).</summary>
public sealed class DistilBertForQuestionAnswering : TextEncoder
{
    private readonly TokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DistilBertForQuestionAnswering(DistilBertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DistilBertForQuestionAnswering(DistilBertConfig config, SeededLayers layers)
        : base(config, layers, DistilBertNames.QuestionAnswering, StartLogits, EndLogits)
    {
        head = new TokenClassifier(config.HiddenSize, DistilBertNames.SpanEnds, config.QuestionAnsweringDropout, layers);
        SinusoidalPositions.Apply(config, PositionTable);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public DistilBertConfig Config => (DistilBertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace)
    {
        var scores = head.call(hidden);
        RecordSpans(scores, trace);
        return scores;
    }

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Checkpoint names of the DistilBert family.</summary>
internal static class DistilBertNames
{
    /// <summary>Scores of a question-answering head per token: start and end.</summary>
    public const int SpanEnds = 2;

    // Declared first: static fields are initialised in order.
    private static readonly IReadOnlyDictionary<string, string> Tied = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["vocab_projector.weight"] = "distilbert.embeddings.word_embeddings.weight",
    };

    public static readonly HubNames Bare = new(
        "DistilBertModel",
        "",
        EncoderNames.DistilBert,
        new Dictionary<string, string>(),
        [@"^vocab_"],
        HubNames.NothingTied
    );

    public static readonly HubNames MaskedLanguageModel = new(
        "DistilBertForMaskedLM",
        "distilbert.",
        EncoderNames.DistilBert,
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["head.dense"] = "vocab_transform",
            ["head.norm"] = "vocab_layer_norm",
            ["head.bias"] = "vocab_projector.bias",
            ["head.decoder"] = "vocab_projector",
        },
        [],
        Tied
    );

    public static readonly HubNames SequenceClassification = new(
        "DistilBertForSequenceClassification",
        "distilbert.",
        EncoderNames.DistilBert,
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["head.dense"] = "pre_classifier",
            ["head.output"] = "classifier",
        },
        [],
        HubNames.NothingTied
    );

    public static readonly HubNames TokenClassification = new(
        "DistilBertForTokenClassification",
        "distilbert.",
        EncoderNames.DistilBert,
        new Dictionary<string, string>(StringComparer.Ordinal) { ["head.output"] = "classifier" },
        [],
        HubNames.NothingTied
    );

    public static readonly HubNames QuestionAnswering = new(
        "DistilBertForQuestionAnswering",
        "distilbert.",
        EncoderNames.DistilBert,
        new Dictionary<string, string>(StringComparer.Ordinal) { ["head.output"] = "qa_outputs" },
        [],
        HubNames.NothingTied
    );
}

/// <summary>The fixed position table of DistilBERT's option <c>sinusoidal_pos_embds</c>.</summary>
internal static class SinusoidalPositions
{
    /// <summary>The longest wavelength over 2 pi (Vaswani et al., 2017, section 3.5).</summary>
    private const double LongestWavelength = 10000;

    /// <summary>Fills and freezes the table if the configuration asks for it; a checkpoint's own values replace these when one is loaded.</summary>
    public static void Apply(DistilBertConfig config, TorchSharp.Modules.Parameter table)
    {
        if (!config.SinusoidalPositions)
            return;
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var position = arange(config.MaximumPositions, dtype: ScalarType.Float64).unsqueeze(1);
        var column = arange(config.HiddenSize, dtype: ScalarType.Int64);
        var even = column.remainder(2).eq(0);
        var exponent = (column - column.remainder(2)).to(ScalarType.Float64) / config.HiddenSize;
        var angle = position * (-Math.Log(LongestWavelength) * exponent).exp();
        table.copy_(where(even, angle.sin(), angle.cos()));
        table.requires_grad_(false);
    }
}
