using System.Security.Cryptography;
using System.Text;
using TorchSharp;

namespace AttentionDistillation.Runtime;

/// <summary>Seeds and generators. Every random draw takes one explicitly; independent streams are derived by name.</summary>
public static class Seeds
{
    /// <summary>A seed for a named stream ("data", "dropout", "student") of a run: the same on every machine.</summary>
    /// <param name="seed">The run's seed.</param>
    /// <param name="stream">What the stream is for.</param>
    /// <returns>A non-negative 63-bit seed.</returns>
    public static long Derive(long seed, string stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{seed}:{stream}"));
        return BitConverter.ToInt64(hash) & long.MaxValue;
    }

    /// <summary>A generator on the CPU for a named stream of a run.</summary>
    public static torch.Generator Generator(long seed, string stream) => new(unchecked((ulong)Derive(seed, stream)), torch.CPU);

    /// <summary>A .NET generator for a named stream of a run, for shuffling and sampling on the host.</summary>
    public static Random Random(long seed, string stream) => new(unchecked((int)Derive(seed, stream)));

    /// <summary>
    /// Sets libtorch's global generators (CPU and CUDA) for a named stream. Layer initialisation and dropout draw from them, so call it
    /// before a model is built and before a training starts.
    /// </summary>
    public static void SetGlobal(long seed, string stream)
    {
        TorchRuntime.EnsureLoaded();
        torch.manual_seed(Derive(seed, stream));
    }
}
