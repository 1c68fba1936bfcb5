using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Engines;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>The relation's KL on the CPU, forward and backward, value included: 12 heads of 64 in float32, by the definition, by blocks, by kernels.</summary>
[SimpleJob(RunStrategy.Monitoring, launchCount: 1, warmupCount: 2, iterationCount: 7)]
[MemoryDiagnoser]
public class RelationBenchmarks
{
    private const int Seed = 20;
    private Tensor[] tensors = [];

    /// <summary>L.</summary>
    [Params(512, 2048)]
    public int Length { get; set; }

    /// <summary>How it is computed.</summary>
    [Params(RelationForm.Dense, RelationForm.Blockwise, RelationForm.Fused, RelationForm.Auto)]
    public RelationForm Form { get; set; }

    /// <summary>Draws the inputs.</summary>
    [GlobalSetup]
    public void Setup()
    {
        TorchRuntime.EnsureLoaded();
        using var generator = new Generator(Seed, CPU);
        tensors =
        [
            .. Enumerable
                .Range(0, 4)
                .Select(_ =>
                    randn([1, RelationShape.Heads, Length, RelationShape.Width], ScalarType.Float32, generator: generator)
                ),
        ];
        tensors[2].requires_grad_();
        tensors[3].requires_grad_();
    }

    /// <summary>Value and gradients.</summary>
    [Benchmark]
    public double ForwardAndBackward()
    {
        using var scope = NewDisposeScope();
        (tensors[2].grad, tensors[3].grad) = (null, null);
        var loss = AttentionRelations.KlDivergence(tensors[0], tensors[1], tensors[2], tensors[3], null, new() { Form = Form });
        loss.backward();
        return loss.item<float>();
    }
}

/// <summary>AdamW over the parameters of a small encoder on the CPU: one call for all of them beside TorchSharp's loop over each.</summary>
[SimpleJob(RunStrategy.Monitoring, launchCount: 1, warmupCount: 3, iterationCount: 15)]
public class OptimiserBenchmarks
{
    private const int Layers = 6;
    private const long Width = 384;

    private readonly List<TorchSharp.Modules.Parameter> parameters = [];
    private Tensor[] averages = [];
    private Tensor[] squares = [];
    private Tensor[] steps = [];
    private optim.Optimizer? loop;

    /// <summary>Parameters of the size of six encoder layers, with gradients.</summary>
    [GlobalSetup]
    public void Setup()
    {
        TorchRuntime.EnsureLoaded();
        using var generator = new Generator(1, CPU);
        for (int layer = 0; layer < Layers; layer++)
            foreach (
                long[] shape in (long[][])
                    [
                        [3 * Width, Width],
                        [Width, Width],
                        [4 * Width, Width],
                        [Width, 4 * Width],
                        [Width],
                        [Width],
                    ]
            )
            {
                var parameter = new TorchSharp.Modules.Parameter(randn(shape, ScalarType.Float32, generator: generator));
                parameter.grad = randn(shape, ScalarType.Float32, generator: generator);
                parameters.Add(parameter);
            }
        averages = [.. parameters.Select(parameter => zeros_like(parameter.detach()))];
        squares = [.. parameters.Select(parameter => zeros_like(parameter.detach()))];
        steps = [.. parameters.Select(_ => zeros([], ScalarType.Float32))];
        loop = optim.AdamW(parameters);
    }

    /// <summary>One fused call.</summary>
    [Benchmark]
    public void Fused()
    {
        Tensor[] all = [.. parameters];
        TorchScriptOperators.FusedAdamW(
            all,
            [.. parameters.Select(parameter => parameter.grad!)],
            averages,
            squares,
            steps,
            learningRate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            weightDecay: 0.01,
            epsilon: 1e-8
        );
    }

    /// <summary>TorchSharp's own optimiser.</summary>
    [Benchmark(Baseline = true)]
    public void Loop() => loop!.step();
}
