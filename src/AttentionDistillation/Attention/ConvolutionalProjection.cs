using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Weights of one convolutional projection: a depthwise convolution, a batch normalisation, a pointwise linear map.</summary>
/// <param name="Depth">[c, 1, k], k odd.</param>
/// <param name="Norm">Of the c channels between the two.</param>
/// <param name="Point">[e, c].</param>
public sealed record ConvolutionalProjectionWeights(Tensor Depth, BatchNormTensors Norm, Tensor Point);

/// <summary>Queries, keys and values by convolutions over a sequence; a step of the keys' convolution above 1 makes a shorter key sequence.</summary>
/// <remarks>
/// The form that CvT gave it (Wu et al. 2021, section 3.2), here in one dimension for ClST (arXiv 2312.17446, whose equations were not seen †).
/// Key j stands for the place j · stride and its neighbours.
/// </remarks>
public static class ConvolutionalProjection
{
    /// <summary>Projects a sequence.</summary>
    /// <param name="sequence">[b, c, l].</param>
    /// <param name="weights">Depthwise, norm, pointwise.</param>
    /// <param name="stride">Step of the depthwise convolution.</param>
    /// <param name="training">True to normalise by the batch and to move the running numbers; false to normalise by these.</param>
    /// <returns>[b, l', e] with l' = ceil(l / stride).</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, the kernel is even, or the stride below 1.</exception>
    public static Tensor Project(Tensor sequence, ConvolutionalProjectionWeights weights, long stride, bool training)
    {
        ArgumentNullException.ThrowIfNull(weights);
        Shapes.Require(sequence, "[b, c, l]");
        Shapes.RequireExact(weights.Point, [-1, sequence.size(1)]);
        using var scope = NewDisposeScope();
        var map = SequenceConvolution.Depthwise(sequence, weights.Depth, stride).unsqueeze(2);
        var norm = weights.Norm;
        var normalised = nn.functional.batch_norm(map, norm.Mean, norm.Variance, norm.Weight, norm.Bias, training);
        return LinearProduct.Of(normalised.squeeze(2).transpose(1, 2), weights.Point, null).MoveToOuterDisposeScope();
    }

    /// <summary>Mixes the values and projects them: [b, l, c].</summary>
    /// <param name="state">Of the three projections (<see cref="AttentionState.OfHeads"/>).</param>
    /// <param name="weight">[c, e].</param>
    /// <param name="bias">[c], or null.</param>
    public static Tensor Mix(AttentionState state, Tensor weight, Tensor? bias)
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        var mixed = nn.functional.scaled_dot_product_attention(state.Query, state.Key, state.Value);
        var rows = mixed.transpose(1, 2).reshape(mixed.size(0), mixed.size(2), -1);
        return LinearProduct.Of(rows, weight, bias).MoveToOuterDisposeScope();
    }
}
