using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// An inverted bottleneck (MBConv; Sandler et al., "MobileNetV2", 2018) as TinyViT has it: 1 x 1 to a multiple of the width, depthwise 3 x 3, 1 x 1
/// back, each with batch norm; the input is added and the activation comes after the sum. It starts as activation(input).
/// </summary>
public sealed class MobileConvolution : nn.Module<Tensor, Tensor>
{
    private readonly ConvolutionNorm expand;
    private readonly ConvolutionNorm spatial;
    private readonly ConvolutionNorm project;
    private readonly DropPath dropPath;
    private readonly Func<Tensor, Tensor> activation;

    /// <summary>Builds the block.</summary>
    /// <param name="width">C.</param>
    /// <param name="ratio">Inner width over C.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    /// <param name="dropPath">Stochastic depth.</param>
    /// <param name="layers">Makes the weights.</param>
    public MobileConvolution(long width, double ratio, string activation, double dropPath, SeededLayers layers)
        : base(nameof(MobileConvolution))
    {
        long inner = (long)(width * ratio);
        this.activation = Activation.Find(activation);
        expand = new ConvolutionNorm(width, inner, 1, layers, activation: activation);
        spatial = new ConvolutionNorm(inner, inner, 3, layers, groups: inner, activation: activation);
        project = new ConvolutionNorm(inner, width, 1, layers, normWeight: 0.0);
        this.dropPath = new DropPath(dropPath);
        RegisterComponents();
    }

    /// <summary>[B, C, height, width] to the same shape.</summary>
    public override Tensor forward(Tensor map)
    {
        using var scope = NewDisposeScope();
        var branch = dropPath.call(project.call(spatial.call(expand.call(map))));
        return activation(branch + map).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// A ConvNeXt block (Liu et al., "A ConvNet for the 2020s", 2022, figure 4): depthwise 7 x 7, layer norm, 1 x 1 to a multiple of the width,
/// activation, 1 x 1 back, a learned scale per channel, and the input added.
/// </summary>
public sealed class ConvNextBlock : nn.Module<Tensor, Tensor>
{
    private const long Kernel = 7;

    private readonly Conv2d spatial;
    private readonly LayerNorm norm;
    private readonly FeedForward feedForward;
    private readonly Parameter scale;
    private readonly DropPath dropPath;

    /// <summary>Builds the block.</summary>
    /// <param name="width">C.</param>
    /// <param name="ratio">Inner width over C.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    /// <param name="initialScale">Where the learned scales start, 1e-6 in the paper.</param>
    /// <param name="dropPath">Stochastic depth.</param>
    /// <param name="epsilon">Epsilon of the layer norm.</param>
    /// <param name="layers">Makes the weights.</param>
    public ConvNextBlock(
        long width,
        double ratio,
        string activation,
        double initialScale,
        double dropPath,
        double epsilon,
        SeededLayers layers
    )
        : base(nameof(ConvNextBlock))
    {
        ArgumentNullException.ThrowIfNull(layers);
        spatial = layers.ImageConvolution(width, width, Kernel, groups: width, hasBias: true);
        norm = layers.LayerNorm(width, epsilon);
        feedForward = new FeedForward(width, (long)(width * ratio), activation, layers);
        scale = layers.ZeroParameter(width);
        using (no_grad())
            scale.fill_(initialScale);
        this.dropPath = new DropPath(dropPath);
        RegisterComponents();
    }

    /// <summary>[B, C, height, width] to the same shape.</summary>
    public override Tensor forward(Tensor map)
    {
        using var scope = NewDisposeScope();
        var places = ImageLayout.Convolve(spatial, map).permute(0, 2, 3, 1);
        var branch = (feedForward.call(norm.call(places)) * scale).permute(0, 3, 1, 2);
        return (map + dropPath.call(branch)).MoveToOuterDisposeScope();
    }
}

/// <summary>Halves a map and changes its width: 1 x 1, depthwise 3 x 3 of stride 2, 1 x 1, each with batch norm, activations between (TinyViT, FcaFormer).</summary>
public sealed class ConvolutionDownsampling : nn.Module<Tensor, Tensor>
{
    private readonly ConvolutionNorm widen;
    private readonly ConvolutionNorm halve;
    private readonly ConvolutionNorm mix;

    /// <summary>Builds the layers.</summary>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    /// <param name="layers">Makes the weights.</param>
    public ConvolutionDownsampling(long input, long output, string activation, SeededLayers layers)
        : base(nameof(ConvolutionDownsampling))
    {
        widen = new ConvolutionNorm(input, output, 1, layers, activation: activation);
        halve = new ConvolutionNorm(output, output, 3, layers, stride: 2, groups: output, activation: activation);
        mix = new ConvolutionNorm(output, output, 1, layers);
        RegisterComponents();
    }

    /// <summary>[B, input, height, width] to [B, output, height / 2, width / 2], rounded up.</summary>
    public override Tensor forward(Tensor map)
    {
        using var scope = NewDisposeScope();
        return mix.call(halve.call(widen.call(map))).MoveToOuterDisposeScope();
    }
}

/// <summary>Halves a map: four neighbours side by side, layer norm, a linear layer (Liu et al., "Swin Transformer", 2021, section 3.1).</summary>
public sealed class PatchMerging : nn.Module<Tensor, Tensor>
{
    private readonly LayerNorm norm;
    private readonly Linear reduction;

    /// <summary>Builds the layers.</summary>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out.</param>
    /// <param name="epsilon">Epsilon of the layer norm.</param>
    /// <param name="layers">Makes the weights.</param>
    public PatchMerging(long input, long output, double epsilon, SeededLayers layers)
        : base(nameof(PatchMerging))
    {
        ArgumentNullException.ThrowIfNull(layers);
        norm = layers.LayerNorm(4 * input, epsilon);
        reduction = layers.Linear(4 * input, output, hasBias: false);
        RegisterComponents();
    }

    /// <summary>[B, input, height, width] to [B, output, height / 2, width / 2], odd sides padded with zeros.</summary>
    public override Tensor forward(Tensor map)
    {
        using var scope = NewDisposeScope();
        var even = nn.functional.pad(map, [0, map.size(3) % 2, 0, map.size(2) % 2]);
        long height = even.size(2) / 2,
            width = even.size(3) / 2;
        // [B, C, h, dy, w, dx] to [B, h, w, (dx, dy, C)]: neighbours column by column, as Swin's weights want them.
        var neighbours = even.reshape(map.size(0), map.size(1), height, 2, width, 2)
            .permute(0, 2, 4, 5, 3, 1)
            .reshape(map.size(0), height, width, -1);
        return reduction.call(norm.call(neighbours)).permute(0, 3, 1, 2).MoveToOuterDisposeScope();
    }
}
