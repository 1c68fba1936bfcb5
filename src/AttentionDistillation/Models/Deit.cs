using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// Sizes and options of a DeiT with a distillation token (Touvron et al., "Training data-efficient image transformers and distillation through
/// attention", 2021, table 1 and section 4). Counts are of both classifiers of 1,000 classes.
/// </summary>
public sealed record DeitConfig : VisionTransformerConfig
{
    /// <summary>DeiT-Ti, distilled: 5,910,800 parameters.</summary>
    public static DeitConfig Tiny { get; } =
        new()
        {
            HiddenSize = 192,
            Heads = 3,
            IntermediateSize = 768,
        };

    /// <summary>DeiT-S, distilled: 22,436,432 parameters.</summary>
    public static DeitConfig Small { get; } =
        new()
        {
            HiddenSize = 384,
            Heads = 6,
            IntermediateSize = 1536,
        };

    /// <summary>DeiT-B, distilled: 87,338,192 parameters.</summary>
    public static DeitConfig Base { get; } = new();

    internal static DeitConfig FromJson(ConfigReader reader) => Read(reader, new DeitConfig());
}

/// <summary>
/// The bare DeiT encoder; its output is the normalised last hidden state [B, L, C]: class token, distillation token, patches (<c>DeiTModel</c> in
/// transformers).
/// </summary>
public sealed class DeitModel : VisionTransformer
{
    private readonly ClassTokenPooler? pooler;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DeitModel(DeitConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DeitModel(DeitConfig config, SeededLayers layers)
        : base(config, layers, DeitNames.Bare, distillation: true, config.AddPooler ? [PoolerOutput] : [])
    {
        pooler = config.AddPooler ? new ClassTokenPooler(config, layers) : null;
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public DeitConfig Config => (DeitConfig)VisionConfig;

    /// <inheritdoc/>
    public override JsonObject ToHubConfig() => Config.ToJson("deit", ConfigExtras);

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace)
    {
        if (pooler is not null && trace?.WantsFeature(PoolerOutput) == true)
            trace.RecordFeature(PoolerOutput, pooler.call(hidden));
        return hidden;
    }
}

/// <summary>DeiT with one classifier, on the class token; its output is scores [B, classes] (<c>DeiTForImageClassification</c> in transformers).</summary>
public sealed class DeitForImageClassification : VisionTransformer
{
    private readonly Linear classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DeitForImageClassification(DeitConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DeitForImageClassification(DeitConfig config, SeededLayers layers)
        : base(config, layers, DeitNames.ImageClassification, distillation: true)
    {
        classifier = layers.Linear(config.HiddenSize, config.Labels.Count);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public DeitConfig Config => (DeitConfig)VisionConfig;

    /// <inheritdoc/>
    public override JsonObject ToHubConfig() => Config.ToJson("deit", ConfigExtras);

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => classifier.call(hidden.select(1, 0));
}

/// <summary>
/// DeiT with a classifier on the class token and one on the distillation token; its output is the mean of their scores, [B, classes]
/// (<c>DeiTForImageClassificationWithTeacher</c> in transformers). The features <c>cls_logits</c> and <c>distillation_logits</c> are what the label
/// and the teacher train (Touvron et al., 2021, equation 3).
/// </summary>
public sealed class DeitForImageClassificationWithTeacher : VisionTransformer
{
    private readonly Linear classClassifier;
    private readonly Linear distillationClassifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DeitForImageClassificationWithTeacher(DeitConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal DeitForImageClassificationWithTeacher(DeitConfig config, SeededLayers layers)
        : base(config, layers, DeitNames.WithTeacher, distillation: true, ClassLogits, DistillationLogits)
    {
        classClassifier = layers.Linear(config.HiddenSize, config.Labels.Count);
        distillationClassifier = layers.Linear(config.HiddenSize, config.Labels.Count);
        RegisterComponents();
    }

    /// <summary>The feature that holds the scores of the class token, [B, classes].</summary>
    public const string ClassLogits = "cls_logits";

    /// <summary>The feature that holds the scores of the distillation token, [B, classes].</summary>
    public const string DistillationLogits = "distillation_logits";

    /// <summary>The configuration the model was built from.</summary>
    public DeitConfig Config => (DeitConfig)VisionConfig;

    /// <inheritdoc/>
    public override JsonObject ToHubConfig() => Config.ToJson("deit", ConfigExtras);

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace)
    {
        var ofClass = classClassifier.call(hidden.select(1, 0));
        var ofDistillation = distillationClassifier.call(hidden.select(1, 1));
        trace?.RecordFeature(ClassLogits, ofClass);
        trace?.RecordFeature(DistillationLogits, ofDistillation);
        return (ofClass + ofDistillation) / 2;
    }
}
