using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <content>Drawing by the number of inputs, convolutions, group norms, and parameters that start as something else than the rule says.</content>
public sealed partial class SeededLayers
{
    /// <summary>
    /// Layers drawn as PyTorch's defaults draw them, as convolutional and diffusion models are trained: weights and biases of linear layers and
    /// convolutions from U(-1/sqrt(f), 1/sqrt(f)) with f inputs per output, tables from N(0, 1).
    /// </summary>
    /// <param name="seed">The seed.</param>
    public static SeededLayers FanIn(long seed) => new(seed);

    /// <summary>
    /// A convolution over images, weights [output, input / groups, kernel, kernel], drawn by this maker's own rule as its linear layers are
    /// (<see cref="ImageConvolution(long, long, long, long, long?, long, bool, double?)"/> draws by outputs, without bias: for rectifiers and batch norms).
    /// </summary>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out.</param>
    /// <param name="kernel">Side of the kernel.</param>
    /// <param name="stride">Step of the kernel.</param>
    /// <param name="padding">Zeros added at each border.</param>
    /// <param name="hasBias">Whether each output channel has a bias.</param>
    /// <param name="groups">Groups of channels that do not see each other.</param>
    public Conv2d Convolution(
        long input,
        long output,
        long kernel,
        long stride = 1,
        long padding = 0,
        bool hasBias = true,
        long groups = 1
    )
    {
        // The layer draws weights of its own from the global generator, which these replace.
        var convolution = nn.Conv2d(
            input,
            output,
            kernel,
            stride: stride,
            padding: padding,
            groups: groups,
            bias: hasBias,
            device: Device,
            dtype: Type
        );
        long inputs = input / groups * kernel * kernel;
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        convolution.weight!.copy_(DrawFor(inputs, output, input / groups, kernel, kernel));
        if (hasBias)
        {
            using var bias = Bias(inputs, output);
            convolution.bias!.copy_(bias);
        }
        return convolution;
    }

    /// <summary>A linear layer that starts as zero, so that the branch it ends adds nothing at first.</summary>
    public Linear ZeroLinear(long input, long output, bool hasBias = true) =>
        nn.Linear(ZeroParameter(output, input), hasBias ? ZeroParameter(output) : null);

    /// <summary>A normalisation over groups of channels.</summary>
    /// <param name="groups">Number of groups.</param>
    /// <param name="channels">Channels; <paramref name="groups"/> divides them.</param>
    /// <param name="epsilon">Added to the variance.</param>
    public GroupNorm GroupNorm(long groups, long channels, double epsilon)
    {
        var norm = nn.GroupNorm(groups, channels, epsilon, device: Device, dtype: Type);
        // Given a device, the layer of TorchSharp 0.107 leaves its weights as the memory was.
        using var guard = no_grad();
        norm.weight!.fill_(1);
        norm.bias!.zero_();
        return norm;
    }

    /// <summary>A parameter from N(0, standardDeviation^2), for example learned positions.</summary>
    public Parameter NormalParameter(double standardDeviation, params long[] shape)
    {
        var parameter = ZeroParameter(shape);
        using var guard = no_grad();
        if (generator is not null)
            parameter.normal_(0.0, standardDeviation, generator);
        return parameter;
    }

    private Tensor DrawFor(long inputs, params long[] shape) =>
        isFanIn
            ? zeros(shape, dtype: Type, device: Device).uniform_(-1 / Math.Sqrt(inputs), 1 / Math.Sqrt(inputs), generator!)
            : Draw(shape);

    private Parameter Bias(long inputs, long outputs)
    {
        var bias = ZeroParameter(outputs);
        using var guard = no_grad();
        if (isFanIn)
            bias.uniform_(-1 / Math.Sqrt(inputs), 1 / Math.Sqrt(inputs), generator!);
        return bias;
    }
}
