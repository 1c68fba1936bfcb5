using System.Runtime.InteropServices;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Support;

/// <summary>
/// libtorch's switch that makes every operator that waits for CUDA fail (<c>torch.cuda.set_sync_debug_mode("error")</c>), found by its symbol, as TorchSharp
/// does not expose it.
/// </summary>
internal static class SyncDebugMode
{
    private const int Silent = 0;
    private const int Error = 2;

    // The static variable of the inline function c10::cuda::warning_state(): an object of one enum.
    private const string Symbol = "_ZZN3c104cuda13warning_stateEvE14warning_state_";

    private static readonly Lazy<nint> Address = new(Find);

    /// <summary>Whether an operator that waits fails while the switch is on; tried on one that is known to wait.</summary>
    internal static bool Works(Device device)
    {
        if (Address.Value == 0)
            return false;
        using var scope = NewDisposeScope();
        var value = ones(1, device: device);
        try
        {
            Set(true);
            _ = value.cpu();
            return false;
        }
        catch (ExternalException)
        {
            return true;
        }
        finally
        {
            Set(false);
        }
    }

    /// <summary>Turns it on or off for the process.</summary>
    internal static void Set(bool on)
    {
        if (Address.Value != 0)
            Marshal.WriteInt32(Address.Value, on ? Error : Silent);
    }

    private static nint Find()
    {
        foreach (string name in (string[])["c10_cuda", "torch_cuda"])
        {
            string file = Path.Combine(TorchRuntime.Folder, LibTorchFolder.FileName(name));
            if (NativeLibrary.TryLoad(file, out nint library) && NativeLibrary.TryGetExport(library, Symbol, out nint address))
                return address;
        }
        return 0;
    }
}
