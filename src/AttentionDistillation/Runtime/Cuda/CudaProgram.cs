using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime.Cuda;

/// <summary>
/// CUDA kernels of our own, compiled for the device at hand by NVIDIA's run-time compiler when they are first launched. They run on the default
/// stream, the one that TorchSharp's operators use, so they need no synchronisation with them.
/// </summary>
/// <remarks>
/// Where driver or compiler are missing, <see cref="Serves"/> is false and callers take libtorch's operators instead: kernels make things
/// faster, never possible.
/// </remarks>
internal sealed unsafe class CudaProgram
{
    private const int ComputeCapabilityMajor = 75;
    private const int ComputeCapabilityMinor = 76;
    private const int LocalBytesOfFunction = 3;
    private const int RegistersOfFunction = 4;
    private const int MostSharedBytesOfFunction = 8;

    // Ampere is the first with bfloat16 arithmetic; the conversions below are instructions of it.
    private const int OldestMajor = 8;

    /// <summary>Element types by the names the sources use, with conversions to and from float that round to nearest even.</summary>
    private const string Prelude = """
        struct bf16 { unsigned short bits; };
        struct f16 { unsigned short bits; };
        __device__ __forceinline__ float load(float x) { return x; }
        __device__ __forceinline__ float load(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
        __device__ __forceinline__ float load(f16 x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits)); return y; }
        __device__ __forceinline__ void store(float& y, float x) { y = x; }
        __device__ __forceinline__ void store(bf16& y, float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
        __device__ __forceinline__ void store(f16& y, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
        template <typename T, int N> struct __align__(sizeof(T) * N) pack { T item[N]; };
        __device__ __forceinline__ float warp_sum(float x) {
            #pragma unroll
            for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
            return x;
        }

        """;

    private static readonly ConcurrentDictionary<int, nint> Contexts = new();
    private static readonly ConcurrentDictionary<int, int> Architectures = new();

    private readonly string name;
    private readonly string source;
    private readonly bool architectureSpecific;
    private readonly ConcurrentDictionary<(int Device, string Definitions), Lazy<nint>> modules = new();
    private readonly ConcurrentDictionary<
        (int Device, string Kernel, string Definitions, int SharedBytes),
        Lazy<nint>
    > functions = new();

    /// <param name="name">What compile errors call it.</param>
    /// <param name="source">CUDA C++ with <c>extern "C" __global__</c> kernels; sees <c>bf16</c>, <c>f16</c>, <c>load</c>, <c>store</c>, <c>pack</c>, <c>warp_sum</c>.</param>
    /// <param name="architectureSpecific">True for instructions that one architecture alone has (sm_90a: wgmma).</param>
    internal CudaProgram(string name, string source, bool architectureSpecific = false) =>
        (this.name, this.source, this.architectureSpecific) = (name, source, architectureSpecific);

    /// <summary>The text of source files that travel in this assembly, joined in this order.</summary>
    internal static string Sources(params ReadOnlySpan<string> files)
    {
        var text = new StringBuilder();
        foreach (string file in files)
        {
            using var stream =
                typeof(CudaProgram).Assembly.GetManifestResourceStream($"AttentionDistillation.{file}")
                ?? throw new InvalidOperationException($"The assembly does not hold the CUDA source '{file}'.");
            using var reader = new StreamReader(stream);
            text.AppendLine(reader.ReadToEnd());
        }
        return text.ToString();
    }

    /// <summary>False makes every caller take libtorch's operators; for comparisons.</summary>
    internal static bool Enabled { get; set; } = true;

    /// <summary>True when kernels can be compiled for and launched on a device.</summary>
    internal static bool Serves(Device device) =>
        Enabled && device.type == DeviceType.CUDA && CudaLibraries.Present && Architecture(Index(device)) >= OldestMajor * 10;

    /// <summary>The name of an element type in the sources; null for types that they do not know.</summary>
    internal static string? TypeName(ScalarType type) =>
        type switch
        {
            ScalarType.Float32 => "float",
            ScalarType.BFloat16 => "bf16",
            ScalarType.Float16 => "f16",
            _ => null,
        };

    /// <summary>Launches a kernel.</summary>
    /// <param name="kernel">Its name.</param>
    /// <param name="definitions">Preprocessor definitions, for example <c>T=bf16;C=768</c>; each combination is compiled once.</param>
    /// <param name="device">Where the arguments lie.</param>
    /// <param name="blocks">Thread blocks (one axis).</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="arguments">Tensors (contiguous, unless the kernel knows better) and numbers, in the kernel's order.</param>
    /// <exception cref="InvalidOperationException">The source does not compile, or the driver refuses the launch.</exception>
    internal void Launch(
        string kernel,
        string definitions,
        Device device,
        long blocks,
        int threads,
        params ReadOnlySpan<CudaArgument> arguments
    )
    {
        void** pointers = stackalloc void*[arguments.Length];
        fixed (CudaArgument* _ = arguments)
        {
            for (int i = 0; i < arguments.Length; i++)
                pointers[i] = CudaArgument.Pointer(in arguments[i]);
            Launch(kernel, definitions, Index(device), blocks, threads, 0, pointers);
        }
    }

    /// <summary>Launches a kernel whose arguments are a structure and a number.</summary>
    /// <param name="kernel">Its name.</param>
    /// <param name="definitions">Preprocessor definitions, <c>NAME=VALUE;...</c>; each combination is compiled once.</param>
    /// <param name="device">Where the addresses in the structure lie.</param>
    /// <param name="blocks">Thread blocks (one axis).</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="sharedBytes">Dynamic shared memory of a block.</param>
    /// <param name="call">The structure, laid out as in the source.</param>
    /// <param name="number">The number; kernels without one ignore it.</param>
    /// <exception cref="InvalidOperationException">The source does not compile, or the driver refuses the launch.</exception>
    internal void Launch<T>(
        string kernel,
        string definitions,
        Device device,
        long blocks,
        int threads,
        int sharedBytes,
        T call,
        int number = 0
    )
        where T : unmanaged
    {
        void** pointers = stackalloc void*[2];
        pointers[0] = &call;
        pointers[1] = &number;
        Launch(kernel, definitions, Index(device), blocks, threads, sharedBytes, pointers);
    }

    /// <summary>Registers a thread of a kernel uses, and bytes of those that did not fit.</summary>
    internal (int Registers, int SpilledBytes) Resources(string kernel, string definitions, Device device, int sharedBytes)
    {
        nint function = FunctionOf(kernel, definitions, Index(device), sharedBytes);
        var attribute = (delegate* unmanaged<int*, int, nint, int>)CudaLibraries.OfDriver("cuFuncGetAttribute");
        int registers,
            spilled;
        Check(attribute(&registers, RegistersOfFunction, function), $"Asking for the registers of {name}.{kernel}");
        Check(attribute(&spilled, LocalBytesOfFunction, function), $"Asking for the local memory of {name}.{kernel}");
        return (registers, spilled);
    }

    private void Launch(string kernel, string definitions, int device, long blocks, int threads, int sharedBytes, void** pointers)
    {
        if (blocks == 0)
            return;
        nint function = FunctionOf(kernel, definitions, device, sharedBytes);
        nint current = Push(device);
        int status = (
            (delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int>)Functions.Launch
        )(function, checked((uint)blocks), 1, 1, (uint)threads, 1, 1, (uint)sharedBytes, 0, pointers, null);
        Pop(current);
        Check(status, $"Launching {name}.{kernel} ({definitions}) in {blocks} blocks of {threads} threads");
    }

    private nint FunctionOf(string kernel, string definitions, int device, int sharedBytes) =>
        functions
            .GetOrAdd(
                (device, kernel, definitions, sharedBytes),
                key => new Lazy<nint>(() =>
                    InContext(key.Device, () => Load(key.Device, key.Kernel, key.Definitions, key.SharedBytes))
                )
            )
            .Value;

    private static int Index(Device device) => Math.Max(device.index, 0);

    /// <summary>A device's compute capability in two digits: 90 for an H100.</summary>
    internal static int Architecture(Device device) => Architecture(Index(device));

    private static int Architecture(int device) => Architectures.GetOrAdd(device, AskArchitecture);

    private static int AskArchitecture(int device)
    {
        int major,
            minor,
            number = DeviceNumber(device);
        var attribute = (delegate* unmanaged<int*, int, int, int>)CudaLibraries.OfDriver("cuDeviceGetAttribute");
        Check(attribute(&major, ComputeCapabilityMajor, number), "Asking the device for its capability");
        Check(attribute(&minor, ComputeCapabilityMinor, number), "Asking the device for its capability");
        return 10 * major + minor;
    }

    private static int DeviceNumber(int index)
    {
        int number;
        Check(((delegate* unmanaged<uint, int>)CudaLibraries.OfDriver("cuInit"))(0), "Initialising CUDA");
        Check(((delegate* unmanaged<int*, int, int>)CudaLibraries.OfDriver("cuDeviceGet"))(&number, index), "Finding the device");
        return number;
    }

    private nint Load(int device, string kernel, string definitions, int sharedBytes)
    {
        nint module = modules
            .GetOrAdd((device, definitions), key => new Lazy<nint>(() => LoadModule(key.Device, key.Definitions)))
            .Value;
        nint function;
        fixed (byte* text = Encoding.UTF8.GetBytes(kernel + '\0'))
            Check(
                ((delegate* unmanaged<nint*, nint, byte*, int>)CudaLibraries.OfDriver("cuModuleGetFunction"))(
                    &function,
                    module,
                    text
                ),
                $"Finding {name}.{kernel}"
            );
        if (sharedBytes > 0)
            Check(
                ((delegate* unmanaged<nint, int, int, int>)CudaLibraries.OfDriver("cuFuncSetAttribute"))(
                    function,
                    MostSharedBytesOfFunction,
                    sharedBytes
                ),
                $"Asking for {sharedBytes} bytes of shared memory for {name}.{kernel}"
            );
        return function;
    }

    private nint LoadModule(int device, string definitions)
    {
        nint module;
        fixed (byte* bytes = Compile(Architecture(device), definitions))
            Check(
                ((delegate* unmanaged<nint*, void*, int>)CudaLibraries.OfDriver("cuModuleLoadData"))(&module, bytes),
                $"Loading {name}"
            );
        return module;
    }

    private byte[] Compile(int architecture, string definitions)
    {
        string[] options = [$"--gpu-architecture=sm_{architecture}{(architectureSpecific ? "a" : "")}", "--std=c++17"];
        // Behind the compiler's own headers and the prelude, whose templates use some of the names.
        string defined = string.Concat(
            definitions
                .Split(';', StringSplitOptions.RemoveEmptyEntries)
                .Select(definition => $"#define {definition.Replace('=', ' ')}\n")
        );
        nint program = 0;
        var texts = options.Select(Marshal.StringToCoTaskMemUTF8).ToArray();
        try
        {
            int status;
            fixed (byte* code = Encoding.UTF8.GetBytes(Prelude + defined + source + '\0'))
            fixed (byte* title = Encoding.UTF8.GetBytes(name + ".cu\0"))
            fixed (nint* list = texts)
            {
                Check(
                    (
                        (delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int>)
                            CudaLibraries.OfCompiler("nvrtcCreateProgram")
                    )(&program, code, title, 0, null, null),
                    $"Preparing {name}"
                );
                status = ((delegate* unmanaged<nint, int, nint*, int>)CudaLibraries.OfCompiler("nvrtcCompileProgram"))(
                    program,
                    texts.Length,
                    list
                );
            }
            if (status != 0)
                throw new InvalidOperationException(
                    $"The kernels of {name} ({definitions}) do not compile for sm_{architecture}: "
                        + Encoding.UTF8.GetString(Output(program, "nvrtcGetProgramLog"))
                );
            return Output(program, "nvrtcGetCUBIN");
        }
        finally
        {
            if (program != 0)
                ((delegate* unmanaged<nint*, int>)CudaLibraries.OfCompiler("nvrtcDestroyProgram"))(&program);
            foreach (nint text in texts)
                Marshal.FreeCoTaskMem(text);
        }
    }

    private static byte[] Output(nint program, string function)
    {
        nuint size;
        Check(
            ((delegate* unmanaged<nint, nuint*, int>)CudaLibraries.OfCompiler(function + "Size"))(program, &size),
            "Reading what was compiled"
        );
        byte[] bytes = new byte[size];
        fixed (byte* target = bytes)
            Check(
                ((delegate* unmanaged<nint, byte*, int>)CudaLibraries.OfCompiler(function))(program, target),
                "Reading what was compiled"
            );
        return bytes;
    }

    private static T InContext<T>(int device, Func<T> work)
    {
        nint current = Push(device);
        try
        {
            return work();
        }
        finally
        {
            Pop(current);
        }
    }

    // libtorch works in the device's primary context and has usually made it current on this thread; a push costs little where it has not.
    private static nint Push(int device)
    {
        nint context = Contexts.GetOrAdd(
            device,
            static index =>
            {
                nint primary;
                Check(
                    ((delegate* unmanaged<nint*, int, int>)CudaLibraries.OfDriver("cuDevicePrimaryCtxRetain"))(
                        &primary,
                        DeviceNumber(index)
                    ),
                    "Opening the device"
                );
                return primary;
            }
        );
        nint current = 0;
        Check(((delegate* unmanaged<nint*, int>)Functions.Current)(&current), "Asking for the context");
        if (current == context)
            return 0;
        Check(((delegate* unmanaged<nint, int>)CudaLibraries.OfDriver("cuCtxPushCurrent_v2"))(context), "Entering the context");
        return context;
    }

    private static void Pop(nint pushed)
    {
        nint left;
        if (pushed != 0)
            Check(((delegate* unmanaged<nint*, int>)CudaLibraries.OfDriver("cuCtxPopCurrent_v2"))(&left), "Leaving the context");
    }

    private static void Check(int status, string doing)
    {
        if (status != 0)
            throw new InvalidOperationException($"{doing} failed with CUDA error {status}.");
    }

    /// <summary>What every launch needs, looked up once.</summary>
    private static class Functions
    {
        internal static readonly nint Launch = CudaLibraries.OfDriver("cuLaunchKernel");
        internal static readonly nint Current = CudaLibraries.OfDriver("cuCtxGetCurrent");
    }
}
