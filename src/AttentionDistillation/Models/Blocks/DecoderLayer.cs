using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>One pre-norm decoder layer: normalise, attend, add; normalise, feed forward, add.</summary>
public sealed class DecoderLayer : nn.Module<Tensor, DecoderPass, Tensor>
{
    private readonly nn.Module<Tensor, Tensor> attentionNorm;
    private readonly GroupedQueryAttention attention;
    private readonly nn.Module<Tensor, Tensor> feedForwardNorm;
    private readonly nn.Module<Tensor, Tensor> feedForward;
    private readonly Dropout? dropout;

    internal DecoderLayer(
        nn.Module<Tensor, Tensor> attentionNorm,
        GroupedQueryAttention attention,
        nn.Module<Tensor, Tensor> feedForwardNorm,
        nn.Module<Tensor, Tensor> feedForward,
        double dropout
    )
        : base(nameof(DecoderLayer))
    {
        (this.attentionNorm, this.attention) = (attentionNorm, attention);
        (this.feedForwardNorm, this.feedForward) = (feedForwardNorm, feedForward);
        this.dropout = dropout > 0 ? nn.Dropout(dropout) : null;
        RegisterComponents();
    }

    /// <summary>The attention layer.</summary>
    public GroupedQueryAttention Attention => attention;

    /// <summary>The normalisation before attention.</summary>
    public nn.Module<Tensor, Tensor> AttentionNorm => attentionNorm;

    /// <summary>The normalisation before the feed-forward block.</summary>
    public nn.Module<Tensor, Tensor> FeedForwardNorm => feedForwardNorm;

    /// <summary>The feed-forward block.</summary>
    public nn.Module<Tensor, Tensor> FeedForward => feedForward;

    /// <summary>[B, L, C] to [B, L, C]; empty ([0]) when the trace stops after the attention inputs.</summary>
    public override Tensor forward(Tensor hidden, DecoderPass pass)
    {
        ArgumentNullException.ThrowIfNull(pass);
        int layer = attention.Layer;
        using var scope = NewDisposeScope();
        var normed = Recorded(DecoderFeatures.AttentionInput(layer), attentionNorm.call(hidden), pass);
        var attended = attention.call(normed, pass);
        if (pass.Trace?.StopsAfterAttentionInputs(layer) == true)
            return attended.MoveToOuterDisposeScope();
        attended = Recorded(DecoderFeatures.AttentionOutput(layer), Dropped(attended), pass);
        var middle = hidden + attended;
        normed = Recorded(DecoderFeatures.FeedForwardInput(layer), feedForwardNorm.call(middle), pass);
        var fed = Recorded(DecoderFeatures.FeedForwardOutput(layer), Dropped(feedForward.call(normed)), pass);
        return (middle + fed).MoveToOuterDisposeScope();
    }

    private Tensor Dropped(Tensor tensor) => dropout is null ? tensor : dropout.call(tensor);

    private static Tensor Recorded(string feature, Tensor tensor, DecoderPass pass)
    {
        if (pass.Wants(feature))
            pass.Record(feature, tensor);
        return tensor;
    }
}
