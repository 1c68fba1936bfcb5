using System.Runtime.InteropServices;
using TorchSharp;

namespace AttentionDistillation.Runtime;

/// <summary>How much memory of a CUDA device is in use, asked of NVIDIA's driver (TorchSharp exposes no memory counters).</summary>
public static unsafe class CudaMemory
{
    private static readonly Lazy<nint> MemoryInfo = new(() =>
        NativeLibrary.TryLoad(OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1", out nint driver)
        && NativeLibrary.TryGetExport(driver, "cuMemGetInfo_v2", out nint function)
            ? function
            : 0
    );

    /// <summary>Bytes in use on the calling thread's current CUDA device, by all of its users; null where there is no such device.</summary>
    /// <param name="device">The device of the tensors in use; anything but CUDA gives null.</param>
    public static long? UsedBytes(torch.Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (device.type != DeviceType.CUDA || MemoryInfo.Value == 0)
            return null;
        nuint free,
            total;
        int status = ((delegate* unmanaged<nuint*, nuint*, int>)MemoryInfo.Value)(&free, &total);
        return status == 0 ? (long)(total - free) : null; // CUDA_SUCCESS
    }
}
