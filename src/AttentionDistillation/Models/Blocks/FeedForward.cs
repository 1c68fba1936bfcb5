using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The position-wise feed-forward block: a wider linear layer, an activation, and a linear layer back.</summary>
public sealed class FeedForward : nn.Module<Tensor, Tensor>
{
    private readonly Linear inner;
    private readonly Linear outer;
    private readonly Func<Tensor, Tensor> activation;
    private readonly GeluForm? gelu;

    /// <summary>Builds the block.</summary>
    /// <param name="width">C.</param>
    /// <param name="innerWidth">Width between the two layers.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    /// <param name="layers">Makes the weights.</param>
    public FeedForward(long width, long innerWidth, string activation, SeededLayers layers)
        : base(nameof(FeedForward))
    {
        this.activation = Activation.Find(activation);
        gelu = Activation.Gelu(activation);
        inner = layers.Linear(width, innerWidth);
        outer = layers.Linear(innerWidth, width);
        RegisterComponents();
    }

    /// <summary>[B, L, C] to [B, L, C].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var wide = GeluInProduct(hidden)
            ? TorchScriptOperators.LinearTanhGelu(hidden, inner.weight!, inner.bias!)
            : activation(inner.Project(hidden));
        return outer.Project(wide).MoveToOuterDisposeScope();
    }

    // The operator has no gradient and serves CUDA alone (on the CPU it would compute the exact form).
    private bool GeluInProduct(Tensor hidden) =>
        FastPaths.GeluInProduct
        && hidden.device_type == DeviceType.CUDA
        && !is_grad_enabled()
        && (
            gelu == GeluForm.Tanh
            || (gelu == GeluForm.Exact && FastPaths.ApproximateGelu && hidden.dtype is ScalarType.BFloat16 or ScalarType.Float16)
        );
}
