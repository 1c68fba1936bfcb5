using AttentionDistillation.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// AdamW (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", Algorithm 2) with the numbers of <c>torch.optim.AdamW</c>,
/// all parameters in one fused call. bfloat16 and float16 parameters get float32 master weights, which are what is optimised.
/// </summary>
public sealed class AdamW : IDisposable
{
    /// <summary>PyTorch's default weight decay.</summary>
    public const double DefaultWeightDecay = 0.01;

    /// <summary>PyTorch's default decay of the mean of gradients.</summary>
    public const double DefaultBeta1 = 0.9;

    /// <summary>PyTorch's default decay of the mean of squared gradients.</summary>
    public const double DefaultBeta2 = 0.999;

    /// <summary>PyTorch's default epsilon.</summary>
    public const double DefaultEpsilon = 1e-8;

    private readonly double beta1;
    private readonly double beta2;
    private readonly double epsilon;
    private readonly Group[] groups;

    /// <summary>Prepares the state, all zero.</summary>
    /// <param name="parameters">Names and parameters; those without requires_grad are left out.</param>
    /// <param name="weightDecay">Decoupled decay of the parameters that <paramref name="decays"/> picks.</param>
    /// <param name="beta1">Decay of the running mean of gradients.</param>
    /// <param name="beta2">Decay of the running mean of squared gradients.</param>
    /// <param name="epsilon">Added to the root of the mean of squares.</param>
    /// <param name="decays">Which parameters decay; null means <see cref="DecaysByName"/>.</param>
    /// <exception cref="ArgumentException">Nothing is trainable, a name repeats, or a number is out of range.</exception>
    public AdamW(
        IEnumerable<(string Name, Parameter Value)> parameters,
        double weightDecay = DefaultWeightDecay,
        double beta1 = DefaultBeta1,
        double beta2 = DefaultBeta2,
        double epsilon = DefaultEpsilon,
        Func<string, bool>? decays = null
    )
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentOutOfRangeException.ThrowIfNegative(weightDecay);
        if (beta1 is not (>= 0 and < 1) || beta2 is not (>= 0 and < 1))
            throw new ArgumentException($"The betas must be in [0, 1), but are {beta1} and {beta2}.");
        if (!(epsilon > 0))
            throw new ArgumentException($"Epsilon must be positive, but is {epsilon}.", nameof(epsilon));
        (this.beta1, this.beta2, this.epsilon) = (beta1, beta2, epsilon);
        decays ??= DecaysByName;
        (string Name, Parameter Value)[] trainable = [.. parameters.Where(item => item.Value.requires_grad)];
        if (trainable.Length == 0)
            throw new ArgumentException("No parameter is trainable: every one has requires_grad = false.", nameof(parameters));
        if (trainable.GroupBy(item => item.Name).FirstOrDefault(same => same.Count() > 1) is { } repeated)
            throw new ArgumentException($"The parameter name '{repeated.Key}' repeats.", nameof(parameters));
        // A fused call wants one dtype and device, so a group is a decay, a dtype and a device.
        groups =
        [
            .. trainable
                .DistinctBy(item => item.Value.Handle)
                .GroupBy(item => (Decays: decays(item.Name), item.Value.dtype, item.Value.device.type, item.Value.device.index))
                .Select(same => new Group([.. same], same.Key.Decays ? weightDecay : 0.0)),
        ];
    }

    /// <summary>
    /// The usual rule: everything decays except biases and the weights of normalisations (a name whose last part is <c>bias</c>, or any part of
    /// which contains <c>norm</c> or is <c>ln</c>, <c>ln_1</c> and the like), as in BERT's and GPT's published training code.
    /// </summary>
    public static bool DecaysByName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        string[] parts = name.ToLowerInvariant().Split('.');
        return parts[^1] != "bias"
            && !parts.Any(part =>
                part.Contains("norm", StringComparison.Ordinal)
                || part == "ln"
                || part.StartsWith("ln_", StringComparison.Ordinal)
            );
    }

    /// <summary>
    /// One step with the gradients there are; parameters without a gradient are left alone, as PyTorch does. Never waits for the device.
    /// </summary>
    /// <param name="learningRate">The step's learning rate.</param>
    /// <param name="clipNorm">Gradients are first scaled to at most this global norm, as <c>clip_grad_norm_</c> does; null does not clip.</param>
    public void Step(double learningRate, double? clipNorm = null)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var work = groups.Select(group => group.Gather()).Where(part => part.Gradients.Length > 0).ToArray();
        if (work.Length == 0)
            return;
        Tensor? divisor = clipNorm is { } most ? ClippingDivisor(work, most) : null;
        foreach (var part in work)
        {
            var local = divisor?.to(part.Gradients[0].device);
            TorchScriptOperators.FusedAdamW(
                part.Weights,
                part.Gradients,
                part.Averages,
                part.Squares,
                part.Steps,
                learningRate,
                beta1,
                beta2,
                part.WeightDecay,
                epsilon,
                local
            );
            if (part.Parameters is not null)
                TorchScriptOperators.CopyAll(part.Parameters, part.Weights);
        }
    }

    /// <summary>Forgets all gradients, as <c>zero_grad(set_to_none=True)</c>.</summary>
    public void ZeroGradients()
    {
        foreach (var group in groups)
            group.ZeroGradients();
    }

    /// <summary>The weights that are optimised, in full precision: the float32 masters of low-precision parameters, the others themselves.</summary>
    public IEnumerable<(string Name, Tensor Value)> Weights => groups.SelectMany(group => group.NamedWeights);

    /// <summary>
    /// The whole state by name: <c>exp_avg</c>, <c>exp_avg_sq</c> and <c>step</c> of each parameter (PyTorch's names) and <c>master</c> where
    /// there is one. The tensors are the state itself, not copies.
    /// </summary>
    public IEnumerable<(string Name, Tensor Value)> State => groups.SelectMany(group => group.NamedState);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var group in groups)
            group.Dispose();
    }

    // Groups may lie on several devices; their norms are gathered on the first one's.
    private static Tensor ClippingDivisor(Work[] work, double clipNorm)
    {
        var norms = work.Select(part => TorchScriptOperators.GlobalNorm(part.Gradients).to(work[0].Gradients[0].device))
            .ToArray();
        var norm = norms.Length == 1 ? norms[0] : TorchScriptOperators.GlobalNorm(norms);
        return GradientClipping.Divisor(norm, clipNorm).to(ScalarType.Float32);
    }

    private sealed record Work(
        Tensor[] Weights,
        Tensor[] Gradients,
        Tensor[] Averages,
        Tensor[] Squares,
        Tensor[] Steps,
        Tensor[]? Parameters,
        double WeightDecay
    );

    private sealed class Group : IDisposable
    {
        private readonly string[] names;
        private readonly Parameter[] parameters;
        private readonly Tensor[] weights;
        private readonly Tensor[] averages;
        private readonly Tensor[] squares;
        private readonly Tensor[] steps;
        private readonly double weightDecay;
        private readonly bool hasMasters;

        public Group((string Name, Parameter Value)[] items, double weightDecay)
        {
            using var guard = no_grad();
            this.weightDecay = weightDecay;
            names = [.. items.Select(item => item.Name)];
            parameters = [.. items.Select(item => item.Value)];
            hasMasters = parameters[0].dtype is ScalarType.BFloat16 or ScalarType.Float16;
            weights = hasMasters ? [.. parameters.Select(item => Keep(item.to(ScalarType.Float32)))] : parameters;
            averages = [.. weights.Select(item => Keep(zeros_like(item)))];
            squares = [.. weights.Select(item => Keep(zeros_like(item)))];
            steps = [.. weights.Select(item => Keep(zeros([], dtype: ScalarType.Float32, device: item.device)))];
        }

        public IEnumerable<(string Name, Tensor Value)> NamedWeights => names.Zip(weights);

        public IEnumerable<(string Name, Tensor Value)> NamedState
        {
            get
            {
                for (int i = 0; i < names.Length; i++)
                {
                    yield return ($"{names[i]}.exp_avg", averages[i]);
                    yield return ($"{names[i]}.exp_avg_sq", squares[i]);
                    yield return ($"{names[i]}.step", steps[i]);
                    if (hasMasters)
                        yield return ($"{names[i]}.master", weights[i]);
                }
            }
        }

        // Called inside the step's dispose scope, which frees the gradients' handles and their float32 copies.
        public Work Gather()
        {
            var gradients = parameters.Select(item => item.grad).ToArray();
            int[] present = [.. Enumerable.Range(0, gradients.Length).Where(i => gradients[i] is not null)];
            Tensor[] Pick(Tensor[] all) => present.Length == all.Length ? all : [.. present.Select(i => all[i])];
            Tensor[] found = [.. present.Select(i => gradients[i]!)];
            if (hasMasters && found.Length > 0)
            {
                var full = TorchScriptOperators.EmptyLike(Pick(weights));
                TorchScriptOperators.CopyAll(full, found);
                found = full;
            }
            return new Work(
                Pick(weights),
                found,
                Pick(averages),
                Pick(squares),
                Pick(steps),
                hasMasters ? Pick(parameters) : null,
                weightDecay
            );
        }

        public void ZeroGradients()
        {
            foreach (var parameter in parameters)
                parameter.grad = null;
        }

        public void Dispose()
        {
            foreach (var tensor in averages.Concat(squares).Concat(steps).Concat(hasMasters ? weights : []))
                tensor.Dispose();
        }

        private static Tensor Keep(Tensor tensor) => tensor.DetachFromDisposeScope();
    }
}
