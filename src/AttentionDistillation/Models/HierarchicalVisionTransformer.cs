using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// A hierarchical vision transformer with a classifier: a stem, stages whose maps get smaller and wider, a head on the mean over places. Its output
/// is scores [B, classes].
/// </summary>
/// <remarks>
/// Hidden state 0 is the stem's output, k that of stage k before downsampling, as maps [B, C, height, width]; the features <c>stage1</c>,
/// <c>stage2</c>, ... are the same under names. Attention layers are the attention blocks, numbered through all stages; in windows their batch is
/// [B x windows], the windows of an image one after another.
/// </remarks>
public sealed class HierarchicalVisionTransformer : ImageModel
{
    private readonly HierarchicalStemLayer stem;
    private readonly ModuleList<nn.Module<Tensor, ForwardTrace?, Tensor>> stages;
    private readonly ModuleList<nn.Module<Tensor, Tensor>> downsamplings;
    private readonly LayerNorm norm;
    private readonly Linear classifier;
    private readonly int[] lastAttentionOfStage;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public HierarchicalVisionTransformer(HierarchicalConfig config, long seed)
        : this(config, seed, null) { }

    /// <summary>Builds the model with weights drawn from a seed, and stages of the caller's own.</summary>
    /// <param name="config">Sizes and options; stages of <see cref="HierarchicalBlock.Custom"/> are the caller's.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <param name="custom">
    /// Makes a custom stage from its place: a module from maps [B, C, height, width] to the same shape, which records attention under the numbers it
    /// is given and moves what it recorded to the caller's dispose scope.
    /// </param>
    /// <exception cref="ArgumentException">The configuration is invalid, or a custom stage has no maker; the message says what and how to mend it.</exception>
    public HierarchicalVisionTransformer(
        HierarchicalConfig config,
        long seed,
        Func<CustomStage, nn.Module<Tensor, ForwardTrace?, Tensor>>? custom
    )
        : this(config, new SeededLayers(seed, config.InitializerRange), custom) { }

    internal HierarchicalVisionTransformer(
        HierarchicalConfig config,
        SeededLayers layers,
        Func<CustomStage, nn.Module<Tensor, ForwardTrace?, Tensor>>? custom = null
    )
        : base(Describe(config, custom), config.Channels)
    {
        Config = config;
        stem = new HierarchicalStemLayer(config, layers);
        var made = new List<nn.Module<Tensor, ForwardTrace?, Tensor>>();
        var between = new List<nn.Module<Tensor, Tensor>>();
        lastAttentionOfStage = new int[config.Stages.Count];
        int block = 0,
            attention = 0;
        for (int number = 0; number < config.Stages.Count; number++)
        {
            var stage = config.Stages[number];
            made.Add(
                stage.Block == HierarchicalBlock.Custom
                    ? custom!(new CustomStage(stage, number, config.GridOf(number), attention, layers))
                    : new HierarchicalStageLayer(config, number, block, attention, layers)
            );
            block += stage.Depth;
            attention += HasAttention(stage) ? stage.Depth : 0;
            lastAttentionOfStage[number] = attention - 1;
            if (number + 1 < config.Stages.Count)
                between.Add(Between(config, stage.Width, config.Stages[number + 1].Width, layers));
        }
        stages = new ModuleList<nn.Module<Tensor, ForwardTrace?, Tensor>>([.. made]);
        downsamplings = new ModuleList<nn.Module<Tensor, Tensor>>([.. between]);
        norm = layers.LayerNorm(config.Stages[^1].Width, config.NormEpsilon);
        classifier = layers.Linear(config.Stages[^1].Width, config.Labels.Count);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public HierarchicalConfig Config { get; }

    /// <summary>
    /// Factors on the learning rate per parameter, smaller towards the input (Wu et al., 2022, section 5.1, as in their code): decay to the power of
    /// the blocks after it; the stem counts as the first block, a downsampling as the block before it, the head as the last.
    /// </summary>
    /// <param name="decay">Above 0, at most 1; 0.8 in the paper's fine-tuning.</param>
    public IReadOnlyDictionary<string, double> LearningRateScales(double decay)
    {
        int[] first = new int[stages.Count + 1];
        for (int stage = 0; stage < stages.Count; stage++)
            first[stage + 1] = first[stage] + Config.Stages[stage].Depth;
        return LayerwiseDecay.Scales(
            named_parameters().Select(pair => pair.name),
            first[^1],
            decay,
            name =>
            {
                string[] parts = name.Split('.');
                return parts[0] switch
                {
                    nameof(stem) => 0,
                    nameof(stages) when Config.Stages[int.Parse(parts[1])].Block == HierarchicalBlock.Custom => first[
                        int.Parse(parts[1]) + 1
                    ] - 1,
                    nameof(stages) => first[int.Parse(parts[1])] + int.Parse(parts[3]),
                    nameof(downsamplings) => first[int.Parse(parts[1]) + 1] - 1,
                    _ => first[^1] - 1,
                };
            }
        );
    }

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        var map = stem.call(images);
        trace?.RecordHidden(0, map);
        bool whole = trace is null || trace.RunsToTheEnd;
        for (int number = 0; number < stages.Count && (whole || IsNeeded(number, trace!)); number++)
        {
            if (number > 0)
                map = downsamplings[number - 1].call(map);
            map = stages[number].call(map, trace);
            trace?.RecordHidden(number + 1, map);
            if (trace?.WantsFeature(Name(number)) == true)
                trace.RecordFeature(Name(number), map.alias());
        }
        if (!whole)
            return Nothing(images);
        var places = map.flatten(2).transpose(1, 2);
        var pooled = Config.NormalisesBeforeMean ? norm.call(places).mean([1]) : norm.call(places.mean([1]));
        return classifier.call(pooled);
    }

    private bool IsNeeded(int stage, ForwardTrace trace) =>
        trace.LastHiddenWanted > stage
        || (trace.LastAttentionWanted >= 0 && (stage == 0 || trace.LastAttentionWanted > lastAttentionOfStage[stage - 1]));

    private static string Name(int stage) => $"stage{stage + 1}";

    private static bool HasAttention(HierarchicalStage stage) =>
        stage.Block is HierarchicalBlock.Attention or HierarchicalBlock.Custom;

    private static nn.Module<Tensor, Tensor> Between(HierarchicalConfig config, long input, long output, SeededLayers layers) =>
        config.Downsampling == HierarchicalDownsampling.Convolution
            ? new ConvolutionDownsampling(input, output, config.HiddenActivation, layers)
            : new PatchMerging(input, output, config.NormEpsilon, layers);

    private static TraceCapabilities Describe(HierarchicalConfig config, Delegate? custom)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        if (custom is null && config.Stages.Any(stage => stage.Block == HierarchicalBlock.Custom))
            throw new ArgumentException(
                "The configuration has a custom stage, but nothing makes it. Use the constructor that takes a maker of custom stages."
            );
        return new TraceCapabilities(
            nameof(HierarchicalVisionTransformer),
            config.Stages.Where(HasAttention).Sum(stage => stage.Depth),
            [.. Enumerable.Range(0, config.Stages.Count).Select(Name)]
        )
        {
            LastHiddenState = config.Stages.Count,
        };
    }
}

/// <summary>The place of a custom stage.</summary>
/// <param name="Stage">What the configuration says of it.</param>
/// <param name="Number">Its number from 0.</param>
/// <param name="Grid">Height and width of its maps for images of the configured size.</param>
/// <param name="FirstAttention">The number under which it records its first attention layer; the others follow.</param>
/// <param name="Layers">Makes its weights.</param>
public sealed record CustomStage(HierarchicalStage Stage, int Number, ImageSize Grid, int FirstAttention, SeededLayers Layers);
