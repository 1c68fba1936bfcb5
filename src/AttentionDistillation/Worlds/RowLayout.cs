using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>How texts fill the rows of a batch.</summary>
public enum RowLayout
{
    /// <summary>Texts one after another, cut at the row's length: [CLS] text [SEP] text ... [SEP], no padding.</summary>
    Packed,

    /// <summary>One text a row: [CLS] text [SEP] and padding; a longer text is cut.</summary>
    OneText,
}

/// <summary>Rows of token numbers on the host, about to become a batch.</summary>
internal sealed class Rows(int count, int length)
{
    private readonly bool[] mask = new bool[count * length];
    private readonly long[] types = new long[count * length];

    /// <summary>Token numbers, row after row.</summary>
    public long[] Ids { get; } = new long[count * length];

    /// <summary>Writes a token.</summary>
    public void Put(int row, int column, long id, long type = 0)
    {
        int at = (row * length) + column;
        Ids[at] = id;
        mask[at] = true;
        types[at] = type;
    }

    /// <summary>Writes the number of padding where a vocabulary has another than 0.</summary>
    public void Fill(int row, int column, long id) => Ids[(row * length) + column] = id;

    /// <summary>The batch: input_ids, attention_mask, token_type_ids [B, L] and labels [B] or [B, L].</summary>
    public Batch ToBatch(long[] labels)
    {
        long[] shape = [count, length];
        return new(
            ("input_ids", tensor(Ids, shape)),
            ("attention_mask", tensor(mask, shape)),
            ("token_type_ids", tensor(types, shape)),
            ("labels", labels.Length == count ? tensor(labels) : tensor(labels, shape))
        );
    }
}
