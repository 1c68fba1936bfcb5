using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime;

/// <summary>
/// Operators of libtorch that TorchSharp does not expose, each a method here over a constant TorchScript source that is compiled once.
/// They work on whole lists of tensors in one call, on the CPU and on CUDA, and never wait for the device.
/// </summary>
/// <remarks>
/// libtorch may end the process when a source does not compile, so the sources are constants and each has a test. They change tensors in place
/// under no-grad and return tensors of the caller's dispose scope.
/// </remarks>
public static class TorchScriptOperators
{
    // Only calls on lists, no arithmetic of its own: TorchScript would fuse that after a few calls, and the same step would then round otherwise
    // in a process that has just resumed.
    private const string Source = """
        def global_norm(tensors: List[Tensor], dtype: int) -> Tensor:
            return torch.linalg_vector_norm(torch.stack(torch._foreach_norm(tensors, 2, dtype=dtype)), 2)

        def scale_all(tensors: List[Tensor], factor: Tensor):
            torch._foreach_mul_(tensors, factor)

        def copy_all(destinations: List[Tensor], sources: List[Tensor]):
            torch._foreach_copy_(destinations, sources)

        def lerp_all(averages: List[Tensor], values: List[Tensor], weight: float):
            torch._foreach_lerp_(averages, values, weight)

        def empty_all(templates: List[Tensor]) -> List[Tensor]:
            return [torch.empty_like(template) for template in templates]

        def linear_tanh_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return torch._addmm_activation(bias, x, weight.t(), beta=1, alpha=1, use_gelu=True)

        def fused_adamw(parameters: List[Tensor], gradients: List[Tensor], averages: List[Tensor], squares: List[Tensor],
                        steps: List[Tensor], lr: float, beta1: float, beta2: float, weight_decay: float, eps: float,
                        divisor: Optional[Tensor]):
            largest: List[Tensor] = []
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(parameters, gradients, averages, squares, largest, steps, lr=lr, beta1=beta1, beta2=beta2,
                                weight_decay=weight_decay, eps=eps, amsgrad=False, maximize=False, grad_scale=divisor)
        """;

    private static readonly Lazy<jit.CompilationUnit> Compiled = new(() =>
    {
        TorchRuntime.EnsureLoaded();
        return jit.compile(Source + "\n"); // the parser fails on a last statement without an end of line
    });

    /// <summary>The Euclidean norm over all elements of all tensors, a scalar on their device, float32 (float64 for float64 tensors).</summary>
    /// <exception cref="ArgumentException">The list is empty.</exception>
    public static Tensor GlobalNorm(Tensor[] tensors)
    {
        RequireSome(tensors);
        var accumulated = tensors[0].dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        using var guard = no_grad();
        return (Tensor)Invoke("global_norm", tensors, (int)accumulated);
    }

    /// <summary>Multiplies all tensors in place by one factor.</summary>
    /// <param name="tensors">Changed in place.</param>
    /// <param name="factor">A scalar on their device.</param>
    /// <exception cref="ArgumentException">The list is empty, or the factor is no scalar.</exception>
    public static void ScaleAll(Tensor[] tensors, Tensor factor)
    {
        RequireSome(tensors);
        if (factor.numel() != 1)
            throw new ArgumentException($"The factor must be one number, but has {factor.numel()} elements.", nameof(factor));
        using var guard = no_grad();
        Invoke("scale_all", tensors, factor);
    }

    /// <summary>Copies each source into its destination, converting between dtypes.</summary>
    /// <exception cref="ArgumentException">The lists differ in length.</exception>
    public static void CopyAll(Tensor[] destinations, Tensor[] sources)
    {
        RequireSameCount(destinations, sources);
        using var guard = no_grad();
        Invoke("copy_all", destinations, sources);
    }

    /// <summary>Moves each average towards its value: average + weight * (value - average).</summary>
    /// <exception cref="ArgumentException">The lists differ in length.</exception>
    public static void LerpAll(Tensor[] averages, Tensor[] values, double weight)
    {
        RequireSameCount(averages, values);
        using var guard = no_grad();
        using Scalar share = weight;
        Invoke("lerp_all", averages, values, share);
    }

    /// <summary>New tensors of the shapes, dtypes and devices of the templates, their values undefined.</summary>
    public static Tensor[] EmptyLike(Tensor[] templates)
    {
        RequireSome(templates);
        using var guard = no_grad();
        return (Tensor[])Invoke("empty_all", [templates]);
    }

    /// <summary>
    /// GELU in its tanh form of a linear layer, in one product on CUDA (cuBLASLt adds bias and activation as it writes). No gradient is recorded.
    /// </summary>
    /// <param name="input">[..., input width], on CUDA: on the CPU the operator behind it computes the exact GELU.</param>
    /// <param name="weight">[output width, input width].</param>
    /// <param name="bias">[output width].</param>
    /// <returns>[..., output width].</returns>
    public static Tensor LinearTanhGelu(Tensor input, Tensor weight, Tensor bias)
    {
        ArgumentNullException.ThrowIfNull(input);
        ArgumentNullException.ThrowIfNull(weight);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var rows = (Tensor)Invoke("linear_tanh_gelu", input.reshape(-1, input.shape[^1]), weight, bias);
        return rows.view([.. input.shape[..^1], weight.size(0)]).MoveToOuterDisposeScope();
    }

    /// <summary>One step of AdamW (Loshchilov and Hutter 2019, Algorithm 2) over all parameters in one call, as <c>torch.optim.AdamW(fused=True)</c>.</summary>
    /// <param name="parameters">Changed in place; one dtype and device for all lists.</param>
    /// <param name="gradients">Their gradients; divided in place when there is a <paramref name="divisor"/>.</param>
    /// <param name="averages">Running mean of the gradients, changed in place.</param>
    /// <param name="squares">Running mean of the squared gradients, changed in place.</param>
    /// <param name="steps">Steps done by each parameter, float32 scalars on the same device, counted up in place.</param>
    /// <param name="learningRate">The step's learning rate.</param>
    /// <param name="beta1">Decay of <paramref name="averages"/>.</param>
    /// <param name="beta2">Decay of <paramref name="squares"/>.</param>
    /// <param name="weightDecay">Decoupled decay: the parameter shrinks by learningRate * weightDecay of itself.</param>
    /// <param name="epsilon">Added to the root of the squares.</param>
    /// <param name="divisor">A float32 scalar on the device that gradients are divided by first (gradient clipping), or null.</param>
    /// <exception cref="ArgumentException">The lists differ in length or are empty.</exception>
    public static void FusedAdamW(
        Tensor[] parameters,
        Tensor[] gradients,
        Tensor[] averages,
        Tensor[] squares,
        Tensor[] steps,
        double learningRate,
        double beta1,
        double beta2,
        double weightDecay,
        double epsilon,
        Tensor? divisor = null
    )
    {
        RequireSome(parameters);
        foreach (var list in (Tensor[][])[gradients, averages, squares, steps])
            RequireSameCount(parameters, list);
        using var guard = no_grad();
        using Scalar lr = learningRate,
            b1 = beta1,
            b2 = beta2,
            decay = weightDecay,
            eps = epsilon;
        Invoke("fused_adamw", parameters, gradients, averages, squares, steps, lr, b1, b2, decay, eps, divisor!);
    }

    // TorchSharp passes bare handles on, so the collector could free an argument (above all a number turned into a temporary Scalar, which is
    // why numbers are passed as Scalars of ours) before libtorch has read it: all are held until the call is over.
    private static object Invoke(string function, params object[] arguments)
    {
        object result = Compiled.Value.invoke(function, arguments);
        GC.KeepAlive(arguments);
        return result;
    }

    private static void RequireSome(Tensor[] tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        if (tensors.Length == 0)
            throw new ArgumentException("The list of tensors is empty. Give at least one.", nameof(tensors));
    }

    private static void RequireSameCount(Tensor[] first, Tensor[] second)
    {
        RequireSome(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Length != second.Length)
            throw new ArgumentException($"The lists must pair up, but hold {first.Length} and {second.Length} tensors.");
    }
}
