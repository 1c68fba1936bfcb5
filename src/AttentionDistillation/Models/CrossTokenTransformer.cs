using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// An image classifier whose attention blocks may attend to cross tokens of earlier blocks (<see cref="ForwardCrossBlock"/>): plain (patches, one stage)
/// or hybrid (convolutional stem and first stages, as FcaFormer-L1 to L4). Its output is scores [B, classes].
/// </summary>
/// <remarks>
/// Hidden state 0 is what enters the first attention block, state k what the k-th gives, [B, N, C] without class token; the feature
/// <see cref="LastTokens"/> holds the last block's tokens. The head averages tokens, then normalises.
/// </remarks>
public sealed class CrossTokenTransformer : ImageModel
{
    /// <summary>The feature that holds the last block's tokens, [B, N, C].</summary>
    public const string LastTokens = "last_tokens";

    private readonly PatchEmbedding? patches;
    private readonly ModuleList<ConvolutionNorm> stem;
    private readonly ModuleList<ConvolutionNorm> downsampling;
    private readonly ModuleList<ConvolutionalMixerBlock> convolutions;
    private readonly ModuleList<ForwardCrossBlock> blocks;
    private readonly LayerNorm norm;
    private readonly Linear classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public CrossTokenTransformer(CrossTokenConfig config, long seed)
        : base(Describe(config), config.Channels)
    {
        Config = config;
        var layers = new SeededLayers(seed, config.InitializerRange);
        long first = config.Stages[0].Width;
        patches = config.Patch is { } patch
            ? new PatchEmbedding(config.Channels, first, patch, layers, config.InitializerRange)
            : null;
        var (stemLayers, downLayers, convolutionLayers, blockLayers) = (
            new List<ConvolutionNorm>(),
            new List<ConvolutionNorm>(),
            new List<ConvolutionalMixerBlock>(),
            new List<ForwardCrossBlock>()
        );
        if (patches is null)
            for (int number = 0; number < config.StemConvolutions; number++)
            {
                bool last = number == config.StemConvolutions - 1;
                long input = number == 0 ? config.Channels : first / 2;
                stemLayers.Add(new(input, last ? first : first / 2, 3, layers, stride: 2, activation: last ? null : "gelu"));
            }
        for (int stage = 0; stage < config.Stages.Count; stage++)
        {
            var sizes = config.Stages[stage];
            if (stage > 0)
            {
                downLayers.Add(new(config.Stages[stage - 1].Width, sizes.Width, 1, layers));
                downLayers.Add(new(sizes.Width, sizes.Width, 3, layers, stride: 2, groups: sizes.Width));
                downLayers.Add(new(sizes.Width, sizes.Width, 1, layers));
            }
            for (int number = 0; number < sizes.Depth; number++)
                if (sizes.Heads is null)
                    convolutionLayers.Add(new(sizes.Width, config.LayerScale, layers));
                else
                    blockLayers.Add(
                        new(config.BlockOptions(stage), layers, blockLayers.Count, number, isLast: number == sizes.Depth - 1)
                    );
        }
        stem = new ModuleList<ConvolutionNorm>([.. stemLayers]);
        downsampling = new ModuleList<ConvolutionNorm>([.. downLayers]);
        convolutions = new ModuleList<ConvolutionalMixerBlock>([.. convolutionLayers]);
        blocks = new ModuleList<ForwardCrossBlock>([.. blockLayers]);
        norm = layers.LayerNorm(config.Stages[^1].Width, CrossTokenConfig.NormEpsilon);
        classifier = layers.Linear(config.Stages[^1].Width, config.Classes);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public CrossTokenConfig Config { get; }

    /// <summary>The attention blocks, first to last.</summary>
    public IReadOnlyList<ForwardCrossBlock> Blocks => [.. blocks];

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        if (images.size(2) != Config.ImageSize.Height || images.size(3) != Config.ImageSize.Width)
            throw new ArgumentException(
                $"The images are {images.size(2)} x {images.size(3)}, but biases and slots are learned for {Config.ImageSize}. Resize the images, or build the model for their size."
            );
        // Maps [B, C, height, width] through convolutional stages, tokens [B, N, C] through those of attention.
        Tensor? map = null;
        Tensor? tokens = null;
        if (patches is not null)
            tokens = patches.call(images);
        else
            map = stem.Aggregate(images, (current, layer) => layer.call(current));
        int block = 0,
            convolution = 0;
        for (int stage = 0; stage < Config.Stages.Count; stage++)
        {
            var sizes = Config.Stages[stage];
            var grid = Config.GridOf(stage);
            if (stage > 0)
            {
                map ??= Map(tokens!, Config.GridOf(stage - 1));
                for (int part = 0; part < 3; part++)
                    map = downsampling[3 * (stage - 1) + part].call(map);
                tokens = null;
            }
            if (sizes.Heads is null)
            {
                map ??= Map(tokens!, grid);
                for (int number = 0; number < sizes.Depth; number++)
                    map = convolutions[convolution++].call(map);
                tokens = null;
                continue;
            }
            tokens ??= map!.permute(0, 2, 3, 1).flatten(1, 2);
            map = null;
            int start = block;
            if (start == 0)
                trace?.RecordHidden(0, tokens);
            tokens = ForwardCrossBlock.RunStage(
                tokens,
                Config.Keep,
                Enumerable
                    .Range(start, sizes.Depth)
                    .Select(number =>
                        (Func<Tensor, Tensor?, (Tensor, Tensor?)>)((current, cross) => Step(number, current, cross, trace))
                    )
            );
            block += sizes.Depth;
        }
        tokens ??= map!.permute(0, 2, 3, 1).flatten(1, 2);
        if (trace is not null && !trace.RunsToTheEnd)
            return Nothing(images);
        if (trace?.WantsFeature(LastTokens) == true)
            trace.RecordFeature(LastTokens, tokens.alias());
        return classifier.call(norm.call(tokens.mean([1L])));
    }

    // What a trace records is owned by the stage's scope, and moved out of it here.
    private (Tensor, Tensor?) Step(int number, Tensor current, Tensor? cross, ForwardTrace? trace)
    {
        var (next, merged) = blocks[number].call(current, cross, trace);
        if (trace?.WantsAttention(number) == true)
            BiasedAttention.MoveOut(trace.Attention(number));
        if (trace?.WantsHidden(number + 1) == true)
            trace.RecordHidden(number + 1, next.alias().MoveToOuterDisposeScope());
        return (next, merged);
    }

    private static Tensor Map(Tensor tokens, ImageSize grid) =>
        tokens.view(tokens.size(0), grid.Height, grid.Width, -1).permute(0, 3, 1, 2);

    private static TraceCapabilities Describe(CrossTokenConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        return new TraceCapabilities(nameof(CrossTokenTransformer), config.AttentionBlocks, LastTokens);
    }
}

/// <summary>
/// A block of the convolutional stages (ConvNeXt's): depthwise 7 x 7, layer norm over channels, a wide 1 x 1 layer, GELU, one back, layer scale, residual.
/// </summary>
/// <remarks>Liu et al., "A ConvNet for the 2020s", 2022, figure 4.</remarks>
public sealed class ConvolutionalMixerBlock : nn.Module<Tensor, Tensor>
{
    private const double NormEpsilon = 1e-6;

    private readonly Conv2d depthwise;
    private readonly LayerNorm norm;
    private readonly FeedForward feedForward;
    private readonly Parameter scale;

    /// <summary>Builds a block.</summary>
    /// <param name="width">C.</param>
    /// <param name="layerScale">Initial layer scale.</param>
    /// <param name="layers">Makes the weights.</param>
    public ConvolutionalMixerBlock(long width, double layerScale, SeededLayers layers)
        : base(nameof(ConvolutionalMixerBlock))
    {
        ArgumentNullException.ThrowIfNull(layers);
        depthwise = layers.ImageConvolution(width, width, 7, groups: width, hasBias: true);
        norm = layers.LayerNorm(width, NormEpsilon);
        feedForward = new FeedForward(width, 4 * width, "gelu", layers);
        scale = layers.ZeroParameter(width);
        using (no_grad())
            scale.fill_(layerScale);
        RegisterComponents();
    }

    /// <summary>[B, C, height, width] to the same shape.</summary>
    public override Tensor forward(Tensor map)
    {
        using var scope = NewDisposeScope();
        var pixels = ImageLayout.Convolve(depthwise, map).permute(0, 2, 3, 1);
        var branch = feedForward.call(norm.call(pixels)) * scale;
        return (map + branch.permute(0, 3, 1, 2)).MoveToOuterDisposeScope();
    }
}
