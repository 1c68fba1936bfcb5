using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>Texts as tokens of one length.</summary>
public sealed class EncodedTexts
{
    internal EncodedTexts(IReadOnlyList<TokenEncoding> encodings) => Encodings = encodings;

    /// <summary>The texts, in order.</summary>
    public IReadOnlyList<TokenEncoding> Encodings { get; }

    /// <summary>The texts as tensors: <c>input_ids</c> int64 [B, L], <c>attention_mask</c> bool [B, L], <c>token_type_ids</c> int64 [B, L].</summary>
    /// <param name="device">Where they lie; null means the CPU.</param>
    /// <exception cref="InvalidOperationException">There are no texts, or they were not padded and differ in length.</exception>
    public Batch ToBatch(Device? device = null)
    {
        if (Encodings.Count == 0)
            throw new InvalidOperationException("There are no texts: a batch has at least one.");
        int length = Encodings[0].Length;
        if (Encodings.Any(encoding => encoding.Length != length))
            throw new InvalidOperationException(
                $"The texts have {Encodings.Min(encoding => encoding.Length)} to {Encodings.Max(encoding => encoding.Length)} tokens. "
                    + $"Encode them with {nameof(EncodeOptions.Padding)} = {nameof(PaddingStrategy.Longest)}."
            );
        return new Batch(
            ("input_ids", Placed(tensor(Flat(entry => (long)entry.Id), dtype: ScalarType.Int64))),
            ("attention_mask", Placed(tensor(Flat(entry => !entry.Padding), dtype: ScalarType.Bool))),
            ("token_type_ids", Placed(tensor(Flat(entry => (long)entry.Type), dtype: ScalarType.Int64)))
        );

        T[] Flat<T>(Func<EncodedToken, T> value) => [.. Encodings.SelectMany(encoding => encoding.Entries.Select(value))];

        Tensor Placed(Tensor flat)
        {
            using (flat)
            using (var table = flat.reshape(Encodings.Count, length))
                return table.to(device ?? CPU, copy: true);
        }
    }
}
