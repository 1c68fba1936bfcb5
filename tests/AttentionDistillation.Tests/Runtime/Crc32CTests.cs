using System.Text;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Tests.Runtime;

public class Crc32CTests
{
    /// <summary>The check value of the CRC catalogue, and two vectors of RFC 3720, appendix B.4.</summary>
    [Fact]
    public void KnownValues()
    {
        Assert.Equal(0xE3069283u, Crc32C.Of(Encoding.ASCII.GetBytes("123456789")));
        Assert.Equal(0x8A9136AAu, Crc32C.Of(new byte[32]));
        Assert.Equal(0x46DD794Eu, Crc32C.Of([.. Enumerable.Range(0, 32).Select(value => (byte)value)]));
        Assert.Equal(0u, Crc32C.Of([]));
    }

    [Fact]
    public void PartsGiveTheWhole()
    {
        byte[] bytes = [.. Enumerable.Range(0, 100).Select(value => (byte)(value * 7))];
        for (int at = 0; at <= 100; at++)
            Assert.Equal(Crc32C.Of(bytes), Crc32C.Of(bytes.AsSpan(at), Crc32C.Of(bytes.AsSpan(0, at))));
    }
}
