using TorchSharp;

namespace AttentionDistillation.Runtime;

/// <summary>Chooses the device tensors live on.</summary>
public static class Devices
{
    /// <summary>Turns a device's name into the device; nothing means CUDA where it is available, else the CPU.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c>, <c>cuda:N</c>, or null.</param>
    /// <exception cref="ArgumentException">The name is none of these.</exception>
    /// <exception cref="TorchRuntimeException">CUDA was asked for and is not available; the message says why and what to do.</exception>
    public static torch.Device Resolve(string? name)
    {
        TorchRuntime.EnsureLoaded();
        if (string.IsNullOrWhiteSpace(name))
            return torch.device(torch.cuda.is_available() ? DeviceType.CUDA : DeviceType.CPU);
        string wanted = name.Trim().ToLowerInvariant();
        if (wanted == "cpu")
            return torch.CPU;
        int index = 0;
        if (
            wanted != "cuda"
            && !(wanted.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(wanted[5..], out index) && index >= 0)
        )
            throw new ArgumentException(
                $"Device '{name}' is unknown. Use cpu, cuda or cuda:N (option --device or {RunSettings.DeviceVariable})."
            );
        if (!torch.cuda.is_available())
            throw new TorchRuntimeException(
                TorchRuntime.Backend == "cpu"
                    ? "Device cuda was asked for, but this build carries the CPU's libtorch. Remedy: build with -p:TorchBackend=cuda, or with "
                        + "-p:TorchBackend=system and LIBTORCH set to a PyTorch with CUDA; or run with --device cpu."
                    : $"Device cuda was asked for, but libtorch in '{TorchRuntime.Folder}' sees no NVIDIA GPU. Remedy: check that 'nvidia-smi' "
                        + "works (driver installed, GPU visible) and that this libtorch has CUDA; or run with --device cpu."
            );
        if (index >= torch.cuda.device_count())
            throw new ArgumentException(
                $"Device '{name}' does not exist: there are {torch.cuda.device_count()} CUDA devices, numbered from 0."
            );
        return torch.device(DeviceType.CUDA, index);
    }

    /// <summary>A description for reports: <c>CPU, 2 threads</c> or <c>CUDA:0</c>, with libtorch's version.</summary>
    public static string Describe(torch.Device device) =>
        device.type == DeviceType.CUDA
            ? $"cuda:{Math.Max(device.index, 0)}, libtorch {TorchRuntime.Version}"
            : $"cpu, {torch.get_num_threads()} threads, libtorch {TorchRuntime.Version}";
}
