using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>How LSG attention chooses the sparse tokens of a block.</summary>
public enum LsgSparsity
{
    /// <summary>The mean of keys and of values of each group of neighbours.</summary>
    Pooling,

    /// <summary>The keys of the largest L2 norm, per head, with their values.</summary>
    Norm,

    /// <summary>Every f-th token, from token (head mod f) of the block on.</summary>
    Stride,
}

/// <summary>
/// Local, sparse and global attention: a block of queries sees itself and both neighbours in full, a thinned-out version of f further blocks on either side, and
/// the first token, which itself sees everything.
/// </summary>
/// <remarks>
/// Condevaux and Harispe, "LSG Attention", 2022, section 3, without causal order and with one global token. Unlike the released package, blocks that are all
/// padding stay invisible, and factor 2 has sparse tokens like any other.
/// </remarks>
public sealed class LsgAttention : IAttentionForm
{
    /// <summary>Added to the number of tokens under a mean, as the package does.</summary>
    private const double CountEpsilon = 1e-6;

    /// <summary>A form.</summary>
    /// <param name="block">B, tokens in a block; the factor divides it.</param>
    /// <param name="factor">f: a block has B / f sparse tokens.</param>
    /// <param name="sparsity">How they are chosen.</param>
    /// <exception cref="ArgumentException">The factor does not divide the block.</exception>
    public LsgAttention(long block, long factor, LsgSparsity sparsity)
    {
        Require(block, factor);
        (BlockSize, Factor, Sparsity) = (block, factor, sparsity);
    }

    /// <summary>B.</summary>
    public long BlockSize { get; }

    /// <summary>f.</summary>
    public long Factor { get; }

    /// <summary>How sparse tokens are chosen.</summary>
    public LsgSparsity Sparsity { get; }

    /// <summary>Mixes the values. Padded keys are not seen; a padded query gets some finite mixture.</summary>
    /// <param name="call">A bidirectional call.</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="NotSupportedException">The call is causal, or has a bias.</exception>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        AttentionSupport.RequireEncoderCall(state, nameof(LsgAttention));
        return Mix(state.Query, state.Key, state.Value, state.Mask, BlockSize, Factor, Sparsity, state.Scale, call.Dropout);
    }

    /// <summary>The attention on queries, keys and values.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, L, D].</param>
    /// <param name="value">[B, H, L, D].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="block">Tokens in a block; L need not be a multiple of it.</param>
    /// <param name="factor">f, divides the block.</param>
    /// <param name="sparsity">How sparse tokens are chosen.</param>
    /// <param name="scale">Factor on the scores; null means 1 / sqrt(D).</param>
    /// <param name="dropout">Probability with which an attention weight is dropped.</param>
    /// <returns>[B, H, L, D]; sequences of at most two blocks get full attention.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the factor does not divide the block.</exception>
    public static Tensor Mix(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? mask,
        long block,
        long factor,
        LsgSparsity sparsity,
        double? scale = null,
        double dropout = 0.0
    )
    {
        Require(block, factor);
        Shapes.Require(query, "[B, H, L, D]");
        Shapes.RequireExact(key, query.shape);
        using var scope = NewDisposeScope();
        long length = query.size(2);
        double scoreFactor = scale ?? 1.0 / Math.Sqrt(query.size(3));
        var whole = new AttentionState(query, key, value, mask, scale: scoreFactor);
        if (length <= 2 * block)
            return AttentionMixing.Mix(whole, dropout).MoveToOuterDisposeScope();

        long blocks = AttentionSupport.BlockCount(length, block),
            padding = blocks * block - length;
        var (keys, values) = (Padded(key, padding), Padded(value, padding));
        var real = mask ?? ones(query.size(0), length, dtype: ScalarType.Bool, device: query.device);
        if (padding > 0)
            real = cat([real, zeros(real.size(0), padding, dtype: ScalarType.Bool, device: query.device)], 1);
        var candidates = real.logical_and(arange(blocks * block, device: query.device) > 0);
        var (sparseKeys, sparseValues, sparseValid) = sparsity switch
        {
            LsgSparsity.Pooling => Pooled(keys, values, candidates, factor),
            LsgSparsity.Norm => Chosen(keys, values, candidates, ByNorm(keys, candidates, block, factor)),
            LsgSparsity.Stride => Chosen(keys, values, candidates, ByStride(keys, block, factor)),
            _ => throw new ArgumentOutOfRangeException(nameof(sparsity), sparsity, "Unknown way of choosing sparse tokens."),
        };
        var valid = cat(
            [
                real.unsqueeze(1).expand(real.size(0), sparseValid.size(1), real.size(1)),
                sparseValid.expand(real.size(0), sparseValid.size(1), sparseValid.size(2)),
            ],
            2
        );
        var mixed = GatheredAttention.Mix(
            query,
            cat([keys, sparseKeys], 2),
            cat([values, sparseValues], 2),
            tensor(Lists(blocks, block, factor), device: query.device),
            valid,
            null,
            scoreFactor,
            dropout
        );
        var first = AttentionMixing.Mix(new AttentionState(query.narrow(2, 0, 1), key, value, mask, scale: scoreFactor), dropout);
        return cat([first, mixed.narrow(2, 1, length - 1)], 2).MoveToOuterDisposeScope();
    }

    /// <summary>What each query sees, for pictures: in full (1), or within a group of which a sparse token stands for (0.5).</summary>
    /// <param name="length">L.</param>
    /// <param name="block">Tokens in a block.</param>
    /// <param name="factor">f.</param>
    /// <returns>float32 [L, L].</returns>
    public static Tensor Support(long length, long block, long factor)
    {
        Require(block, factor);
        using var scope = NewDisposeScope();
        var whole = AttentionSupport.Blocks(length, block, row => [row - 1, row, row + 1]);
        var thinned = AttentionSupport.Blocks(
            length,
            block,
            row => Enumerable.Range(2, (int)factor).SelectMany(away => new[] { row - away, row + away })
        );
        if (length <= 2 * block)
            whole = whole.logical_or(true);
        var first = arange(length) < 1;
        whole = whole.logical_or(first.unsqueeze(0)).logical_or(first.unsqueeze(1));
        return whole.to(ScalarType.Float32).maximum(thinned.to(ScalarType.Float32) * 0.5).MoveToOuterDisposeScope();
    }

    // Keys of block i by number: token 0; blocks i - 1, i, i + 1 without token 0; sparse tokens, numbered from the padded length on, of f blocks left and right.
    private static long[,] Lists(long blocks, long block, long factor)
    {
        long sparse = block / factor,
            side = factor * sparse;
        var lists = new long[blocks, 1 + 3 * block + 2 * side];
        for (long row = 0; row < blocks; row++)
        {
            int at = 0;
            lists[row, at++] = 0;
            for (long place = (row - 1) * block; place < (row + 2) * block; place++)
                lists[row, at++] = place < 1 || place >= blocks * block ? -1 : place;
            foreach (long start in new[] { row - 1 - factor, row + 2 })
                for (long other = start; other < start + factor; other++)
                for (long number = 0; number < sparse; number++)
                    lists[row, at++] = other < 0 || other >= blocks ? -1 : blocks * block + other * sparse + number;
        }
        return lists;
    }

    private static (Tensor, Tensor, Tensor) Pooled(Tensor keys, Tensor values, Tensor candidates, long factor)
    {
        var counted = candidates.unsqueeze(1).unsqueeze(-1).to(keys.dtype);
        var counts = counted.unflatten(2, -1, factor).sum(3);
        Tensor Mean(Tensor tensor) => (tensor * counted).unflatten(2, -1, factor).sum(3) / (counts + CountEpsilon);
        return (Mean(keys), Mean(values), counts.squeeze(-1).gt(0));
    }

    // places: int64 [B or 1, H, sparse tokens], numbers of tokens.
    private static (Tensor, Tensor, Tensor) Chosen(Tensor keys, Tensor values, Tensor candidates, Tensor places)
    {
        var all = places.expand(keys.size(0), keys.size(1), places.size(2));
        Tensor Gathered(Tensor tensor) =>
            tensor.gather(2, all.unsqueeze(-1).expand(keys.size(0), keys.size(1), places.size(2), tensor.size(3)));
        var valid = candidates.unsqueeze(1).expand(keys.size(0), keys.size(1), keys.size(2)).gather(2, all);
        return (Gathered(keys), Gathered(values), valid);
    }

    private static Tensor ByNorm(Tensor keys, Tensor candidates, long block, long factor)
    {
        using var guard = no_grad();
        var norms = keys.detach().square().sum(-1).masked_fill(candidates.unsqueeze(1).logical_not(), -1.0);
        var blocks = norms.unflatten(2, -1, block);
        var inner = blocks.topk((int)(block / factor), -1).indexes;
        var starts = arange(blocks.size(2), dtype: ScalarType.Int64, device: keys.device).unsqueeze(-1) * block;
        return (inner + starts).flatten(2);
    }

    private static Tensor ByStride(Tensor keys, long block, long factor)
    {
        var starts = arange(keys.size(2) / block, dtype: ScalarType.Int64, device: keys.device).view(1, -1, 1) * block;
        var steps = arange(block / factor, dtype: ScalarType.Int64, device: keys.device).view(1, 1, -1) * factor;
        var offsets = arange(keys.size(1), dtype: ScalarType.Int64, device: keys.device).remainder(factor).view(-1, 1, 1);
        return (starts + steps + offsets).flatten(1).unsqueeze(0);
    }

    private static Tensor Padded(Tensor tensor, long padding) =>
        padding == 0 ? tensor : nn.functional.pad(tensor, [0, 0, 0, padding]);

    private static void Require(long block, long factor)
    {
        AttentionSupport.RequireBlock(block);
        if (factor < 1 || block % factor != 0)
            throw new ArgumentException(
                $"The sparsity factor must divide the block, but block is {block} and factor {factor}.",
                nameof(factor)
            );
    }
}
