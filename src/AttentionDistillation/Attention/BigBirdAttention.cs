using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// BigBird's block-sparse attention: a block of queries sees itself, both neighbours, random blocks, and the first and the last block; these two see
/// everything. Each key counts once.
/// </summary>
/// <remarks>
/// Zaheer et al., "Big Bird", 2020, section 2 and appendix D. † Block-sparse form of transformers, which draws random blocks that are neither window nor
/// global ones, and another set for every layer.
/// </remarks>
public sealed class BigBirdAttention : IAttentionForm
{
    private readonly long seed;
    private readonly Dictionary<(long Length, int Layer), IReadOnlyList<IReadOnlyList<long>>> drawn = [];

    /// <summary>A form with random blocks drawn from a seed, the same for every sequence of one length and layer.</summary>
    /// <param name="block">Tokens in a block.</param>
    /// <param name="randomBlocks">r, random blocks a query block sees.</param>
    /// <param name="seed">Seed of the draw.</param>
    /// <exception cref="ArgumentException">A number is out of its range.</exception>
    public BigBirdAttention(long block, int randomBlocks, long seed)
    {
        AttentionSupport.RequireBlock(block);
        if (randomBlocks < 0)
            throw new ArgumentException(
                $"The number of random blocks must be 0 or more, but is {randomBlocks}.",
                nameof(randomBlocks)
            );
        (BlockSize, RandomBlocks, this.seed) = (block, randomBlocks, seed);
    }

    /// <summary>Tokens in a block.</summary>
    public long BlockSize { get; }

    /// <summary>r.</summary>
    public int RandomBlocks { get; }

    /// <summary>Mixes the values. Padded keys are not seen; a padded query gets some finite mixture.</summary>
    /// <param name="call">A bidirectional call.</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="NotSupportedException">The call is causal, or has a bias.</exception>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        AttentionSupport.RequireEncoderCall(state, nameof(BigBirdAttention));
        return Mix(
            state.Query,
            state.Key,
            state.Value,
            RandomBlocksOf(state.Query.size(2), call.Layer),
            state.Mask,
            BlockSize,
            state.Scale,
            call.Dropout
        );
    }

    /// <summary>The random blocks of each query block in sequences of this length: distinct, none of them a neighbour, the first or the last.</summary>
    /// <param name="length">L.</param>
    /// <param name="layer">The layer's number.</param>
    public IReadOnlyList<IReadOnlyList<long>> RandomBlocksOf(long length, int layer)
    {
        lock (drawn)
        {
            if (drawn.TryGetValue((length, layer), out var known))
                return known;
            long blocks = AttentionSupport.BlockCount(length, BlockSize);
            var random = Seeds.Random(seed, $"bigbird.{layer}.{blocks}");
            var chosen = new List<IReadOnlyList<long>>();
            for (long row = 0; row < blocks; row++)
            {
                long[] free = [.. Range(blocks).Where(other => Math.Abs(other - row) > 1 && other > 0 && other < blocks - 1)];
                random.Shuffle(free);
                chosen.Add([.. free.Take(RandomBlocks).Order()]);
            }
            return drawn[(length, layer)] = chosen;
        }
    }

    /// <summary>The attention with given random blocks.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, L, D].</param>
    /// <param name="value">[B, H, L, D].</param>
    /// <param name="randomBlocks">For each query block the numbers of its random blocks; repetitions and blocks that it sees anyway count once.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="block">Tokens in a block; the last block may be shorter.</param>
    /// <param name="scale">Factor on the scores; null means 1 / sqrt(D).</param>
    /// <param name="dropout">Probability with which an attention weight is dropped.</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a block does not exist.</exception>
    public static Tensor Mix(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<long>> randomBlocks,
        Tensor? mask,
        long block,
        double? scale = null,
        double dropout = 0.0
    )
    {
        Shapes.Require(query, "[B, H, L, D]");
        long length = query.size(2);
        var lists = Lists(length, block, randomBlocks);
        double factor = scale ?? 1.0 / Math.Sqrt(query.size(3));
        using var scope = NewDisposeScope();
        var whole = new AttentionState(query, key, value, mask, scale: factor);
        if (lists.Count <= 2)
            return AttentionMixing.Mix(whole, dropout).MoveToOuterDisposeScope();
        long last = (lists.Count - 1) * block;
        Tensor Full(long start, long count) =>
            AttentionMixing.Mix(new AttentionState(query.narrow(2, start, count), key, value, mask, scale: factor), dropout);
        var middle = GatheredAttention.Mix(
            query.narrow(2, block, last - block),
            key,
            value,
            GatheredAttention.Tokens([.. lists.Skip(1).SkipLast(1)], block, query.device),
            mask?.view(mask.size(0), 1, length),
            null,
            factor,
            dropout
        );
        return cat([Full(0, block), middle, Full(last, length - last)], 2).MoveToOuterDisposeScope();
    }

    /// <summary>What each query sees, for pictures.</summary>
    /// <param name="length">L.</param>
    /// <param name="block">Tokens in a block.</param>
    /// <param name="randomBlocks">For each query block its random blocks.</param>
    /// <returns>bool [L, L].</returns>
    public static Tensor Support(long length, long block, IReadOnlyList<IReadOnlyList<long>> randomBlocks)
    {
        var lists = Lists(length, block, randomBlocks);
        return AttentionSupport.Blocks(length, block, row => lists[(int)row]);
    }

    // The blocks each block sees, each once; the first and the last see all.
    private static IReadOnlyList<IReadOnlyList<long>> Lists(
        long length,
        long block,
        IReadOnlyList<IReadOnlyList<long>> randomBlocks
    )
    {
        ArgumentNullException.ThrowIfNull(randomBlocks);
        AttentionSupport.RequireBlock(block);
        long blocks = AttentionSupport.BlockCount(length, block);
        if (randomBlocks.Count != blocks || randomBlocks.SelectMany(list => list).Any(number => number < 0 || number >= blocks))
            throw new ArgumentException(
                $"{length} tokens in blocks of {block} need {blocks} lists of blocks from 0 to {blocks - 1}, but there are {randomBlocks.Count}: {string.Join("; ", randomBlocks.Select(list => string.Join(" ", list)))}.",
                nameof(randomBlocks)
            );
        return
        [
            .. Range(blocks)
                .Select(row =>
                    row == 0 || row == blocks - 1
                        ? (IReadOnlyList<long>)[.. Range(blocks)]
                        : [.. new[] { 0, row - 1, row, row + 1, blocks - 1 }.Concat(randomBlocks[(int)row]).Distinct().Order()]
                ),
        ];
    }

    private static IEnumerable<long> Range(long count) => Enumerable.Range(0, (int)count).Select(number => (long)number);
}
