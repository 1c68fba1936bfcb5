using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Which keys the queries of sparse encoder attention see, as bool maps [L, L]: windows, neighbouring and chosen blocks, global tokens. Maps are
/// for pictures, for checks, and for exact forms at moderate length; forms that gather their keys never build them.
/// </summary>
public static class AttentionSupport
{
    /// <summary>Query i sees the keys j with |i - j| at most window / 2 (Beltagy et al. 2020, "Longformer", section 3.1).</summary>
    /// <param name="length">L.</param>
    /// <param name="window">Width of the window: even, half of it on either side.</param>
    /// <param name="device">Where the map lives.</param>
    /// <returns>bool [L, L].</returns>
    /// <exception cref="ArgumentException">The window is odd or below 2.</exception>
    public static Tensor Window(long length, long window, Device? device = null)
    {
        RequireWindow(window);
        using var scope = NewDisposeScope();
        return ones(length, length, dtype: ScalarType.Bool, device: device ?? CPU)
            .tril(window / 2)
            .triu(-(window / 2))
            .MoveToOuterDisposeScope();
    }

    /// <summary>The first tokens, bool [B, L]: the usual global tokens of a classifier's or a tagger's input.</summary>
    /// <param name="batch">B.</param>
    /// <param name="length">L.</param>
    /// <param name="count">How many tokens are global.</param>
    /// <param name="device">Where the mask lives.</param>
    public static Tensor FirstTokens(long batch, long length, long count, Device? device = null)
    {
        using var scope = NewDisposeScope();
        return (arange(length, device: device ?? CPU) < count)
            .unsqueeze(0)
            .expand(batch, length)
            .clone()
            .MoveToOuterDisposeScope();
    }

    /// <summary>Query block i sees the blocks that <paramref name="blocksOf"/> names for it, as a map of tokens.</summary>
    /// <param name="length">L; the last block may be shorter.</param>
    /// <param name="block">Tokens in a block.</param>
    /// <param name="blocksOf">Numbers of the blocks that block i sees; others than the sequence's are left out.</param>
    /// <returns>bool [L, L].</returns>
    public static Tensor Blocks(long length, long block, Func<long, IEnumerable<long>> blocksOf)
    {
        ArgumentNullException.ThrowIfNull(blocksOf);
        RequireBlock(block);
        using var scope = NewDisposeScope();
        long blocks = BlockCount(length, block);
        var map = new bool[blocks * blocks];
        for (long row = 0; row < blocks; row++)
            foreach (long column in blocksOf(row))
                if (column >= 0 && column < blocks)
                    map[row * blocks + column] = true;
        return BlockSparseAttention.Tokens(tensor(map).view(blocks, blocks), 0, length, length, block).MoveToOuterDisposeScope();
    }

    /// <summary>The number of blocks of a sequence, the last one perhaps shorter.</summary>
    public static long BlockCount(long length, long block) => (length + block - 1) / block;

    /// <summary>Softmax attention over a support: the plain form that fast ones must match.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, S, D].</param>
    /// <param name="value">[B, H, S, D].</param>
    /// <param name="allowed">bool, broadcastable to [B, H, L, S]: what may be seen.</param>
    /// <param name="scale">Factor on the scores; null means 1 / sqrt(D).</param>
    /// <returns>[B, H, L, D]; rows that see nothing are 0.</returns>
    public static Tensor Mix(Tensor query, Tensor key, Tensor value, Tensor allowed, double? scale = null)
    {
        ArgumentNullException.ThrowIfNull(allowed);
        using var scope = NewDisposeScope();
        var sees = allowed.any(-1, keepdim: true);
        // A row that sees nothing sees all for the softmax's sake and is set to 0 afterwards.
        var scores = matmul(query, key.transpose(-2, -1)) * (scale ?? 1.0 / Math.Sqrt(query.size(-1)));
        scores = scores.masked_fill(allowed.logical_or(sees.logical_not()).logical_not(), double.NegativeInfinity);
        return matmul(nn.functional.softmax(scores, -1), value).masked_fill(sees.logical_not(), 0.0).MoveToOuterDisposeScope();
    }

    internal static void RequireWindow(long window)
    {
        if (window < 2 || window % 2 != 0)
            throw new ArgumentException(
                $"A window counts the keys on both sides, so it must be even and 2 or more, but is {window}. Take {Math.Max(2, window + 1)}.",
                nameof(window)
            );
    }

    internal static void RequireBlock(long block)
    {
        if (block < 1)
            throw new ArgumentException($"A block is 1 or more tokens, but {block} was given.", nameof(block));
    }

    // Encoder forms have no causal order; a bias or a window of the layer would silently be lost.
    internal static void RequireEncoderCall(AttentionState state, string form)
    {
        if (state.IsCausal || !state.IsPlain || state.Query.size(2) != state.Key.size(2))
            throw new NotSupportedException(
                $"{form} is self-attention of an encoder: it knows no causal order, position bias or cached keys. Put it into a bidirectional layer, or use {nameof(BlockSparseAttention)} in a decoder."
            );
        Shapes.RequireSame(state.Query, state.Key, 1, "number of heads (repeat grouped keys first)");
    }
}
