using AttentionDistillation.Runtime.Cuda;

namespace AttentionDistillation.Runtime;

/// <summary>How the gradient of a word table is summed up from its look-ups.</summary>
public enum TableGradient
{
    /// <summary>libtorch's own: on CUDA it sorts the tokens, so that the order of each sum is fixed.</summary>
    Sorted,

    /// <summary>Additions in float32 straight into a table of zeros, in whatever order they arrive on CUDA.</summary>
    Accumulated,
}

/// <summary>
/// Which faster forms of the same arithmetic models use, for the whole process. The forms agree up to rounding, so what is switched here changes no
/// experiment. Set before a training starts: a step takes them as they are.
/// </summary>
/// <remarks>
/// What the other form costs a MiniLM step (BERT-base to 6 x 384, 256 x 128 tokens, bfloat16, 21.8 ms) on an H100: separate projections
/// 1.5 ms, no kernels of our own for normalisation 3.1 ms, looked-up tables 0.3 ms; accumulated word gradients nothing. Measured by the
/// benchmarks' <c>minilm-step</c>, least of 15 steps.
/// </remarks>
public static class FastPaths
{
    /// <summary>Query, key and value in one matrix product (their weights lie in one parameter in any case).</summary>
    public static bool FusedProjections { get; set; } = true;

    /// <summary>Position and segment rows read by slice and broadcast, and segment gradients by a product, instead of look-ups.</summary>
    public static bool DirectTables { get; set; } = true;

    /// <summary>CUDA kernels of this library's own, where a device and NVIDIA's run-time compiler serve them; false leaves all to libtorch's operators.</summary>
    public static bool OwnKernels
    {
        get => CudaProgram.Enabled;
        set => CudaProgram.Enabled = value;
    }

    /// <summary>How word tables get their gradient on CUDA; on the CPU it is always <see cref="TableGradient.Sorted"/>.</summary>
    public static TableGradient WordGradient { get; set; } = TableGradient.Sorted;

    /// <summary>
    /// The tanh form of GELU inside the matrix product before it, in passes without gradients on CUDA, for models that ask for that form
    /// (<c>gelu_new</c>, <c>gelu_pytorch_tanh</c>).
    /// </summary>
    public static bool GeluInProduct { get; set; } = true;

    /// <summary>
    /// Lets <see cref="GeluInProduct"/> serve models with the exact GELU too, in bfloat16 and float16. Off: the two forms differ by up to 5e-4, which
    /// for small outputs is more than half precision rounds, and nobody's checkpoint asked for it.
    /// </summary>
    public static bool ApproximateGelu { get; set; }
}
