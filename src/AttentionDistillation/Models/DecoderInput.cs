using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>One pass's input of a decoder: token numbers or embeddings, padding, and what else a pass may be given.</summary>
public sealed record DecoderInput
{
    private DecoderInput(Tensor? inputIds, Tensor? inputEmbeddings, Tensor? mask) =>
        (InputIds, InputEmbeddings, Mask) = (inputIds, inputEmbeddings, mask);

    /// <summary>Token numbers.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="mask">bool [B, S] (or numbers, 0 = padding), true = real token, S = tokens in the cache + L; null when nothing is padded.</param>
    public DecoderInput(Tensor inputIds, Tensor? mask)
        : this(inputIds, null, mask) => Shapes.Require(inputIds, "[B, L]");

    /// <summary>Input embeddings instead of token numbers: gradients reach them, and soft prompts can stand among them.</summary>
    /// <param name="embeddings">[B, L, C], before any position embedding is added.</param>
    /// <param name="mask">As above.</param>
    public static DecoderInput FromEmbeddings(Tensor embeddings, Tensor? mask)
    {
        Shapes.Require(embeddings, "[B, L, C]");
        return new DecoderInput(null, embeddings, mask);
    }

    /// <summary>int64 [B, L]; null when embeddings are given.</summary>
    public Tensor? InputIds { get; }

    /// <summary>[B, L, C]; null when token numbers are given.</summary>
    public Tensor? InputEmbeddings { get; }

    /// <summary>[B, S], true or not 0 = real token; null when nothing is padded.</summary>
    public Tensor? Mask { get; }

    /// <summary>
    /// int64 [B or 1, L]; null: counted on from the tokens in the cache, padding included, as transformers does in a forward pass. For padding on
    /// the left see <see cref="PositionsOf"/>.
    /// </summary>
    public Tensor? Positions { get; init; }

    /// <summary>int64 [B, L], for GPT-2 alone: tokens whose embeddings are added to the input's.</summary>
    public Tensor? TokenTypeIds { get; init; }

    /// <summary>Keys and values of the tokens before; the pass appends its own. Null for none.</summary>
    public KeyValueCache? Cache { get; init; }

    /// <summary>Changes of what heads write; null for none.</summary>
    public HeadIntervention? Heads { get; init; }

    /// <summary>A language model computes the vocabulary's scores for this many last positions only; null for all.</summary>
    public long? LastScores { get; init; }

    /// <summary>
    /// A promise that padding stands only after real tokens. No real token of a causal model then sees padding, so that the mask need not be
    /// applied and the fastest kernels serve the pass.
    /// </summary>
    public bool IsPaddedOnTheRight { get; init; }

    /// <summary>Positions that count real tokens alone, as transformers' generation has them: 0 at the first real token, 1 at padding.</summary>
    /// <param name="mask">bool [B, S] or numbers, not 0 = real token.</param>
    /// <returns>int64 [B, S].</returns>
    public static Tensor PositionsOf(Tensor mask)
    {
        ArgumentNullException.ThrowIfNull(mask);
        using var scope = NewDisposeScope();
        var real = mask.ne(0);
        return (real.to(ScalarType.Int64).cumsum(-1) - 1).masked_fill(real.logical_not(), 1).MoveToOuterDisposeScope();
    }

    internal long Batch => (InputIds ?? InputEmbeddings)!.size(0);

    internal long Length => (InputIds ?? InputEmbeddings)!.size(1);
}
