using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>A convolution without bias, a batch normalisation and, if there is one, an activation.</summary>
public sealed class ConvolutionNorm : nn.Module<Tensor, Tensor>
{
    private readonly Conv2d convolution;
    private readonly BatchNorm2d normalization;
    private readonly Func<Tensor, Tensor>? activation;

    /// <summary>Builds the layers.</summary>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out.</param>
    /// <param name="kernel">Height and width of the kernel; the image is padded by half of it.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="stride">Step in both directions.</param>
    /// <param name="groups">Groups of channels; <paramref name="input"/> for a depthwise convolution.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>); null for none.</param>
    /// <param name="normWeight">Initial weights of the normalisation; 0 makes a residual branch start as nothing.</param>
    public ConvolutionNorm(
        long input,
        long output,
        long kernel,
        SeededLayers layers,
        long stride = 1,
        long groups = 1,
        string? activation = null,
        double normWeight = 1.0
    )
        : base(nameof(ConvolutionNorm))
    {
        ArgumentNullException.ThrowIfNull(layers);
        this.activation = activation is null ? null : Activation.Find(activation);
        convolution = layers.ImageConvolution(input, output, kernel, stride, groups: groups);
        normalization = layers.BatchNorm(output, normWeight);
        RegisterComponents();
    }

    /// <summary>[B, input, height, width] to [B, output, height', width'].</summary>
    public override Tensor forward(Tensor images)
    {
        using var scope = NewDisposeScope();
        var normalised = normalization.call(ImageLayout.Convolve(convolution, images));
        return (activation is null ? normalised : activation(normalised)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The convolution that does in evaluation what a convolution and the batch normalisation after it do: weights w gamma / sqrt(var + eps), bias
    /// beta - mean gamma / sqrt(var + eps).
    /// </summary>
    /// <param name="weight">w, [output, input / groups, height, width], of a convolution without bias.</param>
    /// <param name="gamma">Weights of the normalisation, [output].</param>
    /// <param name="beta">Its biases, [output].</param>
    /// <param name="mean">Its running mean, [output].</param>
    /// <param name="variance">Its running variance, [output].</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <returns>Weights of the shape of <paramref name="weight"/> and biases [output].</returns>
    public static (Tensor Weight, Tensor Bias) Fold(
        Tensor weight,
        Tensor gamma,
        Tensor beta,
        Tensor mean,
        Tensor variance,
        double epsilon = 1e-5
    )
    {
        Shapes.Require(weight, "[output, input, height, width]");
        foreach (var statistic in new[] { gamma, beta, mean, variance })
            Shapes.RequireExact(statistic, [weight.size(0)]);
        using var scope = NewDisposeScope();
        var factor = gamma / (variance + epsilon).sqrt();
        var folded = weight * factor.view(-1, 1, 1, 1);
        return (folded.MoveToOuterDisposeScope(), (beta - mean * factor).MoveToOuterDisposeScope());
    }
}
