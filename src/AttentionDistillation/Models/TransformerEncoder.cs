using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>A stack of post-norm Transformer encoder layers, as BERT, RoBERTa and DistilBERT have it.</summary>
public sealed class TransformerEncoder : nn.Module<Tensor, Tensor?, ForwardTrace?, Tensor>
{
    private readonly ModuleList<EncoderLayer> layers;

    /// <summary>Builds the layers.</summary>
    public TransformerEncoder(TextEncoderConfig config, SeededLayers make)
        : base(nameof(TransformerEncoder))
    {
        layers = new ModuleList<EncoderLayer>([
            .. Enumerable.Range(0, config.Layers).Select(number => new EncoderLayer(config, make, number)),
        ]);
        RegisterComponents();
    }

    /// <summary>The layers, for their attention (<see cref="MultiHeadAttention.Form"/>).</summary>
    public IReadOnlyList<EncoderLayer> Layers => [.. layers];

    /// <summary>Runs the layers, only as many as the trace needs when it does not want the output.</summary>
    /// <param name="hidden">The embedding's output, [B, L, C].</param>
    /// <param name="mask">bool [B, L], true = real token, or null.</param>
    /// <param name="trace">Records what it wants.</param>
    /// <returns>[B, L, C]; what the last layer that ran gave, empty ([0]) when that layer stopped after its attention inputs.</returns>
    public override Tensor forward(Tensor hidden, Tensor? mask, ForwardTrace? trace) =>
        LayerStack.Run(layers, hidden, mask, trace);
}

/// <summary>One encoder layer: attention, add and normalise, feed-forward, add and normalise.</summary>
public sealed class EncoderLayer : nn.Module<Tensor, Tensor?, ForwardTrace?, Tensor>
{
    private readonly MultiHeadAttention attention;
    private readonly LayerNorm attentionNorm;
    private readonly FeedForward feedForward;
    private readonly LayerNorm outputNorm;
    private readonly Dropout dropout;
    private readonly double epsilon;

    /// <summary>Builds a layer.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="make">Makes the weights.</param>
    /// <param name="number">The layer's number from 0.</param>
    public EncoderLayer(TextEncoderConfig config, SeededLayers make, int number)
        : base(nameof(EncoderLayer))
    {
        attention = new MultiHeadAttention(
            config.HiddenSize,
            config.Heads,
            make,
            number,
            config.AttentionDropout,
            headWidth: config.HeadWidth
        );
        attentionNorm = make.LayerNorm(config.HiddenSize, config.NormEpsilon);
        feedForward = new FeedForward(config.HiddenSize, config.IntermediateSize, config.HiddenActivation, make);
        outputNorm = make.LayerNorm(config.HiddenSize, config.NormEpsilon);
        dropout = nn.Dropout(config.HiddenDropout);
        epsilon = config.NormEpsilon;
        RegisterComponents();
    }

    /// <summary>The attention layer.</summary>
    public MultiHeadAttention Attention => attention;

    /// <summary>[B, L, C] to [B, L, C], or empty ([0]) when the trace stops after the attention inputs.</summary>
    public override Tensor forward(Tensor hidden, Tensor? mask, ForwardTrace? trace)
    {
        using var scope = NewDisposeScope();
        var attended = attention.call(hidden, null, mask, trace);
        if (trace?.WantsAttention(attention.Layer) == true)
            trace.Attention(attention.Layer).MoveToOuterDisposeScope();
        if (trace?.StopsAfterAttentionInputs(attention.Layer) == true)
            return attended.MoveToOuterDisposeScope();
        var middle = Normalised(attentionNorm, hidden, dropout.call(attended));
        return Normalised(outputNorm, middle, dropout.call(feedForward.call(middle))).MoveToOuterDisposeScope();
    }

    private Tensor Normalised(LayerNorm norm, Tensor residual, Tensor added) =>
        ResidualLayerNorm.Apply(residual, added, norm.weight!, norm.bias!, epsilon);
}
