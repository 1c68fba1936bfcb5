using System.Buffers.Binary;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>
/// A sparse soft label as bytes, little-endian: the augmentation's seed (int32), the numbers of the K most probable classes (int16), their probabilities
/// (float16). 4 + 4 K bytes an image: 404 for 100 of ImageNet-22k's classes.
/// </summary>
/// <remarks>Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", 2022, and its code (save_logits.py).</remarks>
public static class SparseLabelRecord
{
    /// <summary>The most classes there can be: class numbers are int16, 0 to 32,767.</summary>
    public const int MostClasses = short.MaxValue + 1;

    private const int SeedBytes = sizeof(int);
    private const int BytesOfClass = sizeof(short) + sizeof(ushort);

    /// <summary>Bytes of a record with K classes: 4 + 4 K.</summary>
    /// <param name="kept">K, 1 or more.</param>
    public static int Bytes(int kept)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(kept, 1);
        return SeedBytes + BytesOfClass * kept;
    }

    /// <summary>Packs labels.</summary>
    /// <param name="values">Probabilities of the kept classes, real numbers [B, K] from 0 to 1; they are rounded to float16.</param>
    /// <param name="indices">Their class numbers, int64 [B, K].</param>
    /// <param name="seeds">Seeds of the augmentation, int64 [B], 31 bits.</param>
    /// <returns>uint8 [B, 4 + 4 K] on the CPU.</returns>
    /// <exception cref="ArgumentException">
    /// Shapes do not fit, a class number is above 32,767, a seed has more than 31 bits, or a probability is none; the message says which.
    /// </exception>
    public static Tensor Pack(Tensor values, Tensor indices, Tensor seeds)
    {
        Shapes.Require(values, "[B, K]");
        Shapes.RequireExact(indices, values.shape);
        Shapes.RequireExact(seeds, [values.size(0)]);
        using var scope = NewDisposeScope();
        int kept = (int)values.size(1),
            length = Bytes(kept);
        Half[] probabilities = Halves(values);
        long[] classes = [.. indices.to(ScalarType.Int64).cpu().contiguous().data<long>()],
            numbers = [.. seeds.to(ScalarType.Int64).cpu().contiguous().data<long>()];
        byte[] bytes = new byte[numbers.Length * length];
        for (int row = 0; row < numbers.Length; row++)
        {
            var record = bytes.AsSpan(row * length, length);
            BinaryPrimitives.WriteInt32LittleEndian(record, Seed(numbers[row], row));
            for (int place = 0; place < kept; place++)
            {
                int at = row * kept + place;
                BinaryPrimitives.WriteInt16LittleEndian(record[(SeedBytes + 2 * place)..], Class(classes[at], row));
                if (!(probabilities[at] >= Half.Zero && probabilities[at] <= Half.One))
                    throw new ArgumentException(
                        $"The label of row {row} gives class {classes[at]} the probability {(double)probabilities[at]}. Probabilities lie between 0 and 1: pass softmax's values, not logits.",
                        nameof(values)
                    );
                BinaryPrimitives.WriteHalfLittleEndian(record[(SeedBytes + 2 * kept + 2 * place)..], probabilities[at]);
            }
        }
        return tensor(bytes, numbers.Length, length).MoveToOuterDisposeScope();
    }

    /// <summary>Unpacks labels.</summary>
    /// <param name="bytes">uint8 [B, 4 + 4 K].</param>
    /// <returns>Probabilities float32 [B, K], class numbers int64 [B, K], seeds int64 [B], on the CPU.</returns>
    /// <exception cref="ArgumentException">The records' length is that of no K.</exception>
    public static (Tensor Values, Tensor Indices, Tensor Seeds) Unpack(Tensor bytes)
    {
        Shapes.Require(bytes, "[B, 4 + 4 K]");
        int length = (int)bytes.size(1);
        if (length < Bytes(1) || length % BytesOfClass != 0)
            throw new ArgumentException(
                $"A record of K classes has 4 + 4 K bytes, at least {Bytes(1)}, but these have {length}.",
                nameof(bytes)
            );
        using var scope = NewDisposeScope();
        var (values, indices, seeds) = Unpack(
            bytes.to(ScalarType.Byte).cpu().contiguous().bytes,
            length,
            length,
            (length - SeedBytes) / BytesOfClass
        );
        return (values.MoveToOuterDisposeScope(), indices.MoveToOuterDisposeScope(), seeds.MoveToOuterDisposeScope());
    }

    /// <summary>Unpacks records that lie <paramref name="stride"/> bytes apart.</summary>
    internal static (Tensor Values, Tensor Indices, Tensor Seeds) Unpack(
        ReadOnlySpan<byte> bytes,
        int length,
        int stride,
        int kept
    )
    {
        int rows = bytes.Length / stride;
        float[] values = new float[rows * kept];
        long[] indices = new long[rows * kept],
            seeds = new long[rows];
        for (int row = 0; row < rows; row++)
        {
            var record = bytes.Slice(row * stride, length);
            seeds[row] = BinaryPrimitives.ReadInt32LittleEndian(record);
            for (int place = 0; place < kept; place++)
            {
                indices[row * kept + place] = BinaryPrimitives.ReadInt16LittleEndian(record[(SeedBytes + 2 * place)..]);
                values[row * kept + place] = (float)
                    BinaryPrimitives.ReadHalfLittleEndian(record[(SeedBytes + 2 * kept + 2 * place)..]);
            }
        }
        return (tensor(values, rows, kept), tensor(indices, rows, kept), tensor(seeds));
    }

    private static Half[] Halves(Tensor values)
    {
        using var scope = NewDisposeScope();
        // By way of float32, so that every type of logits rounds the same way; float16 to float32 and back is exact.
        return [.. values.detach().to(ScalarType.Float32).cpu().contiguous().data<float>().Select(value => (Half)value)];
    }

    private static int Seed(long seed, int row) =>
        seed is >= 0 and <= int.MaxValue
            ? (int)seed
            : throw new ArgumentException(
                $"The seed of row {row} is {seed}. A record holds seeds of 31 bits, 0 to {int.MaxValue}.",
                "seeds"
            );

    private static short Class(long number, int row) =>
        number is >= 0 and <= short.MaxValue
            ? (short)number
            : throw new ArgumentException(
                $"The label of row {row} names class {number}. A record holds class numbers of 0 to {short.MaxValue} (int16): with more classes, keep those that occur and number them anew.",
                "indices"
            );
}
