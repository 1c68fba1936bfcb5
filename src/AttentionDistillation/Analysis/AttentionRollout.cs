using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Attention rollout (Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3).</summary>
public static class AttentionRollout
{
    /// <summary>The share of the residual path in the paper: A = 0.5 W + 0.5 I.</summary>
    public const double ResidualShare = 0.5;

    /// <summary>How much of each input token reaches each position after all layers, [B, L, L], rows summing to 1 (0 at padded positions).</summary>
    /// <param name="maps">The attention maps [B, H, L, L] from the first layer to the last.</param>
    /// <param name="mask">bool [B, L], true = real token; null when none is padded.</param>
    /// <param name="residualShare">Weight of the identity beside the mean of the heads.</param>
    /// <exception cref="ArgumentException">There are no maps, or they are not square or not alike.</exception>
    public static Tensor Compute(IReadOnlyList<Tensor> maps, Tensor? mask, double residualShare = ResidualShare)
    {
        ArgumentNullException.ThrowIfNull(maps);
        if (maps.Count == 0)
            throw new ArgumentException("Rollout needs the map of at least one layer.", nameof(maps));
        Shapes.Require(maps[0], "[B, H, L, L]", "maps[0]");
        long batch = maps[0].size(0),
            length = maps[0].size(2);
        if (mask is not null)
            Shapes.RequireExact(mask, [batch, length]);
        using var scope = NewDisposeScope();
        var identity = eye(length, dtype: ScalarType.Float64, device: maps[0].device);
        var rollout = identity.expand(batch, length, length);
        foreach (var map in maps)
        {
            Shapes.RequireExact(map, [batch, -1, length, length]);
            var mixed = map.detach().to(ScalarType.Float64).mean([1]) * (1 - residualShare) + identity * residualShare;
            if (mask is not null)
                mixed = mixed.masked_fill(mask.logical_not().unsqueeze(1), 0.0);
            var sums = mixed.sum(-1, keepdim: true);
            rollout = matmul(mixed / sums.masked_fill(sums == 0, 1.0), rollout);
        }
        if (mask is not null)
            rollout = rollout.masked_fill(mask.logical_not().unsqueeze(-1), 0.0);
        return rollout.clone().MoveToOuterDisposeScope();
    }
}
