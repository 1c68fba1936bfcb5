using System.Net;
using NotebookKernel.Cli;
using NotebookKernel.Jupyter;

namespace NotebookKernel.Tests.Jupyter;

public sealed class ConnectionFileTests
{
    private const string Ports = "\"shell_port\": 1, \"control_port\": 2, \"stdin_port\": 3, \"iopub_port\": 4, \"hb_port\": 5";

    [Theory]
    [InlineData("", "127.0.0.1")]
    [InlineData("\"ip\": \"\",", "127.0.0.1")]
    [InlineData("\"ip\": \"localhost\",", "127.0.0.1")]
    [InlineData("\"ip\": \"0.0.0.0\", \"key\": \"k\",", "0.0.0.0")]
    [InlineData("\"ip\": \"*\", \"key\": \"k\",", "0.0.0.0")]
    public void It_listens_on_this_machine_unless_told_otherwise(string fields, string expected)
    {
        var connection = ConnectionFile.Parse($"{{{fields} {Ports}}}", "f");
        Assert.Equal(IPAddress.Parse(expected), connection.Address);
        Assert.Equal($"tcp://{expected}:5", connection.Endpoint(connection.HeartbeatPort));
    }

    [Theory]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("{\"ip\": 5, " + Ports + "}")]
    [InlineData("{\"ip\": \"somewhere.example\", " + Ports + "}")]
    [InlineData("{\"ip\": \"0.0.0.0\", " + Ports + "}")] // open to everybody, unsigned
    [InlineData("{\"transport\": \"ipc\", " + Ports + "}")]
    [InlineData("{\"key\": \"k\", \"signature_scheme\": \"hmac-md5\", " + Ports + "}")]
    [InlineData("{" + Ports + ", \"ip\": \"::1\", \"ip\": \"::1\"}")]
    [InlineData("{\"shell_port\": 70000, \"control_port\": 2, \"stdin_port\": 3, \"iopub_port\": 4, \"hb_port\": 5}")]
    public void What_it_cannot_do_is_refused_by_name(string text) =>
        Assert.Contains("'f'", Assert.Throws<BadInputException>(() => ConnectionFile.Parse(text, "f")).Message);
}

public sealed class MessageSignerTests
{
    // RFC 4231, test case 2.
    [Fact]
    public void Signatures_are_HMAC_SHA256_over_the_parts_in_order()
    {
        byte[] signature = new MessageSigner("Jefe").Sign("what do ya "u8.ToArray(), "want for nothing?"u8.ToArray());
        Assert.Equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"u8.ToArray(), signature);
    }

    [Fact]
    public void Only_the_right_signature_passes()
    {
        var signer = new MessageSigner("key");
        byte[] part = "{}"u8.ToArray();
        Assert.True(signer.Verify(signer.Sign(part), part));
        Assert.False(signer.Verify(signer.Sign(part), "{ }"u8.ToArray()));
        Assert.False(signer.Verify([], part));
        Assert.False(new MessageSigner("other").Verify(signer.Sign(part), part));
        Assert.True(new MessageSigner("").Verify("anything"u8.ToArray(), part));
    }
}

public sealed class CodePointsTests
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 1)]
    [InlineData(2, 3)]
    [InlineData(3, 4)]
    [InlineData(99, 4)]
    [InlineData(-1, 0)]
    public void A_code_point_beyond_16_bits_counts_once(int points, int units) =>
        Assert.Equal(units, CodePoints.ToUnits("a😀b", points));

    [Fact]
    public void Positions_translate_back() => Assert.Equal(2, CodePoints.FromUnits("a😀b", 3));
}
