using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>Bert that chooses among N continuations; inputs are [B, N, L], its output is scores [B, N] (<c>BertForMultipleChoice</c> in transformers).</summary>
public sealed class BertForMultipleChoice : TextEncoder
{
    private readonly FirstTokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public BertForMultipleChoice(BertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal BertForMultipleChoice(BertConfig config, SeededLayers layers)
        : base(config, layers, MultipleChoiceNames.Bert)
    {
        head = new FirstTokenClassifier(config.HiddenSize, 1, "tanh", 0.0, config.HeadDropout, layers);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public BertConfig Config => (BertConfig)EncoderConfig;

    private protected override bool TakesChoices => true;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Roberta that chooses among N continuations; inputs are [B, N, L], its output is scores [B, N] (<c>RobertaForMultipleChoice</c> in transformers).</summary>
public sealed class RobertaForMultipleChoice : TextEncoder
{
    private readonly FirstTokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public RobertaForMultipleChoice(RobertaConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal RobertaForMultipleChoice(RobertaConfig config, SeededLayers layers)
        : base(config, layers, MultipleChoiceNames.Roberta)
    {
        head = new FirstTokenClassifier(config.HiddenSize, 1, "tanh", 0.0, config.HeadDropout, layers);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public RobertaConfig Config => (RobertaConfig)EncoderConfig;

    private protected override bool TakesChoices => true;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>DistilBert that chooses among N continuations; inputs are [B, N, L], its output is scores [B, N] (<c>DistilBertForMultipleChoice</c> in transformers).</summary>
public sealed class DistilBertForMultipleChoice : TextEncoder
{
    private readonly FirstTokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DistilBertForMultipleChoice(DistilBertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DistilBertForMultipleChoice(DistilBertConfig config, SeededLayers layers)
        : base(config, layers, MultipleChoiceNames.DistilBert)
    {
        head = new FirstTokenClassifier(config.HiddenSize, 1, "relu", 0.0, config.SequenceClassificationDropout, layers);
        SinusoidalPositions.Apply(config, PositionTable);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public DistilBertConfig Config => (DistilBertConfig)EncoderConfig;

    private protected override bool TakesChoices => true;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}

/// <summary>Checkpoint names of the models that choose.</summary>
internal static class MultipleChoiceNames
{
    public static readonly HubNames Bert = Names("Bert", "bert.", EncoderNames.Bert, "bert.pooler.dense");
    public static readonly HubNames Roberta = Names("Roberta", "roberta.", EncoderNames.Bert, "roberta.pooler.dense");
    public static readonly HubNames DistilBert = Names("DistilBert", "distilbert.", EncoderNames.DistilBert, "pre_classifier");

    private static HubNames Names(string family, string prefix, IReadOnlyDictionary<string, string> encoder, string dense) =>
        new(
            family + "ForMultipleChoice",
            prefix,
            encoder,
            new Dictionary<string, string>(StringComparer.Ordinal) { ["head.dense"] = dense, ["head.output"] = "classifier" },
            [],
            HubNames.NothingTied
        );
}
