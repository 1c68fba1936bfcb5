namespace AttentionDistillation.Analysis;

/// <summary>The size of quantized weights.</summary>
public static class QuantizedSize
{
    /// <summary>Bits of a full-precision number, and of a bucket's scale and of its offset.</summary>
    public const int FullBits = 32;

    /// <summary>Mean length of a Huffman code of the levels, bits a weight.</summary>
    /// <param name="counts">How often each level occurs; levels that do not occur get no code.</param>
    /// <returns>0 when only one level occurs.</returns>
    /// <exception cref="ArgumentException">A count is negative, or nothing was counted.</exception>
    public static double HuffmanBits(IReadOnlyList<long> counts)
    {
        ArgumentNullException.ThrowIfNull(counts);
        if (counts.Any(count => count < 0) || counts.Sum() == 0)
            throw new ArgumentException(
                $"Counts must be 0 or more and not all 0, but are [{string.Join(", ", counts)}].",
                nameof(counts)
            );
        var queue = new PriorityQueue<long, long>(counts.Where(count => count > 0).Select(count => (count, count)));
        // Every merge lengthens the codes of all it holds by one bit.
        long bits = 0;
        while (queue.Count > 1)
        {
            long merged = queue.Dequeue() + queue.Dequeue();
            bits += merged;
            queue.Enqueue(merged, merged);
        }
        return bits / (double)counts.Sum();
    }

    /// <summary>How many times smaller weights become: k f / (k b + 2 f), the scale and offset of every bucket kept at f bits.</summary>
    /// <param name="bits">b, bits a weight.</param>
    /// <param name="bucket">k, weights a bucket.</param>
    /// <param name="fullBits">f.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is not positive.</exception>
    public static double Compression(double bits, long bucket, int fullBits = FullBits)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bits);
        ArgumentOutOfRangeException.ThrowIfLessThan(bucket, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(fullBits, 1);
        return bucket * (double)fullBits / (bucket * bits + 2.0 * fullBits);
    }
}
