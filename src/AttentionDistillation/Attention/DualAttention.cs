using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Parallel spatial-channel attention by two softmaxes of the same queries, keys and values: places attend to places, softmax(q kᵀ / √d), and the
/// channels of a head to each other, softmax(qᵀ k / √l), whose map mixes the values' channels. Both results are added before the output projection.
/// </summary>
/// <remarks>The other reading of ClST's PSCA (arXiv 2312.17446; its equations were not seen †) beside <see cref="GateAttention"/>, after DaViT (Ding et al. 2022).</remarks>
public static class DualAttention
{
    /// <summary>Attends both ways.</summary>
    /// <param name="tokens">[b, l, c].</param>
    /// <param name="query">[c, c], without bias, as the next two.</param>
    /// <param name="key">[c, c].</param>
    /// <param name="value">[c, c].</param>
    /// <param name="weight">Output projection, [c, c].</param>
    /// <param name="bias">Its bias [c], or null.</param>
    /// <param name="heads">H, which must divide c.</param>
    /// <returns>[b, l, c], the inputs of the attention over places, and the channels' map [b, H, d, d].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the heads do not divide c.</exception>
    public static (Tensor Output, AttentionState Positions, Tensor Channels) Apply(
        Tensor tokens,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor weight,
        Tensor? bias,
        long heads
    )
    {
        Shapes.Require(tokens, "[b, l, c]");
        long width = tokens.size(2);
        foreach (var projection in new[] { query, key, value, weight })
            Shapes.RequireExact(projection, [width, width]);
        using var scope = NewDisposeScope();
        Tensor Of(Tensor projection) => LinearProduct.Of(tokens, projection, null);
        var state = AttentionState.OfHeads(Of(query), Of(key), Of(value), heads);
        var places = nn.functional.scaled_dot_product_attention(state.Query, state.Key, state.Value);
        var scores = matmul(state.Query.transpose(-2, -1), state.Key) / Math.Sqrt(tokens.size(1));
        var channels = scores.softmax(-1);
        // Row i of the map says of which channels of the values the new channel i is made.
        var mixed = places + matmul(state.Value, channels.transpose(-2, -1));
        var rows = mixed.transpose(1, 2).reshape(tokens.size(0), tokens.size(1), width);
        var output = LinearProduct.Of(rows, weight, bias);
        return (output.MoveToOuterDisposeScope(), state.MoveToOuterDisposeScope(), channels.MoveToOuterDisposeScope());
    }
}
