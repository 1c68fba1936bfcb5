using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A table's look-up whose gradient is added up in float32 straight into a table of zeros, without sorting the indices first. On CUDA the order of
/// the additions is not fixed, so that sums differ from run to run by rounding.
/// </summary>
internal sealed class AccumulatedLookup : DifferentiableOperator<AccumulatedLookup>
{
    private sealed record Table(long Rows, ScalarType Type, long? Padding);

    /// <summary>Rows of a table.</summary>
    /// <param name="table">[V, C].</param>
    /// <param name="indices">int64 [B, L].</param>
    /// <param name="padding">The row that gets no gradient; null for none.</param>
    /// <returns>[B, L, C].</returns>
    public static Tensor Of(Tensor table, Tensor indices, long? padding) =>
        Apply(new Table(table.size(0), table.dtype, padding), table, indices);

    /// <inheritdoc/>
    protected override Tensor Forward(OperatorCall call)
    {
        var (table, indices) = (call.Inputs[0]!, call.Inputs[1]!);
        call.Save(indices);
        return table.index_select(0, indices.reshape(-1)).view([.. indices.shape, table.size(1)]);
    }

    /// <inheritdoc/>
    protected override Tensor?[] Backward(OperatorCall call, IReadOnlyList<Tensor?> saved, Tensor gradient)
    {
        var (rows, type, padding) = (Table)call.Settings!;
        long width = gradient.shape[^1];
        var sum = zeros(rows, width, dtype: type == ScalarType.Float64 ? type : ScalarType.Float32, device: gradient.device);
        sum.index_add_(0, saved[0]!.reshape(-1), gradient.reshape(-1, width).to(sum.dtype), 1);
        if (padding is { } row)
            sum.select(0, row).zero_();
        return [sum.to(type), null];
    }
}
