using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Parallel spatial-channel attention by gates: one gate a channel, from its mean and its maximum over the places, and one a place, from mean and
/// maximum over the channels; both are applied to the input side by side and added.
/// </summary>
/// <remarks>
/// One of two readings of ClST's PSCA (arXiv 2312.17446; its equations were not seen †), after CBAM's two gates (Woo et al. 2018), which stand one after
/// the other there. The other reading is <see cref="DualAttention"/>.
/// </remarks>
public static class GateAttention
{
    /// <summary>Applies the gates.</summary>
    /// <param name="sequence">[b, c, l].</param>
    /// <param name="reduce">W₁, [r, c].</param>
    /// <param name="expand">W₂, [c, r].</param>
    /// <param name="spatial">[1, 2, k] over mean and maximum, k odd.</param>
    /// <returns>x · channel + x · position [b, c, l], the channel gate [b, c] and the position gate [b, l], both between 0 and 1.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the kernel is even.</exception>
    public static (Tensor Output, Tensor Channel, Tensor Position) Apply(
        Tensor sequence,
        Tensor reduce,
        Tensor expand,
        Tensor spatial
    )
    {
        Shapes.Require(sequence, "[b, c, l]");
        long channels = sequence.size(1);
        Shapes.RequireExact(reduce, [-1, channels]);
        Shapes.RequireExact(expand, [channels, reduce.size(0)]);
        Shapes.RequireExact(spatial, [1, 2, -1]);
        using var scope = NewDisposeScope();
        Tensor Branch(Tensor pooled) => LinearProduct.Of(LinearProduct.Of(pooled, reduce, null).relu(), expand, null);
        var channel = (Branch(sequence.mean([2L])) + Branch(sequence.amax([2L]))).sigmoid();
        var pooled = stack([sequence.mean([1L]), sequence.amax([1L])], 1);
        var position = SequenceConvolution.Of(pooled, spatial, null).squeeze(1).sigmoid();
        var output = sequence * channel.unsqueeze(2) + sequence * position.unsqueeze(1);
        return (output.MoveToOuterDisposeScope(), channel.MoveToOuterDisposeScope(), position.MoveToOuterDisposeScope());
    }
}
