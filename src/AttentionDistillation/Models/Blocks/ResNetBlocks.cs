using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The blocks of a residual network between two changes of size; the first of them makes the change.</summary>
public sealed class ResNetStage : nn.Module<Tensor, Tensor>
{
    private readonly ModuleList<ResidualBlock> blocks;

    /// <summary>Builds the blocks.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="stage">The stage's number from 0.</param>
    /// <param name="layers">Makes the weights.</param>
    public ResNetStage(ResNetConfig config, int stage, SeededLayers layers)
        : base(nameof(ResNetStage))
    {
        ArgumentNullException.ThrowIfNull(config);
        long before = stage == 0 ? config.StemWidth : config.Widths[stage - 1];
        long width = config.Widths[stage];
        long stride = stage > 0 || config.DownsamplesInFirstStage ? 2 : 1;
        blocks = new ModuleList<ResidualBlock>([
            .. Enumerable
                .Range(0, (int)config.Depths[stage])
                .Select(block => new ResidualBlock(config, block == 0 ? before : width, width, block == 0 ? stride : 1, layers)),
        ]);
        RegisterComponents();
    }

    /// <summary>[B, C, height, width] to [B, C', height', width'].</summary>
    public override Tensor forward(Tensor map)
    {
        using var scope = NewDisposeScope();
        var current = map;
        foreach (var block in blocks)
        {
            var next = block.call(current);
            if (!ReferenceEquals(current, map))
                current.Dispose();
            current = next;
        }
        return current.MoveToOuterDisposeScope();
    }
}

/// <summary>A residual block: convolutions beside a shortcut, summed, and an activation.</summary>
public sealed class ResidualBlock : nn.Module<Tensor, Tensor>
{
    /// <summary>Inside a block, whatever the configuration's activation is.</summary>
    private const string InnerActivation = "relu";

    private readonly ModuleList<ConvolutionNorm> convolutions;
    private readonly ConvolutionNorm? shortcut;
    private readonly Func<Tensor, Tensor> activation;
    private readonly long stride;
    private readonly long newChannels;
    private readonly bool changesSize;

    /// <summary>Builds a block.</summary>
    /// <param name="config">Options.</param>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out.</param>
    /// <param name="stride">1, or 2 to halve the image.</param>
    /// <param name="layers">Makes the weights.</param>
    public ResidualBlock(ResNetConfig config, long input, long output, long stride, SeededLayers layers)
        : base(nameof(ResidualBlock))
    {
        ArgumentNullException.ThrowIfNull(config);
        this.stride = stride;
        newChannels = output - input;
        changesSize = input != output || stride != 1;
        activation = Activation.Find(config.HiddenActivation);
        double last = config.ZeroInitialResidual ? 0.0 : 1.0;
        if (config.Block == ResNetBlock.Basic)
            convolutions = new ModuleList<ConvolutionNorm>([
                new ConvolutionNorm(input, output, 3, layers, stride, activation: InnerActivation),
                new ConvolutionNorm(output, output, 3, layers, normWeight: last),
            ]);
        else
        {
            long narrow = output / ResNetConfig.BottleneckReduction;
            long first = config.DownsamplesInBottleneck ? stride : 1;
            convolutions = new ModuleList<ConvolutionNorm>([
                new ConvolutionNorm(input, narrow, 1, layers, first, activation: InnerActivation),
                new ConvolutionNorm(narrow, narrow, 3, layers, stride / first, activation: InnerActivation),
                new ConvolutionNorm(narrow, output, 1, layers, normWeight: last),
            ]);
        }
        if (changesSize && config.Shortcut == ResNetShortcut.Projection)
            shortcut = new ConvolutionNorm(input, output, 1, layers, stride);
        RegisterComponents();
    }

    /// <summary>[B, input, height, width] to [B, output, height', width'].</summary>
    public override Tensor forward(Tensor map)
    {
        using var scope = NewDisposeScope();
        var branch = map;
        foreach (var convolution in convolutions)
            branch = convolution.call(branch);
        return activation(branch + Past(map)).MoveToOuterDisposeScope();
    }

    private Tensor Past(Tensor map)
    {
        if (!changesSize)
            return map;
        if (shortcut is not null)
            return shortcut.call(map);
        // Every second pixel is a maximum over windows of one pixel.
        var thinned = stride == 1 ? map : nn.functional.max_pool2d(map, 1, stride);
        return newChannels == 0 ? thinned : nn.functional.pad(thinned, [0, 0, 0, 0, 0, newChannels]);
    }
}
