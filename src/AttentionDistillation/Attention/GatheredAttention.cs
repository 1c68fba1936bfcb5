using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Softmax attention in which every block of queries sees a short list of keys: the lists are gathered and each block attends to its own, so that time
/// and memory grow with L times the list's length and no map of L x L is built.
/// </summary>
public static class GatheredAttention
{
    /// <summary>Attends block by block.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, S, D]; S may exceed L where a form appends keys of its own (sparse tokens).</param>
    /// <param name="value">[B, H, S, D].</param>
    /// <param name="keys">int64 [N, M]: for each of the N blocks of queries the numbers of its M keys; a number outside 0 ... S - 1 is no key.</param>
    /// <param name="valid">bool [B or 1, H or 1, S]: keys that may be seen at all (not padding); null for all.</param>
    /// <param name="allowed">bool [N, block, M]: pairs within a block that may be seen; null for all.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="dropout">Probability with which an attention weight is dropped.</param>
    /// <returns>[B, H, L, D]; rows that see nothing are 0.</returns>
    public static Tensor Mix(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor keys,
        Tensor? valid,
        Tensor? allowed,
        double scale,
        double dropout = 0.0
    )
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(value);
        ArgumentNullException.ThrowIfNull(keys);
        using var scope = NewDisposeScope();
        long batch = query.size(0),
            heads = query.size(1),
            length = query.size(2),
            source = key.size(2),
            blocks = keys.size(0),
            listed = keys.size(1),
            block = allowed?.size(1) ?? (length + blocks - 1) / blocks;
        if (block * blocks < length || (allowed is not null && !allowed.shape.SequenceEqual([blocks, block, listed])))
            throw new ArgumentException(
                $"{blocks} lists of {listed} keys in blocks of {block} do not serve {length} queries: allowed must be [{blocks}, block, {listed}] with {blocks} x block at least {length}."
            );
        var inside = keys.ge(0).logical_and(keys.lt(source));
        var places = keys.clamp(0, source - 1).view(-1);

        // [B, H, L, D] -> [B x N, H, block, D], and the keys of each block beside it.
        var padded = block * blocks == length ? query : nn.functional.pad(query, [0, 0, 0, block * blocks - length]);
        var rows = padded.view(batch, heads, blocks, block, -1).transpose(1, 2).reshape(batch * blocks, heads, block, -1);
        Tensor Listed(Tensor tensor) =>
            tensor
                .index_select(2, places)
                .view(batch, heads, blocks, listed, -1)
                .transpose(1, 2)
                .reshape(batch * blocks, heads, listed, -1);

        var visible = inside.view(1, 1, blocks, 1, listed);
        if (allowed is not null)
            visible = visible.logical_and(allowed.view(1, 1, blocks, block, listed));
        if (valid is not null)
            visible = visible.logical_and(valid.index_select(2, places).view(valid.size(0), valid.size(1), blocks, 1, listed));
        visible = visible.transpose(1, 2); // [B or 1, N, H or 1, block or 1, M]
        var sees = visible.any(-1, keepdim: true);
        Tensor PerRow(Tensor tensor) =>
            tensor
                .expand(batch, blocks, tensor.size(2), tensor.size(3), tensor.size(4))
                .reshape(batch * blocks, tensor.size(2), tensor.size(3), tensor.size(4));
        var mask = PerRow(visible.logical_or(sees.logical_not())).expand(batch * blocks, heads, block, listed);

        var mixed = FusedOperators
            .Attention(rows, Listed(key), Listed(value), mask, dropout, false, scale)
            .masked_fill(PerRow(sees.logical_not()), 0.0)
            .view(batch, blocks, heads, block, -1)
            .transpose(1, 2)
            .reshape(batch, heads, blocks * block, -1);
        return mixed.narrow(2, 0, length).MoveToOuterDisposeScope();
    }

    /// <summary>Lists of blocks as lists of tokens.</summary>
    /// <param name="blocksOf">Numbers of the key blocks of each query block, each once; -1 for none.</param>
    /// <param name="block">Tokens in a block.</param>
    /// <param name="device">Where the lists live.</param>
    /// <returns>int64 [N, M], M the longest list's tokens; -1 where a list is shorter.</returns>
    public static Tensor Tokens(IReadOnlyList<IReadOnlyList<long>> blocksOf, long block, Device device)
    {
        ArgumentNullException.ThrowIfNull(blocksOf);
        long longest = Math.Max(1, blocksOf.Max(list => list.Count)) * block;
        long[] places = new long[blocksOf.Count * longest];
        Array.Fill(places, -1);
        for (int row = 0; row < blocksOf.Count; row++)
        for (int number = 0; number < blocksOf[row].Count; number++)
            if (blocksOf[row][number] >= 0)
                for (long inner = 0; inner < block; inner++)
                    places[row * longest + number * block + inner] = blocksOf[row][number] * block + inner;
        return tensor(places, [blocksOf.Count, longest], device: device);
    }
}
