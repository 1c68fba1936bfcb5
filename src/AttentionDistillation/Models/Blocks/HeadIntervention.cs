using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Changes what attention heads write into the residual stream: factor x written + (1 - factor) x reference, for each head of each layer. A factor
/// of 0 ablates a head, to zero or (with references) to its mean; 0.5 weakens, 1.3 strengthens it; 1 leaves it.
/// </summary>
/// <remarks>Head scaling and ablation as in "Thinking Sparks", 2025: the vector a head writes is its part of the output projection, without bias.</remarks>
public sealed class HeadIntervention
{
    /// <summary>An intervention.</summary>
    /// <param name="factors">[layers, H]; differentiable, so that heads can be scored by their gradients.</param>
    /// <param name="references">
    /// [layers, H, C] or [layers, H, L, C], the vectors that take the share a factor withdraws (mean ablation); null for zeros.
    /// </param>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public HeadIntervention(Tensor factors, Tensor? references = null)
    {
        Shapes.Require(factors, "[layers, H]");
        if (
            references is not null
            && (
                references.dim() is not (3 or 4) || references.size(0) != factors.size(0) || references.size(1) != factors.size(1)
            )
        )
            throw new ArgumentException(
                $"References must be [layers, H, C] or [layers, H, L, C] for factors {Shapes.Describe(factors)}, but are {Shapes.Describe(references)}.",
                nameof(references)
            );
        (Factors, References) = (factors, references);
    }

    /// <summary>[layers, H].</summary>
    public Tensor Factors { get; }

    /// <summary>[layers, H, C] or [layers, H, L, C], or null.</summary>
    public Tensor? References { get; }

    /// <summary>Factors that are 0 for some heads and 1 for all others.</summary>
    /// <param name="layers">Number of layers.</param>
    /// <param name="heads">H.</param>
    /// <param name="factor">The factor of the chosen heads.</param>
    /// <param name="chosen">Layer and head, numbered from 0.</param>
    public static Tensor FactorsOf(int layers, long heads, double factor, params (int Layer, long Head)[] chosen)
    {
        ArgumentNullException.ThrowIfNull(chosen);
        var factors = ones(layers, heads);
        foreach (var (layer, head) in chosen)
        {
            using var one = factors[layer, head];
            one.fill_(factor);
        }
        return factors;
    }

    /// <summary>Scales mixed values [B, H, L, D], which scales what the output projection makes of each head.</summary>
    internal Tensor Scale(Tensor mixed, int layer)
    {
        using var scope = NewDisposeScope();
        return (mixed * Factors[layer].to(mixed.dtype).view(1, -1, 1, 1)).MoveToOuterDisposeScope();
    }

    /// <summary>What the references add to a layer's output, [C] or [L, C]; null without references.</summary>
    internal Tensor? Added(int layer, ScalarType type)
    {
        if (References is null)
            return null;
        using var scope = NewDisposeScope();
        var withdrawn = Factors[layer].neg().add(1.0);
        var references = References[layer].to(withdrawn.dtype);
        withdrawn = references.dim() == 2 ? withdrawn.view(-1, 1) : withdrawn.view(-1, 1, 1);
        return (references * withdrawn).sum([0L]).to(type).MoveToOuterDisposeScope();
    }
}
