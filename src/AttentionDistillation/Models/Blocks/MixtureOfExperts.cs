using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Where tokens went in a mixture of experts.</summary>
/// <param name="Output">[N, C].</param>
/// <param name="Chosen">The experts of each token, best first, int64 [N, top].</param>
/// <param name="Gates">Their weights, [N, top], rows sum to 1.</param>
/// <param name="Load">How many tokens each expert has, int64 [E].</param>
public sealed record ExpertRouting(Tensor Output, Tensor Chosen, Tensor Gates, Tensor Load);

/// <summary>
/// A feed-forward block of E experts, of which each token uses the few that a gate gives the highest logits; their outputs are weighted by the softmax over
/// the KEPT logits. There is no capacity limit, no noise and no balancing loss.
/// </summary>
/// <remarks>The naive gate of FastMoE (He et al., 2021), as V-MoE students of m2mKD (arXiv 2402.16918) use it. An expert is linear, GELU, linear.</remarks>
public sealed class MixtureOfExperts : nn.Module<Tensor, Tensor>
{
    /// <summary>Experts that a GPU computes for every token.</summary>
    public const int FewExperts = 8;

    private readonly Linear gate;
    private readonly Parameter innerWeight;
    private readonly Parameter innerBias;
    private readonly Parameter outerWeight;
    private readonly Parameter outerBias;
    private readonly int top;

    /// <summary>Builds the block.</summary>
    /// <param name="width">C.</param>
    /// <param name="innerWidth">Width between an expert's layers.</param>
    /// <param name="experts">E.</param>
    /// <param name="top">Experts of a token.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="standardDeviation">Of the experts' initial weights.</param>
    /// <exception cref="ArgumentException">There are fewer experts than each token is to use.</exception>
    public MixtureOfExperts(
        long width,
        long innerWidth,
        int experts,
        int top,
        SeededLayers layers,
        double standardDeviation = 0.02
    )
        : base(nameof(MixtureOfExperts))
    {
        ArgumentNullException.ThrowIfNull(layers);
        if (top < 1 || experts < top)
            throw new ArgumentException($"Each token uses {top} experts of {experts}. Use 1 or more, and at most all of them.");
        this.top = top;
        gate = layers.Linear(width, experts);
        innerWeight = layers.NormalParameter(standardDeviation, experts, innerWidth, width);
        innerBias = layers.ZeroParameter(experts, innerWidth);
        outerWeight = layers.NormalParameter(standardDeviation, experts, width, innerWidth);
        outerBias = layers.ZeroParameter(experts, width);
        RegisterComponents();
    }

    /// <summary>[..., C] to [..., C].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        return Route(hidden.reshape(-1, hidden.size(-1))).Output.view(hidden.shape).MoveToOuterDisposeScope();
    }

    /// <summary>The same with where tokens went.</summary>
    /// <param name="tokens">[N, C].</param>
    public ExpertRouting Route(Tensor tokens) =>
        Compute(tokens, gate.weight!, gate.bias, innerWeight, innerBias, outerWeight, outerBias, top);

    /// <summary>
    /// The block under given weights: every expert computes its own tokens only. On a GPU, where finding them waits for the device once an expert, few experts
    /// (<see cref="FewExperts"/> or less) compute all tokens instead and what nobody asked for is weighted by 0: more operations, the same result.
    /// </summary>
    /// <param name="tokens">[N, C].</param>
    /// <param name="gateWeight">[E, C].</param>
    /// <param name="gateBias">[E], or null.</param>
    /// <param name="innerWeight">[E, inner, C].</param>
    /// <param name="innerBias">[E, inner].</param>
    /// <param name="outerWeight">[E, C, inner].</param>
    /// <param name="outerBias">[E, C].</param>
    /// <param name="top">Experts of a token.</param>
    /// <param name="computesAll">Whether every expert computes every token; null decides by device and number of experts.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or there are too few experts.</exception>
    public static ExpertRouting Compute(
        Tensor tokens,
        Tensor gateWeight,
        Tensor? gateBias,
        Tensor innerWeight,
        Tensor innerBias,
        Tensor outerWeight,
        Tensor outerBias,
        int top = 2,
        bool? computesAll = null
    )
    {
        Shapes.Require(tokens, "[N, C]");
        long experts = gateWeight.size(0);
        Shapes.RequireExact(innerWeight, [experts, -1, tokens.size(1)]);
        Shapes.RequireExact(outerWeight, [experts, -1, innerWeight.size(1)]);
        if (top < 1 || top > experts)
            throw new ArgumentException($"Each token uses {top} experts, but there are {experts}.", nameof(top));
        using var scope = NewDisposeScope();
        var (kept, chosen) = nn.functional.linear(tokens, gateWeight, gateBias).topk(top, -1);
        var gates = nn.functional.softmax(kept, -1);
        var output =
            computesAll ?? (tokens.device_type == DeviceType.CUDA && experts <= FewExperts)
                ? OfAll(tokens, chosen, gates, innerWeight, innerBias, outerWeight, outerBias)
                : OfOwn(tokens, chosen, gates, innerWeight, innerBias, outerWeight, outerBias);
        var load = nn.functional.one_hot(chosen, experts).sum([0L, 1L]);
        return new ExpertRouting(
            output.MoveToOuterDisposeScope(),
            chosen.MoveToOuterDisposeScope(),
            gates.MoveToOuterDisposeScope(),
            load.MoveToOuterDisposeScope()
        );
    }

    private static Tensor OfOwn(
        Tensor tokens,
        Tensor chosen,
        Tensor gates,
        Tensor innerWeight,
        Tensor innerBias,
        Tensor outerWeight,
        Tensor outerBias
    )
    {
        var output = zeros(tokens.size(0), outerWeight.size(1), dtype: tokens.dtype, device: tokens.device);
        for (long expert = 0; expert < innerWeight.size(0); expert++)
        {
            var mine = chosen.eq(expert).nonzero(); // [tokens of this expert, (token, rank)]
            if (mine.size(0) == 0)
                continue;
            var (rows, ranks) = (mine.select(1, 0), mine.select(1, 1));
            var inner = nn.functional.gelu(
                nn.functional.linear(tokens.index_select(0, rows), innerWeight[expert], innerBias[expert])
            );
            var outer = nn.functional.linear(inner, outerWeight[expert], outerBias[expert]);
            var weight = gates.index_select(0, rows).gather(1, ranks.unsqueeze(1));
            output = output.index_add(0, rows, outer * weight, 1);
        }
        return output;
    }

    private static Tensor OfAll(
        Tensor tokens,
        Tensor chosen,
        Tensor gates,
        Tensor innerWeight,
        Tensor innerBias,
        Tensor outerWeight,
        Tensor outerBias
    )
    {
        // [E, N, inner], [E, N, C]: one product for all experts.
        var inner = nn.functional.gelu(matmul(tokens.unsqueeze(0), innerWeight.transpose(1, 2)) + innerBias.unsqueeze(1));
        var outer = matmul(inner, outerWeight.transpose(1, 2)) + outerBias.unsqueeze(1);
        var weight = zeros(tokens.size(0), innerWeight.size(0), dtype: tokens.dtype, device: tokens.device)
            .scatter(1, chosen, gates);
        return (outer * weight.t().unsqueeze(-1)).sum(0L);
    }

    /// <summary>Entropy of a load over experts relative to an even one, 0 to 1: 1 when all experts have as many tokens.</summary>
    /// <param name="load">Tokens of each expert, [E].</param>
    public static double LoadEntropy(Tensor load)
    {
        Shapes.Require(load, "[E]");
        using var scope = NewDisposeScope();
        var share = load.to(ScalarType.Float64) / load.sum().to(ScalarType.Float64);
        return load.size(0) == 1 ? 1.0 : xlogy(share, share).sum().neg().item<double>() / Math.Log(load.size(0));
    }
}
