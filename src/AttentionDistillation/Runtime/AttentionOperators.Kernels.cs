using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime;

// One call of each kernel: widths padded and values split to what it takes, its results brought to one convention.
public static partial class AttentionOperators
{
    /// <summary>Features that carry a bias: three summands of 8 significant bits or more.</summary>
    private const int BiasFeatures = 3;

    /// <summary>Head widths of CUDA kernels are multiples of this many elements (16 bytes in half precision).</summary>
    private const long WidthMultiple = 8;

    /// <summary>Rows of a bias start at multiples of this many elements (the memory-efficient kernel's widest load).</summary>
    private const long BiasMultiple = 16;

    /// <summary>cuDNN's forward serves head widths up to this on every architecture that it serves.</summary>
    private const long CuDnnWidest = 128;

    /// <summary>float16 ends at 65504; a hidden key's bias is cut here, far below any score of that type.</summary>
    private const double HalfLowestFeature = -6e4;

    /// <summary>The head widths FlashAttention-2 is compiled for: a call costs as much as the next of them (kernel_traits of its release 2).</summary>
    private static readonly long[] FlashWidths = [32, 64, 96, 128, 192, 256];

    // Only constants are compiled, every family alone and at its first use, so that a libtorch that lacks one operator keeps the others.
    private static readonly Lazy<jit.CompilationUnit> CpuUnit = new(() =>
        Compile(
            """
            def forward(q, k, v, bias: Optional[Tensor], causal: bool, scale: float):
                return torch._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, attn_mask=bias, scale=scale)
            """
        )
    );

    private static readonly Lazy<jit.CompilationUnit> FlashUnit = new(() =>
        Compile(
            """
            def forward(q, k, v, causal: bool, scale: float):
                r = torch._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False, scale=scale)
                return r[0], r[1]
            """
        )
    );

    private static readonly Lazy<jit.CompilationUnit> EfficientUnit = new(() =>
        Compile(
            """
            def forward(q, k, v, bias: Optional[Tensor], causal: bool, scale: float):
                r = torch._scaled_dot_product_efficient_attention(q, k, v, bias, True, 0.0, causal, scale=scale)
                return r[0], r[1]
            """
        )
    );

    private static readonly Lazy<jit.CompilationUnit> CuDnnUnit = new(() =>
        Compile(
            """
            def forward(q, k, v, causal: bool, scale: float):
                r = torch._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal, False, scale=scale)
                return r[0], r[1]
            """
        )
    );

    /// <summary>Compiles every source, those of devices that are absent too: the operators' signatures are known to every libtorch.</summary>
    internal static int CompileAll() =>
        new[] { CpuUnit, FlashUnit, EfficientUnit, CuDnnUnit, DifferentiableUnit }.Count(unit => unit.Value is not null);

    private static jit.CompilationUnit Compile(string source)
    {
        TorchRuntime.EnsureLoaded();
        return jit.compile(source + "\n"); // its parser wants the last line ended
    }

    private static (Tensor Output, Tensor LogSumExp) Naive(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? keyBias,
        bool isCausal,
        double scale
    )
    {
        var type = Accumulator(query);
        var scores = matmul(query, key.transpose(-2, -1)).to(type).mul_(scale);
        if (keyBias is not null)
            scores.add_(keyBias.unsqueeze(2));
        if (isCausal)
        {
            long queries = query.size(2),
                keys = key.size(2);
            var seen = ones(queries, keys, dtype: ScalarType.Bool, device: query.device).tril(keys - queries);
            scores.masked_fill_(seen.logical_not(), HiddenKeyBias);
        }
        var logSumExp = scores.logsumexp(-1, true);
        return (matmul(scores.sub_(logSumExp).exp_().to(query.dtype), value), logSumExp.squeeze(-1));
    }

    private static (Tensor Output, Tensor LogSumExp) OnCpu(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? keyBias,
        bool isCausal,
        double scale
    )
    {
        // The kernel asks for one width throughout, and for a bias of the query's dtype or float32.
        long width = value.size(3),
            common = Math.Max(query.size(3), width);
        var type = query.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var (output, logSumExp) = Invoke(
            CpuUnit,
            Widen(query, common),
            Widen(key, common),
            Widen(value, common),
            keyBias?.to(type).unsqueeze(2)!,
            isCausal,
            scale
        );
        return (output.narrow(3, 0, width), logSumExp);
    }

    private static (Tensor Output, Tensor LogSumExp) MemoryEfficient(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? keyBias,
        bool isCausal,
        double scale
    )
    {
        // A bias must have the query's dtype. In half precision that would round it, so it goes into the features.
        if (keyBias is not null && query.dtype != ScalarType.Float32)
        {
            (query, key) = WithBiasFeatures(query, key, keyBias, scale);
            keyBias = null;
        }
        long width = value.size(3),
            queries = query.size(2),
            keys = key.size(2);
        Tensor? bias = null;
        if (keyBias is not null)
        {
            var rows = keyBias.new_zeros(query.size(0), query.size(1), 1, RoundUp(keys, BiasMultiple));
            rows.narrow(3, 0, keys).copy_(keyBias.unsqueeze(2));
            bias = rows.narrow(3, 0, keys).expand(query.size(0), query.size(1), queries, keys);
        }
        long common = RoundUp(query.size(3), WidthMultiple);
        var (output, logSumExp) = Invoke(
            EfficientUnit,
            Widen(query, common),
            Widen(key, common),
            Widen(value, RoundUp(width, WidthMultiple)),
            bias!,
            isCausal,
            scale
        );
        // The kernel rounds the number of log-sum-exps up to its block of rows.
        return (output.narrow(3, 0, width), logSumExp.narrow(2, 0, queries));
    }

    // FlashAttention and cuDNN: bias as features, one width throughout, wide values in several calls where that costs less.
    private static (Tensor Output, Tensor LogSumExp) WithoutBias(
        AttentionKernel kernel,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? keyBias,
        bool isCausal,
        double scale
    )
    {
        if (keyBias is not null)
            (query, key) = WithBiasFeatures(query, key, keyBias, scale);
        var unit = kernel == AttentionKernel.Flash ? FlashUnit : CuDnnUnit;
        long width = value.size(3);
        long common = BestWidth(query.size(3), width, kernel == AttentionKernel.Flash ? FlashWidths[^1] : CuDnnWidest);
        var (wideQuery, wideKey) = (Widen(query, common), Widen(key, common));
        List<Tensor> outputs = [];
        Tensor? logSumExp = null;
        for (long start = 0; start < width; start += common)
        {
            long taken = Math.Min(common, width - start);
            var (output, rows) = Invoke(unit, wideQuery, wideKey, Widen(value.narrow(3, start, taken), common), isCausal, scale);
            outputs.Add(output.narrow(3, 0, taken));
            logSumExp ??= rows.reshape(query.size(0), query.size(1), query.size(2));
        }
        return (outputs.Count == 1 ? outputs[0] : cat(outputs, 3), logSumExp!);
    }

    // [q | 1 1 1] and [k | high middle low]: their product is q·k + bias / scale, each summand exact in the tensors' dtype.
    internal static (Tensor Query, Tensor Key) WithBiasFeatures(Tensor query, Tensor key, Tensor keyBias, double scale)
    {
        var rest = (keyBias / scale).expand(key.size(0), key.size(1), key.size(2));
        if (query.dtype == ScalarType.Float16)
            rest = rest.clamp(HalfLowestFeature);
        var parts = new List<Tensor> { key };
        for (int part = 0; part < BiasFeatures; part++)
        {
            var rounded = rest.to(key.dtype);
            parts.Add(rounded.unsqueeze(-1));
            rest = rest - rounded;
        }
        // Widened here to the kernels' multiple, in the same copy.
        long filling = RoundUp(key.size(3) + BiasFeatures, WidthMultiple) - key.size(3) - BiasFeatures;
        if (filling > 0)
            parts.Add(key.new_zeros(1).expand(key.size(0), key.size(1), key.size(2), filling));
        Tensor[] queryParts =
        [
            query,
            query.new_ones(1).expand(query.size(0), query.size(1), query.size(2), BiasFeatures),
            .. filling > 0 ? new[] { query.new_zeros(1).expand(query.size(0), query.size(1), query.size(2), filling) } : [],
        ];
        return (cat(queryParts, 3), cat(parts, 3));
    }

    // The width at which the fewest columns are computed in all: one wide call, or several narrow ones that each repeat the scores.
    internal static long BestWidth(long queryWidth, long valueWidth, long widest)
    {
        long narrow = RoundUp(queryWidth, WidthMultiple),
            wide = RoundUp(Math.Max(queryWidth, valueWidth), WidthMultiple);
        if (wide > widest)
            wide = narrow;
        long calls = (valueWidth + narrow - 1) / narrow;
        return Cost(wide) <= calls * Cost(narrow) ? wide : narrow;

        static long Cost(long width) => FlashWidths.First(compiled => compiled >= width);
    }

    private static Tensor Widen(Tensor tensor, long width) =>
        tensor.size(3) == width ? tensor : nn.functional.pad(tensor, [0, width - tensor.size(3)]);

    private static long RoundUp(long number, long multiple) => (number + multiple - 1) / multiple * multiple;

    private static ScalarType Accumulator(Tensor tensor) =>
        tensor.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;

    private static (Tensor, Tensor) Invoke(Lazy<jit.CompilationUnit> unit, params object[] arguments)
    {
        var (output, logSumExp) = unit.Value.invoke<ValueTuple<Tensor, Tensor>>("forward", arguments);
        return (output, logSumExp);
    }
}
