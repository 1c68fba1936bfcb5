namespace AttentionDistillation.Models.Quantization;

/// <summary>What quantized weights cost to store, and how a number of levels is dealt out among tensors.</summary>
/// <remarks>arXiv 1802.05668, sections 2 and 5; antspy/quantized_distillation @ bb500b7.</remarks>
public static class QuantizationSize
{
    /// <summary>Mean length in bits of a Huffman code for levels that occur so often; 0 where only one occurs.</summary>
    /// <param name="counts">How often each level occurs, 0 or more; at least one occurs.</param>
    /// <exception cref="ArgumentException">A count is negative, or none is positive.</exception>
    public static double HuffmanBits(IReadOnlyList<long> counts)
    {
        ArgumentNullException.ThrowIfNull(counts);
        if (counts.Any(count => count < 0) || counts.All(count => count == 0))
            throw new ArgumentException("Counts must be 0 or above, and a level must occur.", nameof(counts));
        var queue = new PriorityQueue<long, long>(counts.Where(count => count > 0).Select(count => (count, count)));
        double total = counts.Sum(),
            bits = 0;
        // Each merging of two groups makes the codes of all their members one bit longer.
        while (queue.Count > 1)
        {
            long merged = queue.Dequeue() + queue.Dequeue();
            bits += merged;
            queue.Enqueue(merged, merged);
        }
        return bits / total;
    }

    /// <summary>How many times smaller than full precision: k f / (k b + 2 f), a scale and an offset in full precision for each bucket.</summary>
    /// <param name="bits">b of a weight, above 0.</param>
    /// <param name="bucket">k, elements of a bucket, at least 1.</param>
    /// <param name="fullBits">f of a number in full precision.</param>
    /// <exception cref="ArgumentException">A number is out of range.</exception>
    public static double Compression(double bits, int bucket, double fullBits = 32)
    {
        if (!(bits > 0) || bucket < 1 || !(fullBits > 0))
            throw new ArgumentException("Bits must be above 0 and a bucket must hold at least 1 element.");
        return bucket * fullBits / (bucket * bits + 2 * fullBits);
    }

    /// <summary>
    /// Deals out levels by need: every tensor keeps half of its own, the other halves go round in proportion to gradient norms (rounded, halves to even);
    /// what is dealt too much comes from the tensor with most, what is left goes to the one with fewest.
    /// </summary>
    /// <param name="norms">Gradient norm of each tensor, 0 or above, not all 0.</param>
    /// <param name="counts">Levels of each tensor, at least 2.</param>
    /// <exception cref="ArgumentException">Different numbers of both, or a number out of range.</exception>
    public static int[] AssignPoints(IReadOnlyList<double> norms, IReadOnlyList<int> counts)
    {
        ArgumentNullException.ThrowIfNull(norms);
        ArgumentNullException.ThrowIfNull(counts);
        if (norms.Count != counts.Count || norms.Count == 0)
            throw new ArgumentException($"There are {norms.Count} norms and {counts.Count} counts. Give one of each a tensor.");
        if (counts.Any(count => count < 2) || norms.Any(norm => !(norm >= 0)) || norms.Sum() <= 0)
            throw new ArgumentException(
                "Every tensor needs 2 levels or more, norms must be 0 or above, and one must be positive."
            );
        int[] kept = [.. counts.Select(count => count / 2)];
        int pool = counts.Sum() - kept.Sum();
        double sum = norms.Sum();
        int[] points = [.. kept.Zip(norms, (own, norm) => own + (int)Math.Round(pool * norm / sum, MidpointRounding.ToEven))];
        int left = counts.Sum() - points.Sum();
        for (; left < 0; left++)
            points[Array.IndexOf(points, points.Max())]--;
        for (; left > 0; left--)
            points[Array.IndexOf(points, points.Min())]++;
        return points;
    }
}
