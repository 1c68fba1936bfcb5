using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Attention whose weights are products of positive features, φ(q)·φ(k), normalised over the keys a query sees. Causal calls run over chunks with
/// a running sum of φ(k) vᵀ, so time grows with L and nothing of size L x S is built.
/// </summary>
/// <remarks>Katharopoulos et al., "Transformers are RNNs", 2020, equations 5 and 9 to 12; their feature map is elu(x) + 1 (equation 7).</remarks>
public sealed class LinearAttention : IAttentionForm
{
    /// <summary>Added to the sum of weights, so that a query without a visible key gets zeros.</summary>
    public const double Epsilon = 1e-6;

    /// <summary>Queries of a chunk: within it the weights are built.</summary>
    private const long ChunkLength = 64;

    private readonly Func<Tensor, Tensor> features;

    /// <summary>Linear attention.</summary>
    /// <param name="features">φ, from [B, H, L, D] to [B, H, L, features], not negative; null means elu(x) + 1.</param>
    public LinearAttention(Func<Tensor, Tensor>? features = null) => this.features = features ?? EluPlusOne;

    /// <summary>elu(x) + 1.</summary>
    public static Tensor EluPlusOne(Tensor tensor) => nn.functional.elu(tensor, 1.0).add(1.0);

    /// <summary>Mixes the values. Scale, bias and dropout of the call do not apply; a window is refused.</summary>
    /// <param name="call">The call.</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="NotSupportedException">The call has a bias or a window that hides a key.</exception>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        if (!state.IsPlain)
            throw new NotSupportedException(
                "Linear attention knows neither position biases nor sliding windows: use it where the layer has none, or mask keys with FullAttention."
            );
        using var scope = NewDisposeScope();
        var query = features(state.Query);
        var key = features(AttentionMask.RepeatHeads(state.Key, state.Heads));
        var value = AttentionMask.RepeatHeads(state.Value, state.Heads);
        if (state.Mask is not null)
            key = key * state.Mask.unsqueeze(1).unsqueeze(-1).to(key.dtype);
        // A column of ones beside the values: its mixture is the sum of the weights.
        value = cat([value, value.new_ones(1).expand(value.size(0), value.size(1), value.size(2), 1)], -1);
        var summed = state.IsCausal ? Causal(query, key, value) : matmul(query, matmul(key.transpose(-2, -1), value));
        long width = state.Value.size(3);
        return (summed.narrow(-1, 0, width) / (summed.narrow(-1, width, 1) + Epsilon)).MoveToOuterDisposeScope();
    }

    private static Tensor Causal(Tensor query, Tensor key, Tensor value)
    {
        long queries = query.size(2),
            past = key.size(2) - queries;
        if (past < 0)
            throw new NotSupportedException(
                $"A causal call with {queries} queries and {key.size(2)} keys has rows that see nothing. Leave out the first {-past} queries."
            );
        var sums = matmul(key.narrow(2, 0, past).transpose(-2, -1), value.narrow(2, 0, past));
        List<Tensor> parts = [];
        for (long start = 0; start < queries; start += ChunkLength)
        {
            long length = Math.Min(ChunkLength, queries - start);
            var (q, k, v) = (
                query.narrow(2, start, length),
                key.narrow(2, past + start, length),
                value.narrow(2, past + start, length)
            );
            parts.Add(matmul(q, sums) + matmul(matmul(q, k.transpose(-2, -1)).tril(), v));
            if (start + length < queries)
                sums = sums + matmul(k.transpose(-2, -1), v);
        }
        return parts.Count == 1 ? parts[0] : cat(parts, 2);
    }
}
