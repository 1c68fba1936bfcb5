namespace AttentionDistillation.Tensors;

/// <summary>Recognises PyTorch's pickle checkpoints, which are refused.</summary>
internal static class PickleFiles
{
    private static readonly string[] Extensions = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];
    private static readonly byte[] ZipMagic = "PK\u0003\u0004"u8.ToArray();

    /// <summary>The opcode PROTO, with which every pickle since protocol 2 begins, and the protocols there are.</summary>
    private const byte PickleProto = 0x80;
    private const byte OldestProtocol = 2;
    private const byte NewestProtocol = 5;

    /// <summary>Throws if a file is a pickle, by its name or by its first bytes.</summary>
    /// <exception cref="SafeTensorsException">It is one; the message says why that is refused and what to do.</exception>
    public static void Refuse(string path)
    {
        Span<byte> head = stackalloc byte[4];
        using (var stream = File.OpenRead(path))
            head = head[..stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)];
        bool zip = head.StartsWith(ZipMagic);
        bool pickle = head.Length > 1 && head[0] == PickleProto && head[1] is >= OldestProtocol and <= NewestProtocol;
        bool named = Extensions.Contains(System.IO.Path.GetExtension(path), StringComparer.OrdinalIgnoreCase);
        // The length of a safetensors header may happen to be the bytes of an opcode, so the brace after it has the last word.
        if ((zip || pickle || named) && !LooksLikeJson(path))
            throw Refusal(path);
    }

    /// <summary>The error for a pickle.</summary>
    public static SafeTensorsException Refusal(string path) =>
        new(
            $"'{path}' is a PyTorch pickle checkpoint. Loading one runs whatever code it contains, so it is refused. Convert it to safetensors "
                + "where you trust it: in Python, safetensors.torch.save_file(torch.load(path, weights_only=True), \"model.safetensors\")."
        );

    private static bool LooksLikeJson(string path)
    {
        Span<byte> head = stackalloc byte[SafeTensorsHeader.LengthBytes + 1];
        using var stream = File.OpenRead(path);
        return stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) == head.Length && head[^1] == (byte)'{';
    }
}
