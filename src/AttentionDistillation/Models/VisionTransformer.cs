using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>What the models of the ViT and DeiT families share: embeddings, pre-norm layers, final norm, trace and early stop. A model adds its head.</summary>
/// <remarks>Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", 2020, section 3.1.</remarks>
public abstract class VisionTransformer : HubImageModel
{
    private readonly VisionEmbeddings embeddings;
    private readonly ModuleList<PreNormLayer> layers;
    private readonly LayerNorm norm;

    private protected VisionTransformer(
        VisionTransformerConfig config,
        SeededLayers make,
        HubNames names,
        bool distillation,
        params string[] features
    )
        : base(Describe(config, names, features), config.Channels, names)
    {
        VisionConfig = config;
        embeddings = new VisionEmbeddings(
            config.ImageSize,
            config.Channels,
            config.PatchSize,
            config.HiddenSize,
            make,
            config.InitializerRange,
            config.InterpolatesPositions,
            distillation,
            dropout: config.HiddenDropout
        );
        layers = new ModuleList<PreNormLayer>([
            .. Enumerable.Range(0, config.Layers).Select(number => new PreNormLayer(config.LayerOptions, make, number)),
        ]);
        norm = make.LayerNorm(config.HiddenSize, config.NormEpsilon);
    }

    /// <summary>The feature that holds a bare encoder's pooled class token, [B, C].</summary>
    public const string PoolerOutput = "pooler_output";

    /// <summary>What the configuration shares with the other family.</summary>
    public VisionTransformerConfig VisionConfig { get; }

    /// <summary>
    /// Factors on the learning rate per parameter, smaller towards the input: embeddings, each layer, and norm with head are one depth each.
    /// </summary>
    /// <param name="decay">Above 0, at most 1; 0.65 to 0.75 are usual for a pretrained base model.</param>
    public IReadOnlyDictionary<string, double> LearningRateScales(double decay) =>
        LayerwiseDecay.Scales(
            named_parameters().Select(pair => pair.name),
            layers.Count + 2,
            decay,
            name =>
                name.StartsWith(nameof(embeddings) + ".", StringComparison.Ordinal) ? 0
                : name.StartsWith(nameof(layers) + ".", StringComparison.Ordinal) ? 1 + int.Parse(name.Split('.')[1])
                : layers.Count + 1
        );

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        var hidden = LayerStack.Run(layers, embeddings.call(images), null, trace);
        return trace is null || trace.RunsToTheEnd ? Head(norm.call(hidden), trace) : Nothing(images);
    }

    /// <summary>The head: from the normalised last hidden state [B, L, C] to the output, recording the features it has.</summary>
    private protected abstract Tensor Head(Tensor hidden, ForwardTrace? trace);

    private static TraceCapabilities Describe(VisionTransformerConfig config, HubNames names, string[] features)
    {
        config.Validate();
        return new TraceCapabilities(names.Architecture, config.Layers, features)
        {
            Heads = (int)config.Heads,
            HiddenWidth = (int)config.HiddenSize,
        };
    }
}

/// <summary>Sizes and options of a ViT.</summary>
public sealed record VitConfig : VisionTransformerConfig
{
    /// <summary>ViT-Ti/16 (Steiner et al., "How to train your ViT?", 2021, table 2): 5,717,416 parameters with 1,000 classes.</summary>
    public static VitConfig Tiny { get; } =
        new()
        {
            HiddenSize = 192,
            Heads = 3,
            IntermediateSize = 768,
        };

    /// <summary>ViT-S/16 (Steiner et al., 2021, table 2): 22,050,664 parameters with 1,000 classes.</summary>
    public static VitConfig Small { get; } =
        new()
        {
            HiddenSize = 384,
            Heads = 6,
            IntermediateSize = 1536,
        };

    /// <summary>ViT-B/16 (Dosovitskiy et al., 2020, table 1): 86,567,656 parameters with 1,000 classes.</summary>
    public static VitConfig Base { get; } = new();

    /// <summary>ViT-L/16 (Dosovitskiy et al., 2020, table 1): 304,326,632 parameters with 1,000 classes.</summary>
    public static VitConfig Large { get; } =
        new()
        {
            HiddenSize = 1024,
            Layers = 24,
            Heads = 16,
            IntermediateSize = 4096,
        };

    internal static VitConfig FromJson(ConfigReader reader) => Read(reader, new VitConfig());
}

/// <summary>The bare ViT encoder; its output is the normalised last hidden state [B, L, C], the class token first (<c>ViTModel</c> in transformers).</summary>
public sealed class VitModel : VisionTransformer
{
    private readonly ClassTokenPooler? pooler;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public VitModel(VitConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal VitModel(VitConfig config, SeededLayers layers)
        : base(config, layers, VitNames.Bare, distillation: false, config.AddPooler ? [PoolerOutput] : [])
    {
        pooler = config.AddPooler ? new ClassTokenPooler(config, layers) : null;
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public VitConfig Config => (VitConfig)VisionConfig;

    /// <inheritdoc/>
    public override JsonObject ToHubConfig() => Config.ToJson("vit", ConfigExtras);

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace)
    {
        if (pooler is not null && trace?.WantsFeature(PoolerOutput) == true)
            trace.RecordFeature(PoolerOutput, pooler.call(hidden));
        return hidden;
    }
}

/// <summary>ViT with a classifier on the class token; its output is scores [B, classes] (<c>ViTForImageClassification</c> in transformers).</summary>
public sealed class VitForImageClassification : VisionTransformer
{
    private readonly Linear classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public VitForImageClassification(VitConfig config, long seed)
        : this(config, new SeededLayers(seed, config.InitializerRange)) { }

    internal VitForImageClassification(VitConfig config, SeededLayers layers)
        : base(config, layers, VitNames.ImageClassification, distillation: false)
    {
        classifier = layers.Linear(config.HiddenSize, config.Labels.Count);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public VitConfig Config => (VitConfig)VisionConfig;

    /// <inheritdoc/>
    public override JsonObject ToHubConfig() => Config.ToJson("vit", ConfigExtras);

    private protected override Tensor Head(Tensor hidden, ForwardTrace? trace) => classifier.call(hidden.select(1, 0));
}
