using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime;

// Attention that autograd differentiates by the kernels' own backward.
public static partial class AttentionOperators
{
    // TorchSharp's binding of this operator has no scale.
    private static readonly Lazy<jit.CompilationUnit> DifferentiableUnit = new(() =>
        Compile(
            """
            def forward(q, k, v, causal: bool, scale: float):
                return torch.scaled_dot_product_attention(q, k, v, None, 0.0, causal, scale=scale)
            """
        )
    );

    /// <summary>softmax(scale q kᵀ) v, differentiable in all three, at memory that grows with L + S where a kernel serves the call.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, S, D], or fewer heads that divide H.</param>
    /// <param name="value">[B, H, S, any width], heads as <paramref name="key"/>.</param>
    /// <param name="mask">
    /// bool [B, S], true = real key; null when nothing is padded. It goes into an extra feature, so that it joins a causal mask in every
    /// kernel. A row that sees no key gets the mean of all values.
    /// </param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L; L must be at most S.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <returns>[B, H, L, width of the value].</returns>
    /// <exception cref="NotSupportedException">A causal call with more queries than keys.</exception>
    public static Tensor Differentiable(Tensor query, Tensor key, Tensor value, Tensor? mask, bool isCausal, double scale)
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(value);
        using var scope = NewDisposeScope();
        long missing = isCausal ? key.size(2) - query.size(2) : 0,
            queries = query.size(2),
            width = value.size(3);
        if (missing < 0)
            throw new NotSupportedException(
                $"A causal call with {queries} queries and {key.size(2)} keys has rows that see nothing. Leave out the first {-missing} queries."
            );
        (key, value) = (Repeat(key, query.size(1)), Repeat(value, query.size(1)));
        if (mask is not null)
        {
            var bias = KeyBias(mask, ScalarType.Float32)!.unsqueeze(-1).expand(key.size(0), key.size(1), key.size(2), 1) / scale;
            if (key.dtype == ScalarType.Float16)
                bias = bias.clamp(HalfLowestFeature);
            key = cat([key, bias.to(key.dtype)], 3);
            query = cat([query, query.new_ones(1).expand(query.size(0), query.size(1), queries, 1)], 3);
        }
        if (missing > 0)
            query = cat([query.new_zeros(query.size(0), query.size(1), missing, query.size(3)), query], 2);
        long common = RoundUp(Math.Max(query.size(3), width), WidthMultiple);
        var output = DifferentiableUnit.Value.invoke<Tensor>(
            "forward",
            Widen(query, common),
            Widen(key, common),
            Widen(value, common),
            isCausal,
            scale
        );
        return output.narrow(3, 0, width).narrow(2, missing, queries).MoveToOuterDisposeScope();
    }
}
