using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>Rows of token numbers with any padding token, about to become a batch.</summary>
internal sealed class RowSet
{
    private readonly long[] ids;
    private readonly bool[] real;
    private readonly long[] segments;
    private readonly long[] shape;

    public RowSet(int rows, int length, long padding)
    {
        shape = [rows, length];
        (ids, real, segments) = (new long[rows * length], new bool[rows * length], new long[rows * length]);
        Array.Fill(ids, padding);
    }

    private int Length => (int)shape[1];

    /// <summary>Writes tokens from a column on; gives the column after them.</summary>
    public int Put(int row, ReadOnlySpan<long> tokens, int column, long segment = 0)
    {
        int at = (row * Length) + column;
        tokens.CopyTo(ids.AsSpan(at, Math.Min(tokens.Length, Length - column)));
        real.AsSpan(at, tokens.Length).Fill(true);
        segments.AsSpan(at, tokens.Length).Fill(segment);
        return column + tokens.Length;
    }

    /// <summary>Hides tokens as BERT does and gives the labels.</summary>
    public long[] Hide(SentenceLayout layout, SplitMix random)
    {
        var labels = new long[ids.Length];
        Array.Fill(labels, Batch.IgnoredLabel);
        for (int at = 0; at < ids.Length; at++)
        {
            if (!real[at] || ids[at] < layout.SpecialCount || random.NextDouble() >= MaskedLanguageSource.MaskedShare)
                continue;
            labels[at] = ids[at];
            double choice = random.NextDouble();
            if (choice < MaskedLanguageSource.MaskTokenShare)
                ids[at] = layout.Mask;
            else if (choice < MaskedLanguageSource.MaskTokenShare + MaskedLanguageSource.RandomTokenShare)
                ids[at] = layout.SpecialCount + random.NextInt(layout.VocabularySize - layout.SpecialCount);
        }
        return labels;
    }

    public Tensor Ids() => tensor(ids, shape);

    public Tensor Mask() => tensor(real, shape);

    /// <summary>input_ids, attention_mask and token_type_ids [B, L], and labels [B, L] if there are any.</summary>
    public Batch ToBatch(long[]? labels = null)
    {
        var batch = new Batch(("input_ids", Ids()), ("attention_mask", Mask()), ("token_type_ids", tensor(segments, shape)));
        if (labels is not null)
            batch["labels"] = tensor(labels, shape);
        return batch;
    }
}
