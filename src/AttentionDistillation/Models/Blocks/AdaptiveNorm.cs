using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Shifts, scales and gates of a block, computed from a condition: a linear layer on SiLU(condition) that starts as zero, so that a block with
/// gates starts as the identity (adaLN-Zero: Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023, section 3.2).
/// </summary>
public sealed class AdaptiveModulation : nn.Module<Tensor, Tensor[]>
{
    private readonly Linear linear;

    /// <summary>Builds the layer.</summary>
    /// <param name="conditionWidth">Width of the condition.</param>
    /// <param name="width">C, width of what is modulated.</param>
    /// <param name="parts">How many vectors of C: 6 for a block of attention and feed-forward, 2 for an output norm.</param>
    /// <param name="layers">Makes the weights.</param>
    public AdaptiveModulation(long conditionWidth, long width, int parts, SeededLayers layers)
        : base(nameof(AdaptiveModulation))
    {
        ArgumentNullException.ThrowIfNull(layers);
        Parts = parts;
        linear = layers.ZeroLinear(conditionWidth, width * parts);
        RegisterComponents();
    }

    /// <summary>How many vectors.</summary>
    public int Parts { get; }

    /// <summary>Condition [B, condition width] to the parts, each [B, 1, C].</summary>
    public override Tensor[] forward(Tensor condition)
    {
        using var scope = NewDisposeScope();
        var all = linear.call(nn.functional.silu(condition)).unsqueeze(1);
        return [.. all.chunk(Parts, -1).Select(part => part.MoveToOuterDisposeScope())];
    }
}

/// <summary>Layer normalisation without weights of its own; a condition shifts and scales its output: norm(h) (1 + scale) + shift.</summary>
public sealed class AdaptiveNorm : nn.Module<Tensor, Tensor, Tensor>
{
    private readonly LayerNorm norm;
    private readonly AdaptiveModulation modulation;
    private readonly bool scaleFirst;

    /// <summary>Builds the norm and its modulation.</summary>
    /// <param name="conditionWidth">Width of the condition.</param>
    /// <param name="width">C.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <param name="scaleFirst">Order of the modulation's halves: shift, scale (DiT) or scale, shift (diffusers' continuous form, SD3).</param>
    public AdaptiveNorm(long conditionWidth, long width, SeededLayers layers, double epsilon = 1e-6, bool scaleFirst = false)
        : base(nameof(AdaptiveNorm))
    {
        ArgumentNullException.ThrowIfNull(layers);
        this.scaleFirst = scaleFirst;
        norm = layers.LayerNorm(width, epsilon, hasWeights: false);
        modulation = new AdaptiveModulation(conditionWidth, width, 2, layers);
        RegisterComponents();
    }

    /// <summary>[B, L, C] and condition [B, condition width] to [B, L, C].</summary>
    public override Tensor forward(Tensor hidden, Tensor condition)
    {
        using var scope = NewDisposeScope();
        var parts = modulation.call(condition);
        var (shift, scale) = scaleFirst ? (parts[1], parts[0]) : (parts[0], parts[1]);
        return Modulate(norm.call(hidden), shift, scale).MoveToOuterDisposeScope();
    }

    /// <summary>hidden (1 + scale) + shift.</summary>
    /// <param name="hidden">[B, L, C], normalised.</param>
    /// <param name="shift">[B, 1, C].</param>
    /// <param name="scale">[B, 1, C].</param>
    public static Tensor Modulate(Tensor hidden, Tensor shift, Tensor scale)
    {
        using var scope = NewDisposeScope();
        return (hidden * (1 + scale) + shift).MoveToOuterDisposeScope();
    }
}
