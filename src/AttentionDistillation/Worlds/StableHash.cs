namespace AttentionDistillation.Worlds;

/// <summary>
/// Hashes and random streams that are the same on every machine and in every process. <see cref="string.GetHashCode()"/> is seeded per process,
/// so nothing that decides a split or a sample may use it.
/// </summary>
internal static class StableHash
{
    // FNV-1a, 64 bits: offset basis and prime from the reference (Fowler, Noll, Vo).
    private const ulong FnvOffset = 14695981039346656037;
    private const ulong FnvPrime = 1099511628211;

    /// <summary>The 64-bit hash of a text, well mixed in all bits.</summary>
    public static ulong Of(ReadOnlySpan<char> text, ulong salt = 0)
    {
        ulong hash = FnvOffset ^ salt;
        foreach (char character in text)
            hash = (hash ^ character) * FnvPrime;
        return Mix(hash);
    }

    /// <summary>The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose output bits all depend on all input bits.</summary>
    public static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }
}

/// <summary>SplitMix64 (Steele, Lea, Flood 2014): a random stream that is a pure function of its seed.</summary>
internal struct SplitMix(ulong seed)
{
    private const ulong GoldenGamma = 0x9E3779B97F4A7C15;
    private ulong state = seed;

    /// <summary>The stream of a seed and a position, for example a training step.</summary>
    public static SplitMix At(long seed, long position) =>
        new(StableHash.Mix(StableHash.Mix(unchecked((ulong)seed) + GoldenGamma) ^ unchecked((ulong)position)));

    /// <summary>The next 64 bits.</summary>
    public ulong Next() => StableHash.Mix(state += GoldenGamma);

    /// <summary>A number in [0, 1).</summary>
    public double NextDouble() => (Next() >> 11) * (1.0 / (1UL << 53));

    /// <summary>A number in [0, bound).</summary>
    public int NextInt(int bound) => (int)Math.BigMul(Next(), (ulong)bound, out _);

    /// <summary>Two independent standard normal numbers (Box and Muller 1958).</summary>
    public (double First, double Second) NextNormals()
    {
        double radius = Math.Sqrt(-2 * Math.Log(1 - NextDouble()));
        var (sine, cosine) = Math.SinCos(2 * Math.PI * NextDouble());
        return (radius * cosine, radius * sine);
    }

    /// <summary>Shuffles in place (Fisher-Yates).</summary>
    public void Shuffle(int[] items)
    {
        for (int last = items.Length - 1; last > 0; last--)
        {
            int other = NextInt(last + 1);
            (items[last], items[other]) = (items[other], items[last]);
        }
    }
}
