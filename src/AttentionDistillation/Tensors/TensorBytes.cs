using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>Raw access to the memory of tensors, of any size (TorchSharp's own span ends at 2 GB).</summary>
internal static unsafe class TensorBytes
{
    /// <summary>The first byte of a contiguous tensor on the CPU.</summary>
    public static byte* Pointer(Tensor tensor)
    {
        // A one-element view starts at the same address and is always small enough for a span.
        using var flat = tensor.view(-1);
        using var first = flat.narrow(0, 0, 1);
        fixed (byte* pointer = first.bytes)
            return pointer;
    }

    /// <summary>Writes the bytes of a tensor, little-endian and row by row, whatever its device and layout.</summary>
    public static void WriteTo(Tensor tensor, Stream stream)
    {
        using var scope = NewDisposeScope();
        var plain = tensor.detach().cpu().contiguous();
        long length = plain.numel() * plain.ElementSize;
        if (length == 0)
            return;
        byte* pointer = Pointer(plain);
        for (long done = 0; done < length; )
        {
            int part = (int)Math.Min(length - done, BufferBytes);
            stream.Write(new ReadOnlySpan<byte>(pointer + done, part));
            done += part;
        }
    }

    /// <summary>Bytes handed to the stream at a time: 64 MiB keeps the system calls few.</summary>
    private const int BufferBytes = 1 << 26;
}
