using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Root-mean-square normalisation over the last axis, its statistics in float32 at least.</summary>
/// <remarks>Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, equation 4.</remarks>
public sealed class RootMeanSquareNorm : nn.Module<Tensor, Tensor>
{
    private readonly Parameter weight;
    private readonly double epsilon;

    /// <summary>Builds the normalisation; its gains start at 1.</summary>
    /// <param name="width">C.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="layers">Makes the gains.</param>
    public RootMeanSquareNorm(long width, double epsilon, SeededLayers layers)
        : base(nameof(RootMeanSquareNorm))
    {
        ArgumentNullException.ThrowIfNull(layers);
        weight = layers.ZeroParameter(width);
        using (no_grad())
            weight.fill_(1.0);
        this.epsilon = epsilon;
        RegisterComponents();
    }

    /// <summary>[..., C] to [..., C].</summary>
    public override Tensor forward(Tensor hidden) => FusedOperators.RootMeanSquareNorm(hidden, weight, epsilon);
}
