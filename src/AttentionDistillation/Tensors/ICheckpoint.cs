using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>Named tensors on disk, in one file or in several shards.</summary>
public interface ICheckpoint : IDisposable
{
    /// <summary>Where it lies, for messages.</summary>
    string Path { get; }

    /// <summary>Free-form metadata.</summary>
    IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The tensors by name.</summary>
    IReadOnlyDictionary<string, SafeTensorsEntry> Entries { get; }

    /// <summary>Reads a tensor: one copy from the mapped file.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="device">Where the result lives; null means the CPU.</param>
    /// <param name="dtype">The result's element type; null means the file's.</param>
    /// <exception cref="KeyNotFoundException">No such tensor; the message names similar ones.</exception>
    /// <exception cref="NotSupportedException">TorchSharp has no such element type; read the bytes instead.</exception>
    Tensor Read(string name, Device? device = null, ScalarType? dtype = null);

    /// <summary>
    /// Copies a tensor from the mapped file into one that exists, converted to its element type and on its device. Into a contiguous tensor of the
    /// file's type on the CPU it is one copy of bytes; otherwise it goes through a buffer of at most a few megabytes (or one row).
    /// </summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="destination">Receives the values; of the same shape, with any strides.</param>
    /// <exception cref="KeyNotFoundException">No such tensor; the message names similar ones.</exception>
    /// <exception cref="ArgumentException">The shapes differ.</exception>
    /// <exception cref="NotSupportedException">TorchSharp has no such element type.</exception>
    void CopyTo(string name, Tensor destination);

    /// <summary>Part of a tensor's bytes, seen where they lie in the mapped file; valid until the checkpoint is disposed.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="offset">First byte, counted from the tensor's start.</param>
    /// <param name="length">Number of bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the tensor.</exception>
    ReadOnlySpan<byte> Bytes(string name, long offset, int length);
}
