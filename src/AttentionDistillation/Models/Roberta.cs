using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>Sizes and options of a RoBERTa model (Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach", 2019).</summary>
public sealed record RobertaConfig : TextEncoderConfig
{
    /// <summary>RoBERTa's defaults: one segment, padding is token 1, and the positions of real tokens begin at 2.</summary>
    public RobertaConfig()
    {
        VocabularySize = 50265;
        MaximumPositions = 514;
        TokenTypes = 1;
        NormEpsilon = 1e-5;
        PaddingToken = 1;
    }

    /// <summary>RoBERTa-base: 12 layers of 768, 124,645,632 parameters with pooler.</summary>
    public static RobertaConfig Base { get; } = new();

    /// <summary>Whether a bare encoder has a pooler.</summary>
    public bool AddPooler { get; init; } = true;

    /// <summary>Dropout probability of classification heads; null means <see cref="TextEncoderConfig.HiddenDropout"/>.</summary>
    public double? ClassifierDropout { get; init; }

    internal override long? PositionPadding => PaddingToken;

    internal double HeadDropout => ClassifierDropout ?? HiddenDropout;

    internal override void Validate()
    {
        if (PaddingToken is null)
            throw Wrong(nameof(PaddingToken), "null", "a token: RoBERTa counts positions from it");
        base.Validate();
        Probability(ClassifierDropout, nameof(ClassifierDropout));
    }

    /// <summary>Reads a file; what it leaves out has the defaults of transformers, which are not those of the published checkpoints.</summary>
    internal static RobertaConfig FromJson(ConfigReader reader) =>
        EncoderConfigFormat.Read(
            reader,
            new RobertaConfig
            {
                MaximumPositions = 512,
                TokenTypes = 2,
                NormEpsilon = 1e-12,
            }
        ) with
        {
            ClassifierDropout = reader.OptionalNumber("classifier_dropout", null),
        };

    internal JsonObject ToJson() =>
        EncoderConfigFormat.Write(this, "roberta", ClassifierDropout).WithHeadWidth(this).WithLabels(this);
}

/// <summary>The bare Roberta encoder; its output is the last hidden state [B, L, C] (<c>RobertaModel</c> in transformers).</summary>
public sealed class RobertaModel : TextEncoder
{
    private readonly FirstTokenPooler? pooler;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public RobertaModel(RobertaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal RobertaModel(RobertaConfig config, SeededLayers layers)
        : base(config, layers, RobertaNames.Bare, config.AddPooler ? [PoolerOutput] : [])
    {
        pooler = config.AddPooler ? new FirstTokenPooler(config.HiddenSize, layers) : null;
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public RobertaConfig Config => (RobertaConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace)
    {
        if (pooler is not null && trace?.WantsFeature(PoolerOutput) == true)
            trace.RecordFeature(PoolerOutput, pooler.call(hidden));
        return hidden.alias();
    }

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Roberta with a masked-language-model head; its output is scores [B, L, V] (<c>RobertaForMaskedLM</c> in transformers).</summary>
public sealed class RobertaForMaskedLanguageModel : TextEncoder
{
    /// <summary>RoBERTa's language-model head uses GELU whatever hidden_act says (modeling_roberta.py).</summary>
    private const string LanguageHeadActivation = "gelu";

    private readonly MaskedLanguageHead head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public RobertaForMaskedLanguageModel(RobertaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal RobertaForMaskedLanguageModel(RobertaConfig config, SeededLayers layers)
        : base(config, layers, RobertaNames.MaskedLanguageModel)
    {
        head = new MaskedLanguageHead(config, LanguageHeadActivation, layers, WordTable, keepsBiasWhenUntied: true);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public RobertaConfig Config => (RobertaConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Roberta with a classifier on the first token; its output is scores [B, classes] (<c>RobertaForSequenceClassification</c> in transformers).</summary>
public sealed class RobertaForSequenceClassification : TextEncoder
{
    private readonly FirstTokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public RobertaForSequenceClassification(RobertaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal RobertaForSequenceClassification(RobertaConfig config, SeededLayers layers)
        : base(config, layers, RobertaNames.SequenceClassification)
    {
        head = new FirstTokenClassifier(
            config.HiddenSize,
            config.Labels.Count,
            "tanh",
            config.HeadDropout,
            config.HeadDropout,
            layers
        );
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public RobertaConfig Config => (RobertaConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Roberta with a classifier on every token; its output is scores [B, L, classes] (<c>RobertaForTokenClassification</c> in transformers).</summary>
public sealed class RobertaForTokenClassification : TextEncoder
{
    private readonly TokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public RobertaForTokenClassification(RobertaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal RobertaForTokenClassification(RobertaConfig config, SeededLayers layers)
        : base(config, layers, RobertaNames.TokenClassification)
    {
        head = new TokenClassifier(config.HiddenSize, config.Labels.Count, config.HeadDropout, layers);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public RobertaConfig Config => (RobertaConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Roberta with a span head; its output is scores of start and end [B, L, 2] (<c>RobertaForQuestionAnswering</c> in transformers).</summary>
public sealed class RobertaForQuestionAnswering : TextEncoder
{
    private readonly TokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public RobertaForQuestionAnswering(RobertaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal RobertaForQuestionAnswering(RobertaConfig config, SeededLayers layers)
        : base(config, layers, RobertaNames.QuestionAnswering, StartLogits, EndLogits)
    {
        head = new TokenClassifier(config.HiddenSize, RobertaNames.SpanEnds, 0.0, layers);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public RobertaConfig Config => (RobertaConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace)
    {
        var scores = head.call(hidden);
        RecordSpans(scores, trace);
        return scores;
    }

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Checkpoint names of the Roberta family.</summary>
internal static class RobertaNames
{
    /// <summary>Scores of a question-answering head per token: start and end.</summary>
    public const int SpanEnds = 2;

    // Declared first: static fields are initialised in order.
    private static readonly IReadOnlyDictionary<string, string> Tied = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["lm_head.decoder.weight"] = "roberta.embeddings.word_embeddings.weight",
        ["lm_head.decoder.bias"] = "lm_head.bias",
    };

    public static readonly HubNames Bare = new(
        "RobertaModel",
        "",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal) { ["pooler.dense"] = "pooler.dense" },
        [@"^lm_head\."],
        HubNames.NothingTied
    );

    public static readonly HubNames MaskedLanguageModel = new(
        "RobertaForMaskedLM",
        "roberta.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["head.dense"] = "lm_head.dense",
            ["head.norm"] = "lm_head.layer_norm",
            ["head.bias"] = "lm_head.bias",
            ["head.decoder"] = "lm_head.decoder",
        },
        [@"^roberta\.pooler\."],
        Tied
    );

    public static readonly HubNames SequenceClassification = new(
        "RobertaForSequenceClassification",
        "roberta.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["head.dense"] = "classifier.dense",
            ["head.output"] = "classifier.out_proj",
        },
        [@"^roberta\.pooler\."],
        HubNames.NothingTied
    );

    public static readonly HubNames TokenClassification = new(
        "RobertaForTokenClassification",
        "roberta.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal) { ["head.output"] = "classifier" },
        [@"^roberta\.pooler\."],
        HubNames.NothingTied
    );

    public static readonly HubNames QuestionAnswering = new(
        "RobertaForQuestionAnswering",
        "roberta.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal) { ["head.output"] = "qa_outputs" },
        [@"^roberta\.pooler\."],
        HubNames.NothingTied
    );
}
