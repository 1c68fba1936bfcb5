using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>Tokens at chosen places of a sequence, each example with its own.</summary>
public static class TokenPlaces
{
    /// <summary>Rows at chosen places, from [B, L, C] to [B, M, C] or from [B, H, L, D] to [B, H, M, D].</summary>
    /// <param name="rows">[B, L, C] or [B, H, L, D].</param>
    /// <param name="places">int64 [B, M].</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor At(Tensor rows, Tensor places)
    {
        ArgumentNullException.ThrowIfNull(rows);
        Shapes.Require(places, "[B, M]");
        Shapes.RequireSame(rows, places, 0, "batch size");
        using var scope = NewDisposeScope();
        var index = places.unsqueeze(-1);
        long axis = rows.dim() - 2;
        for (long extra = 1; extra < axis; extra++)
            index = index.unsqueeze(1);
        long[] shape = rows.shape;
        shape[axis] = places.size(1);
        return rows.gather(axis, index.expand(shape)).MoveToOuterDisposeScope();
    }
}
