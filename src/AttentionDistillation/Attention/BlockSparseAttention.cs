using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Softmax attention over chosen blocks of keys: a query of block i sees the keys of block j where the block mask says so.</summary>
/// <remarks>
/// The choice is a function of the call, so that it can depend on content (a router, an importance estimate) or be fixed. The mask is expanded to
/// tokens and given to libtorch's kernel: exact, at the cost of full attention.
/// </remarks>
public sealed class BlockSparseAttention : IAttentionForm
{
    private readonly Func<AttentionCall, Tensor> choose;

    /// <summary>Attention over blocks that a function chooses for each call.</summary>
    /// <param name="blockSize">Tokens in a block; the last block may be shorter.</param>
    /// <param name="choose">Gives bool broadcastable to [B, H, blocks of queries, blocks of keys], true = seen.</param>
    public BlockSparseAttention(long blockSize, Func<AttentionCall, Tensor> choose)
    {
        ArgumentNullException.ThrowIfNull(choose);
        if (blockSize < 1)
            throw new ArgumentOutOfRangeException(nameof(blockSize), blockSize, "A block is 1 or more tokens.");
        (BlockSize, this.choose) = (blockSize, choose);
    }

    /// <summary>Tokens in a block.</summary>
    public long BlockSize { get; }

    /// <summary>Mixes the values of the chosen blocks, within what padding and causality allow. A query that is left without a key gets zeros.</summary>
    /// <param name="call">The call; queries are counted from the first key that lies at their place (S - L).</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="ArgumentException">The block mask does not fit the call.</exception>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        using var scope = NewDisposeScope();
        long queries = state.Query.size(2),
            keys = state.Key.size(2);
        var allowed = Tokens(choose(call), keys - queries, queries, keys, BlockSize);
        var possible = AttentionMask.Allowed(state.Mask, state.IsCausal, queries, keys, state.Query.device, state.Window);
        if (possible is not null)
            allowed = allowed.logical_and(possible);
        var blind = allowed.any(-1, keepdim: true).logical_not();
        var mixed = FullAttention.Instance.Mix(call with { Visibility = new KernelVisibility(allowed.logical_or(blind), false) });
        return mixed.masked_fill(blind, 0.0).MoveToOuterDisposeScope();
    }

    /// <summary>A block mask as a mask of tokens.</summary>
    /// <param name="blocks">bool [..., blocks of queries, blocks of keys].</param>
    /// <param name="offset">The place of the first query among the keys.</param>
    /// <param name="queries">L.</param>
    /// <param name="keys">S.</param>
    /// <param name="blockSize">Tokens in a block.</param>
    /// <returns>bool [..., L, S].</returns>
    public static Tensor Tokens(Tensor blocks, long offset, long queries, long keys, long blockSize)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        long rows = (offset + queries + blockSize - 1) / blockSize,
            columns = (keys + blockSize - 1) / blockSize;
        if (blocks.dtype != ScalarType.Bool || blocks.dim() < 2 || blocks.size(-2) != rows || blocks.size(-1) != columns)
            throw new ArgumentException(
                $"The block mask must be bool [..., {rows}, {columns}] for {queries} queries and {keys} keys in blocks of {blockSize}, but is {blocks.dtype} {Shapes.Describe(blocks)}.",
                nameof(blocks)
            );
        using var scope = NewDisposeScope();
        return blocks
            .repeat_interleave(blockSize, -2)
            .narrow(-2, offset, queries)
            .repeat_interleave(blockSize, -1)
            .narrow(-1, 0, keys)
            .MoveToOuterDisposeScope();
    }
}
