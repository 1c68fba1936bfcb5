using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// What the residual networks share: stem and stages. Hidden state 0 is the stem's output, k that of stage k, as maps [B, C, height, width]; the
/// features <c>stage1</c>, <c>stage2</c>, ... are the same under names. There is no attention.
/// </summary>
/// <remarks>He et al., "Deep Residual Learning for Image Recognition", 2015.</remarks>
public abstract partial class ResNet : HubImageModel
{
    /// <summary>Standard deviation of a classifier's initial weights (Goyal et al., 2017, section 5.1).</summary>
    private protected const double ClassifierDeviation = 0.01;

    private readonly ConvolutionNorm stem;
    private readonly ModuleList<ResNetStage> stages;

    private protected ResNet(ResNetConfig config, SeededLayers layers, HubNames names, params string[] features)
        : base(Describe(config, names, features), config.Channels, names)
    {
        Config = config;
        stem = new ConvolutionNorm(
            config.Channels,
            config.StemWidth,
            config.Stem == ResNetStem.ImageNet ? 7 : 3,
            layers,
            config.Stem == ResNetStem.ImageNet ? 2 : 1,
            activation: config.HiddenActivation
        );
        stages = new ModuleList<ResNetStage>([
            .. Enumerable.Range(0, config.Widths.Count).Select(stage => new ResNetStage(config, stage, layers)),
        ]);
    }

    /// <summary>The configuration the model was built from.</summary>
    public ResNetConfig Config { get; }

    /// <inheritdoc/>
    public override JsonObject ToHubConfig() => Config.ToJson();

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        var map = stem.call(images);
        if (Config.Stem == ResNetStem.ImageNet)
            map = nn.functional.max_pool2d(map, 3, 2, 1);
        trace?.RecordHidden(0, map);
        bool whole = trace is null || trace.RunsToTheEnd;
        int last = whole ? stages.Count : trace!.LastHiddenWanted;
        for (int stage = 1; stage <= last; stage++)
        {
            map = stages[stage - 1].call(map);
            trace?.RecordHidden(stage, map);
            if (trace?.WantsFeature(Stage(stage)) == true)
                trace.RecordFeature(Stage(stage), map.alias());
        }
        return whole ? Head(map, trace) : Nothing(images);
    }

    /// <summary>The head: from the last map [B, C, height, width] to the output, recording the features it has.</summary>
    private protected abstract Tensor Head(Tensor map, ForwardTrace? trace);

    private protected override string ToHubName(string own)
    {
        if (own.StartsWith("classifier.", StringComparison.Ordinal))
            return "classifier.1" + own["classifier".Length..];
        string name = own.StartsWith("stem.", StringComparison.Ordinal)
            ? "embedder.embedder" + own["stem".Length..]
            : BlockName().Replace(own, "encoder.stages.$1.layers.$2.");
        return Prefix + LayerName().Replace(name, ".layer.$1.");
    }

    private static string Stage(int stage) => $"stage{stage}";

    private static TraceCapabilities Describe(ResNetConfig config, HubNames names, string[] features)
    {
        config.Validate();
        int count = config.Widths.Count;
        return new TraceCapabilities(names.Architecture, 0, [.. Enumerable.Range(1, count).Select(Stage), .. features])
        {
            LastHiddenState = count,
        };
    }

    [GeneratedRegex(@"^stages\.(\d+)\.blocks\.(\d+)\.")]
    private static partial Regex BlockName();

    [GeneratedRegex(@"\.convolutions\.(\d+)\.")]
    private static partial Regex LayerName();
}

/// <summary>
/// The bare residual network; its output is the last map [B, C, height, width] (<c>ResNetModel</c> in transformers). The feature
/// <c>pooler_output</c> is its mean over the image, [B, C, 1, 1].
/// </summary>
public sealed class ResNetModel : ResNet
{
    /// <summary>The feature that holds the mean over the image.</summary>
    public const string PoolerOutput = "pooler_output";

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public ResNetModel(ResNetConfig config, long seed)
        : this(config, new SeededLayers(seed, ClassifierDeviation)) { }

    internal ResNetModel(ResNetConfig config, SeededLayers layers)
        : base(config, layers, ResNetNames.Bare, PoolerOutput) => RegisterComponents();

    private protected override Tensor Head(Tensor map, ForwardTrace? trace)
    {
        if (trace?.WantsFeature(PoolerOutput) == true)
            trace.RecordFeature(PoolerOutput, map.mean([2, 3], keepdim: true));
        return map.alias();
    }
}

/// <summary>A residual network with a classifier; its output is scores [B, classes] (<c>ResNetForImageClassification</c> in transformers).</summary>
public sealed class ResNetForImageClassification : ResNet
{
    private readonly Linear classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public ResNetForImageClassification(ResNetConfig config, long seed)
        : this(config, new SeededLayers(seed, ClassifierDeviation)) { }

    internal ResNetForImageClassification(ResNetConfig config, SeededLayers layers)
        : base(config, layers, ResNetNames.ImageClassification)
    {
        classifier = layers.Linear(config.Widths[^1], config.Labels.Count);
        RegisterComponents();
    }

    private protected override Tensor Head(Tensor map, ForwardTrace? trace) => classifier.call(map.mean([2, 3]));
}

/// <summary>Checkpoint names of the ResNet family.</summary>
internal static class ResNetNames
{
    private static readonly IReadOnlyDictionary<string, string> None = new Dictionary<string, string>();

    public static readonly HubNames Bare = new("ResNetModel", "", None, None, [@"^classifier\."], HubNames.NothingTied);

    public static readonly HubNames ImageClassification = new(
        "ResNetForImageClassification",
        "resnet.",
        None,
        None,
        [],
        HubNames.NothingTied
    );
}
