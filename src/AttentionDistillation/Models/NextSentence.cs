using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// Bert that says whether a second text follows the first; its output is scores [B, 2], of which class 0 means that it follows
/// (<c>BertForNextSentencePrediction</c> in transformers).
/// </summary>
public sealed class BertForNextSentencePrediction : TextEncoder
{
    private const int Classes = 2;

    private static readonly HubNames Names = new(
        nameof(BertForNextSentencePrediction),
        "bert.",
        EncoderNames.Bert,
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["head.dense"] = "bert.pooler.dense",
            ["head.output"] = "cls.seq_relationship",
        },
        [@"^cls\.predictions\."],
        HubNames.NothingTied
    );

    private readonly FirstTokenClassifier head;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public BertForNextSentencePrediction(BertConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal BertForNextSentencePrediction(BertConfig config, SeededLayers layers)
        : base(config, layers, Names)
    {
        head = new FirstTokenClassifier(config.HiddenSize, Classes, "tanh", 0.0, 0.0, layers);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public BertConfig Config => (BertConfig)EncoderConfig;

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => head.call(hidden);

    private protected override JsonObject HubConfig() => Config.ToJson();
}
