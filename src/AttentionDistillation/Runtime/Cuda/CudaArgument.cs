using System.Runtime.CompilerServices;
using TorchSharp;

namespace AttentionDistillation.Runtime.Cuda;

/// <summary>An argument of a kernel: a tensor's address or a number, in the eight bytes that the driver copies what it needs from.</summary>
internal readonly unsafe struct CudaArgument
{
    private static readonly Lazy<nint> Address = new(() => TorchRuntime.BridgeFunction("THSTensor_data"));

    private readonly ulong bits;

    private CudaArgument(ulong bits) => this.bits = bits;

    /// <summary>The address of a tensor's first element on its device; valid while the tensor lives.</summary>
    internal static nint AddressOf(torch.Tensor tensor) => ((delegate* unmanaged<nint, nint>)Address.Value)(tensor.Handle);

    /// <summary>The address of a tensor's first element; the null pointer for null.</summary>
    public static implicit operator CudaArgument(torch.Tensor? tensor) => new(tensor is null ? 0 : (ulong)AddressOf(tensor));

    /// <summary>A C <c>int</c>.</summary>
    public static implicit operator CudaArgument(int value) => new((uint)value);

    /// <summary>A C <c>long long</c>.</summary>
    public static implicit operator CudaArgument(long value) => new((ulong)value);

    /// <summary>A C <c>float</c>.</summary>
    public static implicit operator CudaArgument(float value) => new(BitConverter.SingleToUInt32Bits(value));

    /// <summary>Where the bytes lie, for as long as the span of arguments is pinned.</summary>
    internal static void* Pointer(ref readonly CudaArgument argument) => Unsafe.AsPointer(ref Unsafe.AsRef(in argument.bits));
}
