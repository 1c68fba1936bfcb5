using System.Buffers.Binary;
using System.Numerics;

namespace AttentionDistillation.Runtime;

/// <summary>
/// CRC-32C (Castagnoli's polynomial, as in RFC 3720): finds every change of up to 32 neighbouring bits, and misses others one time in 2^32. It protects
/// against accidents, not against forgery.
/// </summary>
internal static class Crc32C
{
    /// <summary>The checksum of bytes; <paramref name="before"/> is that of the bytes that came before them.</summary>
    public static uint Of(ReadOnlySpan<byte> bytes, uint before = 0)
    {
        uint crc = ~before;
        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        foreach (byte value in bytes)
            crc = BitOperations.Crc32C(crc, value);
        return ~crc;
    }
}
