using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// The feed-forward block of Stable Diffusion's transformers: one linear layer gives values and gates, values times GELU(gates) go through a
/// linear layer back (GEGLU: Shazeer, "GLU Variants Improve Transformer", 2020).
/// </summary>
public sealed class GegluFeedForward : nn.Module<Tensor, Tensor>
{
    private readonly Linear gated;
    private readonly Linear reduce;

    /// <summary>Builds the block.</summary>
    /// <param name="width">C.</param>
    /// <param name="innerWidth">Width of the values; the first layer gives twice as much.</param>
    /// <param name="layers">Makes the weights.</param>
    public GegluFeedForward(long width, long innerWidth, SeededLayers layers)
        : base(nameof(GegluFeedForward))
    {
        ArgumentNullException.ThrowIfNull(layers);
        gated = layers.Linear(width, 2 * innerWidth);
        reduce = layers.Linear(innerWidth, width);
        RegisterComponents();
    }

    /// <summary>[B, L, C] to [B, L, C].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var parts = gated.Project(hidden).chunk(2, -1);
        return reduce.Project(parts[0] * nn.functional.gelu(parts[1])).MoveToOuterDisposeScope();
    }
}
