using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Multi-head attention over a sequence whose queries, keys and values are convolutional projections (<see cref="ConvolutionalProjection"/>).</summary>
public sealed class ConvolutionalAttention : nn.Module<Tensor, ForwardTrace?, Tensor>, IOwnProducts
{
    private readonly ModuleList<Projection> projections;
    private readonly Linear output;
    private readonly long keyStride;

    /// <summary>Builds the projections.</summary>
    /// <param name="width">C, of input and output and of the projections.</param>
    /// <param name="heads">H, which must divide C.</param>
    /// <param name="kernel">Places of the depthwise kernels, odd.</param>
    /// <param name="keyStride">Step of keys and values; key j stands for place j · step.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="layer">The layer's number from 0, under which a trace records the call.</param>
    public ConvolutionalAttention(long width, long heads, long kernel, long keyStride, SeededLayers layers, int layer)
        : base(nameof(ConvolutionalAttention))
    {
        ArgumentNullException.ThrowIfNull(layers);
        (Heads, Width, Layer, this.keyStride) = (heads, width, layer, keyStride);
        projections = new ModuleList<Projection>([.. Enumerable.Range(0, 3).Select(_ => new Projection(width, kernel, layers))]);
        output = layers.Linear(width, width);
        RegisterComponents();
    }

    /// <summary>H.</summary>
    public long Heads { get; }

    /// <summary>C.</summary>
    public long Width { get; }

    /// <summary>The layer's number from 0.</summary>
    public int Layer { get; }

    /// <inheritdoc/>
    public long MultiplyAdds(Tensor output)
    {
        ArgumentNullException.ThrowIfNull(output);
        long places = output.size(1),
            keys = (places + keyStride - 1) / keyStride,
            projection = Width * (projections[0].Kernel + Width);
        return output.size(0) * ((places + 2 * keys) * projection + places * Width * Width);
    }

    /// <summary>[B, l, C] to [B, l, C]; empty ([0]) when the trace stops after the attention inputs.</summary>
    public override Tensor forward(Tensor tokens, ForwardTrace? trace)
    {
        Shapes.Require(tokens, "[B, l, C]");
        using var scope = NewDisposeScope();
        var sequence = tokens.transpose(1, 2);
        var state = AttentionState.OfHeads(
            projections[0].Of(sequence, 1),
            projections[1].Of(sequence, keyStride),
            projections[2].Of(sequence, keyStride),
            Heads
        );
        if (trace?.WantsAttention(Layer) == true)
        {
            trace.RecordAttention(Layer, state);
            state.MoveToOuterDisposeScope();
        }
        if (trace?.StopsAfterAttentionInputs(Layer) == true)
            return empty(0, dtype: tokens.dtype, device: tokens.device).MoveToOuterDisposeScope();
        return ConvolutionalProjection.Mix(state, output.weight!, output.bias).MoveToOuterDisposeScope();
    }

    private sealed class Projection : nn.Module<Tensor, Tensor>
    {
        private readonly Parameter depth;
        private readonly BatchNorm2d norm;
        private readonly Linear point;

        public Projection(long width, long kernel, SeededLayers layers)
            : base(nameof(Projection))
        {
            depth = layers.NormalParameter(Math.Sqrt(1.0 / kernel), width, 1, kernel);
            norm = layers.BatchNorm(width);
            point = layers.Linear(width, width, hasBias: false);
            RegisterComponents();
        }

        public long Kernel => depth.size(2);

        public override Tensor forward(Tensor sequence) => Of(sequence, 1);

        public Tensor Of(Tensor sequence, long stride) =>
            ConvolutionalProjection.Project(
                sequence,
                new(depth, new(norm.weight, norm.bias!, norm.running_mean!, norm.running_var!), point.weight!),
                stride,
                training
            );
    }
}
