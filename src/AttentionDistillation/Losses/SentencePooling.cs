using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>How the hidden states of a sentence become one vector.</summary>
public enum PoolingMode
{
    /// <summary>The first token's hidden state as it is, without BERT's pooler (no linear layer, no tanh).</summary>
    Cls,

    /// <summary>The mean over real tokens.</summary>
    Mean,

    /// <summary>The largest value of each channel over real tokens.</summary>
    Max,

    /// <summary>The last real token's hidden state, as decoders are pooled; padding may be on either side.</summary>
    Last,
}

/// <summary>Sentence vectors from hidden states; padding never enters one. A sentence without any real token gives zeros.</summary>
/// <remarks>The modes of Reimers and Gurevych 2019, "Sentence-BERT", section 3, and the last token of decoder embeddings.</remarks>
public static class SentencePooling
{
    // The library of Sentence-BERT clamps the number of tokens here, which only matters for a sentence without tokens.
    private const double LeastTokens = 1e-9;

    /// <summary>Pools.</summary>
    /// <param name="hidden">[B, L, C].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="mode">How.</param>
    /// <returns>[B, C], in the type of <paramref name="hidden"/>.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, the mask is not bool, or the mode is unknown.</exception>
    public static Tensor Pool(Tensor hidden, Tensor? mask, PoolingMode mode)
    {
        Shapes.Require(hidden, "[B, L, C]");
        if (mask is not null)
        {
            Shapes.RequireExact(mask, [hidden.size(0), hidden.size(1)]);
            if (mask.dtype != ScalarType.Bool)
                throw new ArgumentException(
                    $"The mask must be bool (true = real token), but is {mask.dtype}. Convert it with .to(ScalarType.Bool).",
                    nameof(mask)
                );
        }
        using var scope = NewDisposeScope();
        var pooled = mode switch
        {
            PoolingMode.Cls => hidden.select(1, 0),
            PoolingMode.Mean => Mean(hidden, mask),
            PoolingMode.Max => Largest(hidden, mask),
            PoolingMode.Last => Last(hidden, mask),
            _ => throw new ArgumentException($"Pooling mode {(int)mode} is unknown. Use Cls, Mean, Max or Last.", nameof(mode)),
        };
        return pooled.alias().MoveToOuterDisposeScope();
    }

    private static Tensor Mean(Tensor hidden, Tensor? mask)
    {
        if (mask is null)
            return hidden.mean([1L]);
        var tokens = mask.sum(1, keepdim: true).to(hidden.dtype).clamp_min(LeastTokens);
        return hidden.masked_fill(mask.logical_not().unsqueeze(-1), 0.0).sum(1) / tokens;
    }

    private static Tensor Largest(Tensor hidden, Tensor? mask)
    {
        if (mask is null)
            return hidden.amax([1L]);
        var kept = hidden.masked_fill(mask.logical_not().unsqueeze(-1), double.NegativeInfinity).amax([1L]);
        return kept.masked_fill(mask.any(1, keepdim: true).logical_not(), 0.0);
    }

    private static Tensor Last(Tensor hidden, Tensor? mask)
    {
        if (mask is null)
            return hidden.select(1, hidden.size(1) - 1);
        var positions = arange(hidden.size(1), dtype: ScalarType.Int64, device: hidden.device).unsqueeze(0);
        var last = positions.masked_fill(mask.logical_not(), 0L).amax([1L]);
        var rows = hidden.gather(1, last.reshape(-1, 1, 1).expand(-1, 1, hidden.size(2))).squeeze(1);
        return rows.masked_fill(mask.any(1, keepdim: true).logical_not(), 0.0);
    }
}
