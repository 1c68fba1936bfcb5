using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime;

/// <summary>
/// Operators of libtorch that do in one kernel what TorchSharp would need several for, reached through TorchScript. Each function is one call of
/// one operator, so that TorchScript has nothing to fuse: results do not change between the first calls and later ones.
/// </summary>
public static class FusedOperators
{
    private static readonly Lazy<jit.CompilationUnit> Unit = new(() =>
    {
        TorchRuntime.EnsureLoaded();
        return jit.compile(
            """
            def rms_norm(x, weight, eps: float):
                return torch.rms_norm(x, [x.size(-1)], weight, eps)

            def attention(q, k, v, mask: Optional[Tensor], dropout: float, causal: bool, scale: float, grouped: bool):
                return torch.scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=scale, enable_gqa=grouped)

            """
        );
    });

    /// <summary>Root-mean-square normalisation over the last axis: x / sqrt(mean(x^2) + epsilon) * weight, its statistics in float32 at least.</summary>
    /// <param name="input">[..., C].</param>
    /// <param name="weight">[C].</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns>[..., C], differentiable in both.</returns>
    public static Tensor RootMeanSquareNorm(Tensor input, Tensor weight, double epsilon)
    {
        using Scalar eps = epsilon;
        return Invoke("rms_norm", input, weight, eps);
    }

    /// <summary>softmax(scale q kᵀ + mask) v by the fastest kernel that libtorch has for the call; differentiable in q, k and v.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, S, D], or fewer heads that divide H.</param>
    /// <param name="value">[B, H, S, D], heads as <paramref name="key"/>.</param>
    /// <param name="mask">bool broadcastable to [B, H, L, S], true = may be seen; null for none. Every row must see something.</param>
    /// <param name="dropout">Probability with which an attention weight is dropped.</param>
    /// <param name="isCausal">True when query i sees keys 0 to i; only where L = S and there is no mask.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <returns>[B, H, L, D].</returns>
    public static Tensor Attention(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? mask,
        double dropout,
        bool isCausal,
        double scale
    )
    {
        bool grouped = key.size(1) != query.size(1);
        using var scope = NewDisposeScope();
        // Kernels that take a mask do not take grouped heads; libtorch would then build the map.
        if (grouped && mask is not null)
        {
            long times = query.size(1) / key.size(1);
            (key, value, grouped) = (key.repeat_interleave(times, 1), value.repeat_interleave(times, 1), false);
        }
        using Scalar probability = dropout,
            factor = scale;
        return Invoke("attention", query, key, value, mask!, probability, isCausal, factor, grouped).MoveToOuterDisposeScope();
    }

    // Arguments are held until the call is over: TorchSharp passes bare handles on.
    private static Tensor Invoke(string function, params object[] arguments)
    {
        var result = (Tensor)Unit.Value.invoke(function, arguments);
        GC.KeepAlive(arguments);
        return result;
    }
}
