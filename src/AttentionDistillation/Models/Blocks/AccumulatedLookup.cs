using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A table's look-up whose gradient is added up in float32 straight into a table of zeros, without sorting the indices first. On CUDA the order of
/// the additions is not fixed, so that sums differ from run to run by rounding.
/// </summary>
internal sealed class AccumulatedLookup : autograd.SingleTensorFunction<AccumulatedLookup>
{
    /// <summary>Rows of a table.</summary>
    /// <param name="table">[V, C].</param>
    /// <param name="indices">int64 [B, L].</param>
    /// <param name="padding">The row that gets no gradient; null for none.</param>
    /// <returns>[B, L, C].</returns>
    public static Tensor Of(Tensor table, Tensor indices, long? padding) => apply(table, indices, padding ?? NoPadding);

    private const long NoPadding = -1;

    /// <inheritdoc/>
    public override string Name => nameof(AccumulatedLookup);

    /// <inheritdoc/>
    public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        var (table, indices) = ((Tensor)vars[0], (Tensor)vars[1]);
        ctx.save_for_backward([indices]);
        ctx.save_data("padding", vars[2]);
        ctx.save_data("rows", table.size(0));
        ctx.save_data("dtype", table.dtype);
        using var scope = NewDisposeScope();
        return table.index_select(0, indices.reshape(-1)).view([.. indices.shape, table.size(1)]).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
    {
        using var scope = NewDisposeScope();
        var indices = ctx.get_saved_variables()[0];
        var rows = (long)ctx.get_data("rows");
        var type = (ScalarType)ctx.get_data("dtype");
        var sum = zeros(
            rows,
            grad_output.shape[^1],
            dtype: type == ScalarType.Float64 ? type : ScalarType.Float32,
            device: grad_output.device
        );
        sum.index_add_(0, indices.reshape(-1), grad_output.reshape(-1, grad_output.shape[^1]).to(sum.dtype), 1);
        if ((long)ctx.get_data("padding") is >= 0 and var padding)
            sum.select(0, padding).zero_();
        return [sum.to(type).MoveToOuterDisposeScope(), null!, null!];
    }
}
