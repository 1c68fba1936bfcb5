using System.Security.Cryptography;
using System.Text;

namespace NotebookKernel.Jupyter;

/// <summary>Signs messages by HMAC-SHA256 over header, parent header, metadata and content, in this order.</summary>
internal sealed class MessageSigner(string key)
{
    private readonly byte[] key = Encoding.UTF8.GetBytes(key);

    /// <summary>The signature in lower-case hexadecimal ASCII; empty without a key.</summary>
    internal byte[] Sign(params ReadOnlySpan<byte[]> parts)
    {
        if (key.Length == 0)
            return [];
        using var hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, key);
        foreach (byte[] part in parts)
            hash.AppendData(part);
        return Encoding.ASCII.GetBytes(Convert.ToHexStringLower(hash.GetHashAndReset()));
    }

    /// <summary>Whether a signature is that of the parts; always, without a key. Takes the same time wherever two signatures differ.</summary>
    internal bool Verify(byte[] signature, params ReadOnlySpan<byte[]> parts) =>
        key.Length == 0 || CryptographicOperations.FixedTimeEquals(signature, Sign(parts));
}
