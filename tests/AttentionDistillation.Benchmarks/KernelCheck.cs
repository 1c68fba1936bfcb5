using System.Globalization;
using AttentionDistillation.Runtime;
using AttentionDistillation.Runtime.Cuda;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>Our CUDA kernels against libtorch's operators: values and gradients beside float64, times, and memory over many calls.</summary>
internal static class KernelCheck
{
    private const double Epsilon = 1e-12;

    // The project's rule for kernels: at most twice the error of the operators they replace, in the same dtype. The floor is a rounding or two.
    private const double ErrorFactor = 2.0;

    internal static BenchmarkCommand Command { get; } =
        new("kernel-check", "", "our CUDA kernels beside libtorch's operators: errors, times, memory", _ => Run());

    internal static int Run()
    {
        TorchRuntime.EnsureLoaded();
        if (!cuda_is_available())
        {
            Console.Error.WriteLine("kernel-check needs a CUDA device, and libtorch sees none.");
            return 1;
        }
        var device = new Device("cuda:0");
        Console.WriteLine($"kernels served: {CudaProgram.Serves(device)}");
        if (!CudaProgram.Serves(device))
            return 1;
        bool good = true;
        foreach (var type in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16])
        foreach (long width in (long[])[7, 100, 384, 768, 1000, 1024, 1536, 4096, 5000])
            good &= Compare(device, type, width);
        foreach (var (rows, width) in ((long, long)[])[(32768, 768), (32768, 384)])
            Time(device, rows, width);
        good &= HoldsMemory(device);
        Console.WriteLine(good ? "all kernels agree" : "KERNELS DIFFER");
        return good ? 0 : 1;
    }

    private static bool Compare(Device device, ScalarType type, long width)
    {
        using var scope = NewDisposeScope();
        long rows = 333;
        using var generator = new Generator(5); // TorchSharp makes generators for the CPU alone
        Tensor Draw(params long[] shape) =>
            empty(shape, dtype: ScalarType.Float32).normal_(0.3, 1.0, generator).to(type).to(device);
        Tensor[] inputs = [Draw(rows, width), Draw(rows, width), Draw(width), Draw(width)];
        var upstream = Draw(rows, width);
        var (ours, plain, truth) = (
            Pass(inputs, upstream, true, type),
            Pass(inputs, upstream, false, type),
            Pass(inputs, upstream, false, ScalarType.Float64)
        );
        bool good = true;
        string[] names = ["output", "d a", "d b", "d weight", "d bias"];
        for (int i = 0; i < names.Length; i++)
        {
            double Error(Tensor value) =>
                (value.to(ScalarType.Float64) - truth[i]).norm().item<double>() / truth[i].norm().item<double>();
            var (mine, theirs) = (Error(ours[i]), Error(plain[i]));
            bool within = mine <= ErrorFactor * theirs + 1e-7;
            good &= within;
            if (!within || width == 768)
                Console.WriteLine(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{type} C={width} {names[i]}: error {mine:E2}, operators {theirs:E2}{(within ? "" : "  TOO LARGE")}"
                    )
                );
        }
        return good;
    }

    private static Tensor[] Pass(Tensor[] inputs, Tensor upstream, bool kernels, ScalarType type)
    {
        CudaProgram.Enabled = kernels;
        try
        {
            var leaves = inputs.Select(input => input.detach().to(type).clone().requires_grad_()).ToArray();
            var output = ResidualLayerNorm.Apply(leaves[0], leaves[1], leaves[2], leaves[3], Epsilon);
            output.backward([upstream.to(type)]);
            using var guard = no_grad();
            var inference = ResidualLayerNorm.Apply(leaves[0], leaves[1], leaves[2], leaves[3], Epsilon);
            if (!inference.equal(output).all().item<bool>())
                throw new InvalidOperationException("Inference and training give different values.");
            return [output.detach(), .. leaves.Select(leaf => leaf.grad!)];
        }
        finally
        {
            CudaProgram.Enabled = true;
        }
    }

    private static void Time(Device device, long rows, long width)
    {
        using var scope = NewDisposeScope();
        var a = randn(rows, width, dtype: ScalarType.BFloat16, device: device);
        var b = randn_like(a);
        var (weight, bias) = (ones(width, dtype: a.dtype, device: device), zeros(width, dtype: a.dtype, device: device));
        foreach (bool training in (bool[])[false, true])
        {
            var times = new Dictionary<bool, double>();
            foreach (bool kernels in (bool[])[false, true, false, true])
            {
                CudaProgram.Enabled = kernels;
                var samples = new List<double>();
                for (int i = 0; i < 12; i++)
                {
                    using var step = NewDisposeScope();
                    var (left, right) = training ? (a.detach().requires_grad_(), b.detach().requires_grad_()) : (a, b);
                    var factor = training ? weight.detach().requires_grad_() : weight;
                    cuda.synchronize();
                    long start = System.Diagnostics.Stopwatch.GetTimestamp();
                    for (int k = 0; k < 10; k++)
                    {
                        using var inner = NewDisposeScope();
                        var output = ResidualLayerNorm.Apply(left, right, factor, bias, Epsilon);
                        if (training)
                            output.backward([b]);
                    }
                    cuda.synchronize();
                    samples.Add(System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalMilliseconds / 10);
                }
                times[kernels] = samples.Order().ElementAt(samples.Count / 2);
            }
            Console.WriteLine(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"residual norm {rows} x {width} bf16 {(training ? "forward + backward" : "forward")}: operators {times[false]:F3} ms, kernel {times[true]:F3} ms"
                )
            );
        }
        CudaProgram.Enabled = true;
    }

    // Without the garbage collector's help: it would hide for a while what is left to it.
    private static bool HoldsMemory(Device device)
    {
        using var scope = NewDisposeScope();
        var a = randn(4096, 768, device: device);
        var (weight, bias) = (ones(768, device: device).requires_grad_(), zeros(768, device: device).requires_grad_());
        long? before = null;
        long tensors = 0;
        for (int i = 0; i < 300; i++)
        {
            using var step = NewDisposeScope();
            var left = a.detach().requires_grad_();
            ResidualLayerNorm.Apply(left, a, weight, bias, Epsilon).sum().backward();
            weight.grad = null;
            bias.grad = null;
            if (i == 100)
            {
                cuda.synchronize();
                before = CudaMemory.UsedBytes(device);
                tensors = Tensor.TotalCount;
            }
        }
        cuda.synchronize();
        long? after = CudaMemory.UsedBytes(device);
        Console.WriteLine(
            $"after 100 calls and after 300: memory {before} and {after} bytes, tensors {tensors} and {Tensor.TotalCount}"
        );
        return after <= before + (4L << 20) && Tensor.TotalCount <= tensors;
    }
}
