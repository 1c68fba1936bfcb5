using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime;

/// <summary>What computes an attention call.</summary>
public enum AttentionKernel
{
    /// <summary>The fastest that serves the device, dtype and widths.</summary>
    Auto,

    /// <summary>By the definition: the map of L x S is built. Serves everything; every kernel must match it.</summary>
    Naive,

    /// <summary>libtorch's blocked attention on the CPU: float32, float64, bfloat16, float16.</summary>
    CpuFlash,

    /// <summary>FlashAttention-2 on CUDA: bfloat16 and float16, width up to 256.</summary>
    Flash,

    /// <summary>Memory-efficient attention on CUDA: float32, bfloat16 and float16, any width.</summary>
    MemoryEfficient,

    /// <summary>cuDNN's attention on CUDA: bfloat16 and float16, width up to 128.</summary>
    CuDnn,
}

/// <summary>
/// Attention with its log-sum-exps at memory that grows with L + S, by operators that TorchSharp does not expose. All functions record no
/// graph; callers bring the gradients in themselves.
/// </summary>
/// <remarks>
/// A bias per key does the work of padding masks and of row weights. Kernels without a bias take it as three extra features: the query
/// side holds ones, the key side the bias cut into three summands, so that even in bfloat16 (8 significant bits each) it is exact to 2^-24.
/// </remarks>
public static partial class AttentionOperators
{
    /// <summary>
    /// The bias of a key that must not be seen: finite, so that a row without any visible key stays finite too (it then sees all its keys
    /// alike), and so low that next to a visible key its probability is exactly zero.
    /// </summary>
    public const double HiddenKeyBias = -1e30;

    /// <summary>Which kernel Auto takes first on CUDA for bfloat16 and float16: cuDNN, the faster on an H100 at every length measured.</summary>
    internal static AttentionKernel HalfPrecisionKernel { get; set; } = AttentionKernel.CuDnn;

    /// <summary>softmax(scale q kᵀ + bias) v and the log-sum-exp of each row's scores.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, S, D], or fewer heads that divide H.</param>
    /// <param name="value">[B, H, S, any width], heads as <paramref name="key"/>.</param>
    /// <param name="keyBias">
    /// [B or 1, H or 1, S], added to the scaled scores of each key, in float32 at least; null for none. For a padding mask see
    /// <see cref="KeyBias"/>.
    /// </param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L; needs L at most S (other calls build the map).</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="kernel">What computes it; a kernel that does not serve the call is refused.</param>
    /// <returns>Output [B, H, L, width of the value] in the query's dtype; natural log-sum-exp [B, H, L] in float32 at least.</returns>
    /// <exception cref="NotSupportedException">The kernel asked for does not serve this device, dtype or width.</exception>
    public static (Tensor Output, Tensor LogSumExp) Forward(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? keyBias,
        bool isCausal,
        double scale,
        AttentionKernel kernel = AttentionKernel.Auto
    )
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(value);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        long queries = query.size(2),
            keys = key.size(2);
        var chosen = Resolve(kernel, query, value.size(3), isCausal && queries > keys);
        (query, key, value) = (query.detach(), Repeat(key.detach(), query.size(1)), Repeat(value.detach(), query.size(1)));
        // Kernels line causal masks up only where L = S: queries that nobody reads fill the front.
        bool filled = isCausal && queries < keys && chosen != AttentionKernel.Naive;
        if (filled)
            query = cat([query.new_zeros(query.size(0), query.size(1), keys - queries, query.size(3)), query], 2);
        var (output, logSumExp) = chosen switch
        {
            AttentionKernel.Naive => Naive(query, key, value, keyBias, isCausal, scale),
            AttentionKernel.CpuFlash => OnCpu(query, key, value, keyBias, isCausal, scale),
            AttentionKernel.MemoryEfficient => MemoryEfficient(query, key, value, keyBias, isCausal, scale),
            _ => WithoutBias(chosen, query, key, value, keyBias, isCausal, scale),
        };
        if (filled)
            (output, logSumExp) = (output.narrow(2, keys - queries, queries), logSumExp.narrow(2, keys - queries, queries));
        return (output.MoveToOuterDisposeScope(), logSumExp.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Pᵀ V over the columns of an attention map: row j of the result is Σ_i exp(scale q_i·k_j - lse_i + rowBias_i) v_i. It is what an
    /// attention's backward gives its values, computed as ONE forward call with queries and keys exchanged: -lse_i is the bias of "key" q_i,
    /// and the call's own log-sum-exp undoes its normalisation.
    /// </summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, S, D].</param>
    /// <param name="rows">[B, H, L, any width]: what is summed.</param>
    /// <param name="rowBias">
    /// [B, H, L] in float32 at least: -lse_i plus the logarithm of the row's weight; <see cref="HiddenKeyBias"/> at rows that do not count.
    /// </param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L; L must be at most S.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="kernel">What computes it.</param>
    /// <returns>
    /// Columns [B, H, S, width of rows] and their factors' logarithm [B, H, S]: the product is exp(factor) x columns. It is left to the
    /// caller to multiply, who may have masked keys to leave out or other factors to join.
    /// </returns>
    /// <exception cref="NotSupportedException">The kernel asked for does not serve this device, dtype or width.</exception>
    public static (Tensor Columns, Tensor LogFactor) Transposed(
        Tensor query,
        Tensor key,
        Tensor rows,
        Tensor rowBias,
        bool isCausal,
        double scale,
        AttentionKernel kernel = AttentionKernel.Auto
    )
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        if (!isCausal)
            return Forward(key, query, rows, rowBias, false, scale, kernel);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        long missing = key.size(2) - query.size(2);
        if (missing < 0)
            throw new NotSupportedException(
                "A causal map with more queries than keys has rows that see nothing; use the block-wise form."
            );
        if (missing > 0)
        {
            query = cat([query.new_zeros(query.size(0), query.size(1), missing, query.size(3)), query], 2);
            rows = cat([rows.new_zeros(rows.size(0), rows.size(1), missing, rows.size(3)), rows], 2);
            var hidden = full(
                [rowBias.size(0), rowBias.size(1), missing],
                HiddenKeyBias,
                dtype: rowBias.dtype,
                device: rowBias.device
            );
            rowBias = cat([hidden, rowBias], 2);
        }
        // Column j is read by rows i >= j: with both orders turned round that is a causal mask again.
        var (columns, logFactor) = Forward(key.flip(2), query.flip(2), rows.flip(2), rowBias.flip(2), true, scale, kernel);
        return (columns.flip(2).MoveToOuterDisposeScope(), logFactor.flip(2).MoveToOuterDisposeScope());
    }

    /// <summary>The bias per key of a padding mask: 0 at real keys, <see cref="HiddenKeyBias"/> at padded ones.</summary>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded.</param>
    /// <param name="type">The dtype of the sums: float32 or float64.</param>
    /// <returns>[B, 1, S], or null.</returns>
    public static Tensor? KeyBias(Tensor? mask, ScalarType type)
    {
        if (mask is null)
            return null;
        using var scope = NewDisposeScope();
        return zeros(mask.size(0), 1, mask.size(1), dtype: type, device: mask.device)
            .masked_fill_(mask.logical_not().unsqueeze(1), HiddenKeyBias)
            .MoveToOuterDisposeScope();
    }

    /// <summary>True when a kernel other than the naive form serves this call.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="valueWidth">Width of the values.</param>
    public static bool HasKernel(Tensor query, long valueWidth)
    {
        ArgumentNullException.ThrowIfNull(query);
        return Resolve(AttentionKernel.Auto, query, valueWidth, false) != AttentionKernel.Naive;
    }

    // The kernel that runs: the one asked for if it serves the call, else the best that does.
    private static AttentionKernel Resolve(AttentionKernel wanted, Tensor query, long valueWidth, bool hasEmptyRows)
    {
        if (wanted == AttentionKernel.Auto)
        {
            AttentionKernel[] candidates = query.device_type switch
            {
                DeviceType.CPU => [AttentionKernel.CpuFlash],
                DeviceType.CUDA => [HalfPrecisionKernel, AttentionKernel.Flash, AttentionKernel.MemoryEfficient],
                _ => [],
            };
            return hasEmptyRows
                ? AttentionKernel.Naive
                : candidates.FirstOrDefault(
                    kernel => Refusal(kernel, query, valueWidth, hasEmptyRows) is null,
                    AttentionKernel.Naive
                );
        }
        return Refusal(wanted, query, valueWidth, hasEmptyRows) is { } refusal
            ? throw new NotSupportedException($"Attention kernel {wanted} {refusal} Use AttentionKernel.Auto.")
            : wanted;
    }

    // Why a kernel does not serve a call; null when it does.
    private static string? Refusal(AttentionKernel kernel, Tensor query, long valueWidth, bool hasEmptyRows)
    {
        if (kernel == AttentionKernel.Naive)
            return null;
        if (hasEmptyRows)
            return "does not serve causal calls with more queries than keys, whose first rows see nothing.";
        var device = kernel == AttentionKernel.CpuFlash ? DeviceType.CPU : DeviceType.CUDA;
        if (query.device_type != device)
            return $"runs on {device}, but the tensors are on {query.device_type}.";
        bool half = query.dtype is ScalarType.BFloat16 or ScalarType.Float16;
        if (
            !half
            && query.dtype != ScalarType.Float32
            && !(kernel == AttentionKernel.CpuFlash && query.dtype == ScalarType.Float64)
        )
            return $"does not serve {query.dtype}.";
        if (kernel is AttentionKernel.Flash or AttentionKernel.CuDnn && !half)
            return $"needs bfloat16 or float16, but the tensors are {query.dtype}.";
        long widest = kernel switch
        {
            AttentionKernel.Flash => FlashWidths[^1],
            AttentionKernel.CuDnn => CuDnnWidest,
            _ => long.MaxValue,
        };
        return query.size(3) + BiasFeatures > widest
            ? $"serves widths up to {widest - BiasFeatures}, but the queries have {query.size(3)}."
            : null;
    }

    private static Tensor Repeat(Tensor heads, long count) =>
        heads.size(1) == count ? heads : heads.repeat_interleave(count / heads.size(1), 1);
}
