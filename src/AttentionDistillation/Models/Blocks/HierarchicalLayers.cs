using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The stem of a hierarchical vision transformer: from images to the first maps.</summary>
public sealed class HierarchicalStemLayer : nn.Module<Tensor, Tensor>
{
    private readonly ConvolutionNorm? first;
    private readonly ConvolutionNorm? second;
    private readonly PatchEmbedding? patches;
    private readonly LayerNorm? norm;
    private readonly ImageSize patch;

    /// <summary>Builds the layers.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="layers">Makes the weights.</param>
    public HierarchicalStemLayer(HierarchicalConfig config, SeededLayers layers)
        : base(nameof(HierarchicalStemLayer))
    {
        ArgumentNullException.ThrowIfNull(config);
        long width = config.Stages[0].Width;
        patch = config.PatchSize;
        if (config.Stem == HierarchicalStem.Convolution)
        {
            first = new ConvolutionNorm(config.Channels, width / 2, 3, layers, stride: 2, activation: config.HiddenActivation);
            second = new ConvolutionNorm(width / 2, width, 3, layers, stride: 2);
        }
        else
        {
            patches = new PatchEmbedding(config.Channels, width, patch, layers, config.InitializerRange);
            norm = layers.LayerNorm(width, config.NormEpsilon);
        }
        RegisterComponents();
    }

    /// <summary>[B, channels, height, width] to [B, C, height', width'].</summary>
    /// <exception cref="ArgumentException">The images are smaller than a patch.</exception>
    public override Tensor forward(Tensor images)
    {
        using var scope = NewDisposeScope();
        if (patches is null)
            return second!.call(first!.call(images)).MoveToOuterDisposeScope();
        var grid = new ImageSize(images.size(2), images.size(3)).Whole(patch);
        if (grid.Area < 1)
            throw new ArgumentException(
                $"The images are {images.size(2)} x {images.size(3)}, smaller than one patch of {patch}. Give larger images.",
                nameof(images)
            );
        return norm!
            .call(patches.call(images))
            .transpose(1, 2)
            .reshape(images.size(0), -1, grid.Height, grid.Width)
            .MoveToOuterDisposeScope();
    }
}

/// <summary>The blocks of one stage of a hierarchical vision transformer.</summary>
public sealed class HierarchicalStageLayer : nn.Module<Tensor, ForwardTrace?, Tensor>
{
    private readonly ModuleList<nn.Module> blocks;

    /// <summary>Builds the blocks.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="number">The stage's number from 0.</param>
    /// <param name="firstBlock">The number of its first block among all blocks, for stochastic depth.</param>
    /// <param name="firstAttention">The number of its first attention layer.</param>
    /// <param name="layers">Makes the weights.</param>
    public HierarchicalStageLayer(HierarchicalConfig config, int number, int firstBlock, int firstAttention, SeededLayers layers)
        : base(nameof(HierarchicalStageLayer))
    {
        ArgumentNullException.ThrowIfNull(config);
        var stage = config.Stages[number];
        int all = config.Stages.Sum(other => other.Depth);
        blocks = new ModuleList<nn.Module>([
            .. Enumerable
                .Range(0, stage.Depth)
                .Select(block =>
                    Make(
                        config,
                        number,
                        block,
                        DropPath.Linear(config.DropPathRate, firstBlock + block, all),
                        firstAttention,
                        layers
                    )
                ),
        ]);
        RegisterComponents();
    }

    /// <summary>[B, C, height, width] to the same shape.</summary>
    public override Tensor forward(Tensor map, ForwardTrace? trace)
    {
        var current = map;
        foreach (var block in blocks)
        {
            var next = block is WindowAttentionBlock attention
                ? attention.call(current, trace)
                : ((nn.Module<Tensor, Tensor>)block).call(current);
            if (!ReferenceEquals(current, map))
                current.Dispose();
            current = next;
        }
        return current;
    }

    private static nn.Module Make(
        HierarchicalConfig config,
        int number,
        int block,
        double dropPath,
        int firstAttention,
        SeededLayers layers
    )
    {
        var stage = config.Stages[number];
        return stage.Block switch
        {
            HierarchicalBlock.MobileConvolution => new MobileConvolution(
                stage.Width,
                stage.Ratio,
                config.HiddenActivation,
                dropPath,
                layers
            ),
            HierarchicalBlock.ConvNext => new ConvNextBlock(
                stage.Width,
                stage.Ratio,
                config.HiddenActivation,
                config.InitialLayerScale,
                dropPath,
                config.NormEpsilon,
                layers
            ),
            _ => new WindowAttentionBlock(
                new WindowBlockOptions
                {
                    Width = stage.Width,
                    Heads = stage.Heads,
                    Window = stage.Window,
                    Shift = stage.ShiftsWindows && block % 2 == 1 ? stage.Window!.Value / 2 : 0,
                    Grid = config.GridOf(number),
                    Bias = stage.Bias,
                    PadsBeforeNorm = config.PadsBeforeNorm,
                    LocalKernel = stage.LocalKernel,
                    FeedForwardRatio = stage.Ratio,
                    Activation = config.HiddenActivation,
                    NormEpsilon = config.NormEpsilon,
                    Dropout = config.HiddenDropout,
                    AttentionDropout = config.AttentionDropout,
                    DropPath = dropPath,
                },
                layers,
                firstAttention + block
            ),
        };
    }
}
