using AttentionDistillation.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

public sealed partial class SeededLayers
{
    /// <summary>Normal draws beyond this many standard deviations are cut off by <see cref="TruncatedNormalParameter"/>.</summary>
    private const double TruncationDeviations = 2.0;

    /// <summary>A convolution of images, weights [output, input / groups, kernel, kernel], biases 0.</summary>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out.</param>
    /// <param name="kernel">Height and width of the kernel.</param>
    /// <param name="stride">Step in both directions.</param>
    /// <param name="padding">Zeros on every side; null means half the kernel, which keeps the size at stride 1 and an odd kernel.</param>
    /// <param name="groups">Groups of channels; <paramref name="input"/> for a depthwise convolution.</param>
    /// <param name="hasBias">Whether it has biases; not needed before a batch norm.</param>
    /// <param name="standardDeviation">
    /// Of the weights; null means sqrt(2 / fan-out) (He et al., "Delving Deep into Rectifiers", 2015, equation 14).
    /// </param>
    public Conv2d ImageConvolution(
        long input,
        long output,
        long kernel,
        long stride = 1,
        long? padding = null,
        long groups = 1,
        bool hasBias = false,
        double? standardDeviation = null
    ) =>
        ImageConvolution(
            input,
            output,
            (kernel, kernel),
            (stride, stride),
            padding ?? kernel / 2,
            groups,
            hasBias,
            standardDeviation
        );

    /// <summary>A convolution of images whose kernel need not be square, weights [output, input / groups, height, width].</summary>
    public Conv2d ImageConvolution(
        long input,
        long output,
        (long Height, long Width) kernel,
        (long Vertical, long Horizontal) stride,
        long padding,
        long groups = 1,
        bool hasBias = false,
        double? standardDeviation = null
    )
    {
        var layer = nn.Conv2d(
            input,
            output,
            kernel,
            stride,
            (padding, padding),
            null,
            groups: groups,
            bias: hasBias,
            device: Device,
            dtype: Type
        );
        double fanOut = (double)kernel.Height * kernel.Width * output / groups;
        Fill(layer.weight, standardDeviation ?? Math.Sqrt(2.0 / fanOut));
        if (layer.bias is { } bias)
            Fill(bias, 0.0);
        return layer;
    }

    /// <summary>A batch normalisation of images: weights 1, biases 0, running mean 0 and variance 1.</summary>
    /// <param name="channels">C.</param>
    /// <param name="weight">The initial weights; 0 makes a residual branch start as nothing (Goyal et al., 2017, section 5.1).</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <param name="momentum">Share of a batch in the running statistics.</param>
    public BatchNorm2d BatchNorm(long channels, double weight = 1.0, double epsilon = 1e-5, double momentum = 0.1)
    {
        var layer = nn.BatchNorm2d(channels, epsilon, momentum, device: Device, dtype: Type);
        using var guard = no_grad();
        // Given a device, TorchSharp 0.107 may leave weights and statistics as the memory was.
        layer.weight.fill_(weight);
        layer.bias!.zero_();
        layer.running_mean!.zero_();
        layer.running_var!.fill_(1.0);
        // The count of batches is a whole number in checkpoints; made with an element type, the layer holds it in that.
        layer.num_batches_tracked = zeros([], dtype: ScalarType.Int64, device: Device).DetachFromDisposeScope();
        return layer;
    }

    /// <summary>A parameter drawn from N(0, s^2) without what lies beyond two standard deviations.</summary>
    /// <param name="standardDeviation">s of the normal distribution before it is cut.</param>
    /// <param name="shape">Its shape.</param>
    public Parameter TruncatedNormalParameter(double standardDeviation, params long[] shape)
    {
        var parameter = ZeroParameter(shape);
        if (generator is null)
            return parameter;
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        // Inverse of the distribution function: uniform draws between its values at the two cuts.
        double edge = ErrorFunction(TruncationDeviations / Math.Sqrt(2.0));
        var uniform = rand(shape, dtype: ScalarType.Float64, generator: generator).mul(2.0 * edge).sub(edge);
        parameter.copy_(uniform.erfinv().mul(standardDeviation * Math.Sqrt(2.0)));
        return parameter;
    }

    private static double ErrorFunction(double value)
    {
        using var at = tensor(value, dtype: ScalarType.Float64);
        using var result = at.erf();
        return result.ToDouble();
    }

    private void Fill(Tensor parameter, double deviation)
    {
        using var guard = no_grad();
        if (generator is null || deviation == 0.0)
            parameter.zero_();
        else
            parameter.normal_(0.0, deviation, generator);
    }
}
