using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The gated feed-forward block: down(activation(gate x) * up x), gate and up in one matrix product. With silu it is SwiGLU.</summary>
/// <remarks>Shazeer, "GLU Variants Improve Transformer", 2020, equation 6.</remarks>
public sealed class GatedFeedForward : nn.Module<Tensor, Tensor>
{
    /// <summary>The projections' names in checkpoints.</summary>
    internal const string Gate = "gate_proj",
        Up = "up_proj",
        Down = "down_proj";

    private readonly JointLinear inner;
    private readonly JointLinear outer;
    private readonly Func<Tensor, Tensor> activation;

    /// <summary>Builds the block.</summary>
    /// <param name="width">C.</param>
    /// <param name="innerWidth">Width of gate and up.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    /// <param name="hasBias">Whether the projections have biases.</param>
    /// <param name="layers">Makes the weights.</param>
    public GatedFeedForward(long width, long innerWidth, string activation, bool hasBias, SeededLayers layers)
        : base(nameof(GatedFeedForward))
    {
        this.activation = Blocks.Activation.Find(activation);
        inner = new JointLinear(width, [(Gate, innerWidth), (Up, innerWidth)], hasBias, layers);
        outer = new JointLinear(innerWidth, [(Down, width)], hasBias, layers);
        RegisterComponents();
    }

    /// <summary>Gate and up.</summary>
    public JointLinear Inner => inner;

    /// <summary>Down.</summary>
    public JointLinear Outer => outer;

    /// <summary>[B, L, C] to [B, L, C].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var halves = inner.call(hidden).chunk(2, -1);
        return outer.call(activation(halves[0]) * halves[1]).MoveToOuterDisposeScope();
    }
}

/// <summary>The plain feed-forward block of joint layers: a wider layer, an activation, a layer back, as GPT-2 has it.</summary>
public sealed class PlainFeedForward : nn.Module<Tensor, Tensor>
{
    private readonly JointLinear inner;
    private readonly JointLinear outer;
    private readonly Func<Tensor, Tensor> activation;

    /// <summary>Builds the block.</summary>
    /// <param name="width">C.</param>
    /// <param name="innerWidth">Width between the layers.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    /// <param name="names">The two layers' names in checkpoints.</param>
    /// <param name="layers">Makes the weights.</param>
    public PlainFeedForward(
        long width,
        long innerWidth,
        string activation,
        (string Inner, string Outer) names,
        SeededLayers layers
    )
        : base(nameof(PlainFeedForward))
    {
        this.activation = Blocks.Activation.Find(activation);
        inner = new JointLinear(width, [(names.Inner, innerWidth)], true, layers);
        outer = new JointLinear(innerWidth, [(names.Outer, width)], true, layers);
        RegisterComponents();
    }

    /// <summary>The wider layer.</summary>
    public JointLinear Inner => inner;

    /// <summary>The layer back.</summary>
    public JointLinear Outer => outer;

    /// <summary>[B, L, C] to [B, L, C].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        return outer.call(activation(inner.call(hidden))).MoveToOuterDisposeScope();
    }
}
