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
}
