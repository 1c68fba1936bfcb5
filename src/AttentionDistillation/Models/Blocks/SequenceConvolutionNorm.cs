using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>A convolution over a sequence without bias, a batch normalisation and, if there is one, an activation.</summary>
public sealed class SequenceConvolutionNorm : nn.Module<Tensor, Tensor>, IOwnProducts
{
    private readonly Parameter weight;
    private readonly BatchNorm2d normalization;
    private readonly Func<Tensor, Tensor>? activation;
    private readonly long stride;
    private readonly long groups;

    /// <summary>Builds the layers.</summary>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out.</param>
    /// <param name="kernel">Places of the kernel, odd; the sequence is padded by half of it.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="stride">Step.</param>
    /// <param name="groups">Groups of channels; <paramref name="input"/> for a depthwise convolution.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>); null for none.</param>
    /// <remarks>Weights are drawn from N(0, 2 / inputs of an output), for rectifiers (He et al. 2015).</remarks>
    public SequenceConvolutionNorm(
        long input,
        long output,
        long kernel,
        SeededLayers layers,
        long stride = 1,
        long groups = 1,
        string? activation = null
    )
        : base(nameof(SequenceConvolutionNorm))
    {
        ArgumentNullException.ThrowIfNull(layers);
        (this.stride, this.groups) = (stride, groups);
        this.activation = activation is null ? null : Activation.Find(activation);
        weight = layers.NormalParameter(Math.Sqrt(2.0 / (input / groups * kernel)), output, input / groups, kernel);
        normalization = layers.BatchNorm(output);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public long MultiplyAdds(Tensor output)
    {
        ArgumentNullException.ThrowIfNull(output);
        return output.numel() * weight.size(1) * weight.size(2);
    }

    /// <summary>[B, input, l] to [B, output, ceil(l / stride)].</summary>
    public override Tensor forward(Tensor sequence)
    {
        using var scope = NewDisposeScope();
        var convolved = SequenceConvolution.Of(sequence, weight, null, stride, groups);
        var normalised = normalization.call(convolved.unsqueeze(2)).squeeze(2);
        return (activation is null ? normalised : activation(normalised)).MoveToOuterDisposeScope();
    }
}
