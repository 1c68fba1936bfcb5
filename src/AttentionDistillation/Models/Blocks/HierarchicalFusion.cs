using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>What one level of <see cref="HierarchicalFusion"/> gives.</summary>
/// <param name="Base">The next level's geometric stream, [b, n, c].</param>
/// <param name="Gates">Shares of geometry, vision and text, [b, n, 3]; they add up to 1.</param>
public sealed record FusionLevel(Tensor Base, Tensor Gates);

/// <summary>
/// Hierarchical gated fusion: at every level each instance weighs its geometric, visual and textual stream by a softmax, and a residual layer makes the
/// next level's base of the sum. A modality that is absent has a share of exactly 0.
/// </summary>
/// <remarks>A reading of OmniScene's hierarchical fusion strategy (arXiv 2509.19973), whose equations were not seen (†).</remarks>
public static class HierarchicalFusion
{
    /// <summary>Streams of a level: geometry, vision, text.</summary>
    public const int Streams = 3;

    /// <summary>
    /// One level: g = softmax((concat · Gᵀ + b) / τ) over the modalities present, f = Σ gₖ streamₖ, base = f + GELU(W f + d) with the exact GELU.
    /// </summary>
    /// <param name="geometry">The level's base, [b, n, c].</param>
    /// <param name="visual">[b, n, c].</param>
    /// <param name="text">[b, n, c].</param>
    /// <param name="gate">G [3, 3 c] and b [3].</param>
    /// <param name="mix">W [c, c] and d [c].</param>
    /// <param name="present">bool [b, 3], geometry, vision, text: geometry must be present; null when all are.</param>
    /// <param name="temperature">τ, above 0.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, the temperature is not above 0, or a scene has no geometry.</exception>
    public static FusionLevel Level(
        Tensor geometry,
        Tensor visual,
        Tensor text,
        (Tensor Weight, Tensor Bias) gate,
        (Tensor Weight, Tensor Bias) mix,
        Tensor? present,
        double temperature = 1.0
    )
    {
        Shapes.Require(geometry, "[b, n, c]");
        Shapes.RequireExact(visual, geometry.shape);
        Shapes.RequireExact(text, geometry.shape);
        Shapes.RequireExact(gate.Weight, [Streams, Streams * geometry.size(2)]);
        if (!(temperature > 0))
            throw new ArgumentException($"The temperature must be above 0, but is {temperature}.", nameof(temperature));
        using var scope = NewDisposeScope();
        var scores = LinearProduct.Of(cat([geometry, visual, text], -1), gate.Weight, gate.Bias) / temperature;
        if (present is not null)
        {
            Shapes.RequireExact(present, [geometry.size(0), Streams]);
            scores = scores.masked_fill(present.logical_not().unsqueeze(1), double.NegativeInfinity);
        }
        var gates = scores.softmax(-1);
        var fused = gates.narrow(-1, 0, 1) * geometry + gates.narrow(-1, 1, 1) * visual + gates.narrow(-1, 2, 1) * text;
        var next = fused + nn.functional.gelu(LinearProduct.Of(fused, mix.Weight, mix.Bias));
        return new(next.MoveToOuterDisposeScope(), gates.MoveToOuterDisposeScope());
    }

    /// <summary>Mean share of each modality over scenes and instances.</summary>
    /// <param name="gates">[b, n, 3].</param>
    /// <param name="valid">bool [b, n], true = a real instance; null when all are.</param>
    /// <returns>[3]; NaN without any instance.</returns>
    public static Tensor Share(Tensor gates, Tensor? valid = null)
    {
        Shapes.RequireExact(gates, [-1, -1, Streams]);
        using var scope = NewDisposeScope();
        return Mean(gates, valid).MoveToOuterDisposeScope();
    }

    /// <summary>Mean entropy of the gates in nats: 0 when every instance trusts one modality, ln 3 when all alike.</summary>
    /// <param name="gates">[b, n, 3].</param>
    /// <param name="valid">bool [b, n], true = a real instance; null when all are.</param>
    public static Tensor Entropy(Tensor gates, Tensor? valid = null)
    {
        Shapes.RequireExact(gates, [-1, -1, Streams]);
        using var scope = NewDisposeScope();
        // 0 ln 0 is 0.
        var rows = -(gates * gates.clamp(min: 1e-30).log()).sum([-1L], keepdim: true);
        return Mean(rows, valid).squeeze(0).MoveToOuterDisposeScope();
    }

    private static Tensor Mean(Tensor rows, Tensor? valid)
    {
        if (valid is null)
            return rows.mean([0L, 1L]);
        Shapes.RequireExact(valid, rows.shape[..2]);
        var counts = valid.unsqueeze(-1).to(rows.dtype);
        return (rows * counts).sum([0L, 1L]) / counts.sum();
    }
}
