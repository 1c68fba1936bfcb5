using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>Sizes and options of a BERT model (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019).</summary>
public sealed record BertConfig : TextEncoderConfig
{
    /// <summary>BERT-base, uncased: 12 layers of 768, 109,482,240 parameters with pooler.</summary>
    public static BertConfig Base { get; } = new();

    /// <summary>BERT-large, uncased: 24 layers of 1024, 335,141,888 parameters with pooler.</summary>
    public static BertConfig Large { get; } =
        new()
        {
            HiddenSize = 1024,
            Layers = 24,
            Heads = 16,
            IntermediateSize = 4096,
        };

    /// <summary>The 6-layer student of width 384 of MiniLM (Wang et al., 2020, section 4): 22.7 million parameters.</summary>
    public static BertConfig MiniLm6x384 { get; } = MiniLm(6, 384);

    /// <summary>The 12-layer student of width 384 of MiniLM (Wang et al., 2020, section 4.4): 33.4 million parameters.</summary>
    public static BertConfig MiniLm12x384 { get; } = MiniLm(12, 384);

    /// <summary>The 6-layer student of width 768 of MiniLM (Wang et al., 2020, section 4): 66 million parameters.</summary>
    public static BertConfig MiniLm6x768 { get; } = MiniLm(6, 768);

    /// <summary>Whether a bare encoder has a pooler.</summary>
    public bool AddPooler { get; init; } = true;

    /// <summary>Dropout probability of classification heads; null means <see cref="TextEncoderConfig.HiddenDropout"/>.</summary>
    public double? ClassifierDropout { get; init; }

    /// <summary>The feed-forward blocks of every model of the BERT family are four times as wide as its hidden states.</summary>
    private const long FeedForwardFactor = 4;

    private static BertConfig MiniLm(int layers, long width) =>
        new()
        {
            Layers = layers,
            HiddenSize = width,
            IntermediateSize = FeedForwardFactor * width,
        };

    internal double HeadDropout => ClassifierDropout ?? HiddenDropout;

    internal override void Validate()
    {
        base.Validate();
        Probability(ClassifierDropout, nameof(ClassifierDropout));
    }

    internal static BertConfig FromJson(ConfigReader reader) =>
        EncoderConfigFormat.Read(reader, new BertConfig()) with
        {
            ClassifierDropout = reader.OptionalNumber("classifier_dropout", null),
        };

    internal JsonObject ToJson() =>
        EncoderConfigFormat.Write(this, "bert", ClassifierDropout).WithHeadWidth(this).WithLabels(this);
}

/// <summary>The bare Bert encoder; its output is the last hidden state [B, L, C] (<c>BertModel</c> in transformers).</summary>
public sealed class BertModel : TextEncoder
{
    private readonly FirstTokenPooler? pooler;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public BertModel(BertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal BertModel(BertConfig config, SeededLayers layers)
        : base(config, layers, BertNames.Bare, config.AddPooler ? [PoolerOutput] : [])
    {
        pooler = config.AddPooler ? new FirstTokenPooler(config.HiddenSize, layers) : null;
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public BertConfig Config => (BertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace)
    {
        if (pooler is not null && trace?.WantsFeature(PoolerOutput) == true)
            trace.RecordFeature(PoolerOutput, pooler.call(hidden));
        return hidden.alias();
    }

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Bert with a masked-language-model head; its output is scores [B, L, V] (<c>BertForMaskedLM</c> in transformers).</summary>
public sealed class BertForMaskedLanguageModel : TextEncoder
{
    private readonly MaskedLanguageHead head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public BertForMaskedLanguageModel(BertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal BertForMaskedLanguageModel(BertConfig config, SeededLayers layers)
        : base(config, layers, BertNames.MaskedLanguageModel)
    {
        head = new MaskedLanguageHead(config, config.HiddenActivation, layers, WordTable, keepsBiasWhenUntied: true);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public BertConfig Config => (BertConfig)EncoderConfig;

    /// <summary>
    /// The vocabulary's scores for hidden states of the last layer. Called on the masked positions alone it spares the scores of all others,
    /// which are most of the cost where the vocabulary is large beside the model.
    /// </summary>
    /// <param name="hidden">[..., C].</param>
    /// <returns>[..., V].</returns>
    public Tensor Scores(Tensor hidden) => head.call(hidden);

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Bert with a classifier on the first token; its output is scores [B, classes] (<c>BertForSequenceClassification</c> in transformers).</summary>
public sealed class BertForSequenceClassification : TextEncoder
{
    private readonly FirstTokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public BertForSequenceClassification(BertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal BertForSequenceClassification(BertConfig config, SeededLayers layers)
        : base(config, layers, BertNames.SequenceClassification)
    {
        head = new FirstTokenClassifier(config.HiddenSize, config.Labels.Count, "tanh", 0.0, config.HeadDropout, layers);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public BertConfig Config => (BertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Bert with a classifier on every token; its output is scores [B, L, classes] (<c>BertForTokenClassification</c> in transformers).</summary>
public sealed class BertForTokenClassification : TextEncoder
{
    private readonly TokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public BertForTokenClassification(BertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal BertForTokenClassification(BertConfig config, SeededLayers layers)
        : base(config, layers, BertNames.TokenClassification)
    {
        head = new TokenClassifier(config.HiddenSize, config.Labels.Count, config.HeadDropout, layers);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public BertConfig Config => (BertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Bert with a span head; its output is scores of start and end [B, L, 2] (<c>BertForQuestionAnswering</c> in transformers).</summary>
public sealed class BertForQuestionAnswering : TextEncoder
{
    private readonly TokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public BertForQuestionAnswering(BertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal BertForQuestionAnswering(BertConfig config, SeededLayers layers)
        : base(config, layers, BertNames.QuestionAnswering, StartLogits, EndLogits)
    {
        head = new TokenClassifier(config.HiddenSize, BertNames.SpanEnds, 0.0, layers);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public BertConfig Config => (BertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace)
    {
        var scores = head.call(hidden);
        RecordSpans(scores, trace);
        return scores;
    }

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Checkpoint names of the Bert family.</summary>
internal static class BertNames
{
    /// <summary>Scores of a question-answering head per token: start and end.</summary>
    public const int SpanEnds = 2;

    // Declared first: static fields are initialised in order.
    private static readonly IReadOnlyDictionary<string, string> Tied = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["cls.predictions.decoder.weight"] = "bert.embeddings.word_embeddings.weight",
        ["cls.predictions.decoder.bias"] = "cls.predictions.bias",
    };

    public static readonly HubNames Bare = new(
        "BertModel",
        "",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal) { ["pooler.dense"] = "pooler.dense" },
        [@"^cls\."],
        HubNames.NothingTied
    );

    public static readonly HubNames MaskedLanguageModel = new(
        "BertForMaskedLM",
        "bert.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["head.dense"] = "cls.predictions.transform.dense",
            ["head.norm"] = "cls.predictions.transform.LayerNorm",
            ["head.bias"] = "cls.predictions.bias",
            ["head.decoder"] = "cls.predictions.decoder",
        },
        [@"^bert\.pooler\.", @"^cls\.seq_relationship\."],
        Tied
    );

    public static readonly HubNames SequenceClassification = new(
        "BertForSequenceClassification",
        "bert.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["head.dense"] = "bert.pooler.dense",
            ["head.output"] = "classifier",
        },
        [],
        HubNames.NothingTied
    );

    public static readonly HubNames TokenClassification = new(
        "BertForTokenClassification",
        "bert.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal) { ["head.output"] = "classifier" },
        [@"^bert\.pooler\."],
        HubNames.NothingTied
    );

    public static readonly HubNames QuestionAnswering = new(
        "BertForQuestionAnswering",
        "bert.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal) { ["head.output"] = "qa_outputs" },
        [@"^bert\.pooler\."],
        HubNames.NothingTied
    );
}
