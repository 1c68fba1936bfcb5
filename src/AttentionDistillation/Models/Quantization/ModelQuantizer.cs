using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Quantization;

/// <summary>
/// Puts quantized weights into a model for a pass and the full-precision ones back for the step, so that steps smaller than a level add up in the full-precision
/// copy (arXiv 1802.05668, Algorithm 1).
/// </summary>
/// <remarks>
/// <code>
/// quantizer.Quantize();            // the model holds levels
/// loss(model(batch)).backward();   // gradients at the levels
/// quantizer.Restore();             // the model holds full precision, gradients are mapped through the quantization
/// optimiser.Step(learningRate);
/// </code>
/// </remarks>
public sealed class ModelQuantizer : IDisposable
{
    private readonly (string Name, Parameter Weight)[] chosen;
    private readonly Tensor[] points;
    private Tensor[]? kept;

    /// <summary>Prepares a model; nothing changes yet.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">Levels, buckets, gradient.</param>
    /// <param name="selects">Which parameters become levels; null: every one with two axes or more (<see cref="IsMatrix"/>).</param>
    /// <param name="learnsLevels">
    /// Whether the levels are learned points that start at quantiles (<see cref="LearnedLevels"/>), for <see cref="StepLevels"/>, instead of uniform ones.
    /// </param>
    /// <exception cref="ArgumentException">An option is out of range, or no parameter is chosen.</exception>
    public ModelQuantizer(
        nn.Module model,
        QuantizationOptions options,
        Func<string, Tensor, bool>? selects = null,
        bool learnsLevels = false
    )
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        Options = options;
        selects ??= IsMatrix;
        chosen = [.. model.named_parameters().Where(pair => selects(pair.name, pair.parameter))];
        if (chosen.Length == 0)
            throw new ArgumentException(
                $"No parameter was chosen. The model has: {string.Join(", ", model.named_parameters().Select(pair => pair.name))}.",
                nameof(selects)
            );
        points = learnsLevels
            ?
            [
                .. chosen.Select(pair =>
                    LearnedLevels.Quantiles(pair.Weight, options.Levels, options.Bucket).DetachFromDisposeScope()
                ),
            ]
            : [];
    }

    /// <summary>Levels, buckets, gradient.</summary>
    public QuantizationOptions Options { get; }

    /// <summary>The parameters that become levels, in the model's order.</summary>
    public IReadOnlyList<string> Names => [.. chosen.Select(pair => pair.Name)];

    /// <summary>Numbers in them.</summary>
    public long Elements => chosen.Sum(pair => pair.Weight.numel());

    /// <summary>The learned points [P] of each chosen parameter, in their order; empty where levels are uniform. They belong to this object.</summary>
    public IReadOnlyList<Tensor> Points => points;

    /// <summary>True for parameters with two axes or more: matrices, convolutions, tables; not biases and norms.</summary>
    public static bool IsMatrix(string name, Tensor weight)
    {
        ArgumentNullException.ThrowIfNull(weight);
        return weight.dim() >= 2;
    }

    /// <summary>Puts the levels into the model and keeps the full-precision weights.</summary>
    /// <exception cref="InvalidOperationException">The model holds levels already.</exception>
    public void Quantize()
    {
        if (kept is not null)
            throw new InvalidOperationException($"The model is quantized already. Call {nameof(Restore)} first.");
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        kept = [.. chosen.Select(pair => pair.Weight.detach().clone().DetachFromDisposeScope())];
        for (int index = 0; index < chosen.Length; index++)
            chosen[index].Weight.copy_(ValuesOf(index, kept[index]));
    }

    /// <summary>Puts the full-precision weights back; gradients that were taken at the levels become those of the weights.</summary>
    /// <exception cref="InvalidOperationException">The model does not hold levels.</exception>
    public void Restore()
    {
        if (kept is null)
            throw new InvalidOperationException($"The model is not quantized. Call {nameof(Quantize)} first.");
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        for (int index = 0; index < chosen.Length; index++)
        {
            var weight = chosen[index].Weight;
            if (points.Length == 0 && Options.Gradient != QuantizationGradient.Identity && weight.grad is { } gradient)
                gradient.copy_(UniformQuantizer.Gradient(kept[index], gradient, Options));
            weight.copy_(kept[index]);
            kept[index].Dispose();
        }
        kept = null;
    }

    /// <summary>
    /// A step of the learned points with the gradients at the levels, which must lie in the parameters; then the points are sorted and the model restored.
    /// </summary>
    /// <param name="learningRate">Step of plain gradient descent.</param>
    /// <exception cref="InvalidOperationException">Levels are not learned, or the model does not hold them.</exception>
    public void StepLevels(double learningRate)
    {
        if (points.Length == 0)
            throw new InvalidOperationException(
                "These levels are uniform. Create the quantizer with learnsLevels: true to learn them."
            );
        if (kept is null)
            throw new InvalidOperationException($"The model is not quantized. Call {nameof(Quantize)} before the backward pass.");
        using (var scope = NewDisposeScope())
        using (no_grad())
            for (int index = 0; index < chosen.Length; index++)
            {
                if (chosen[index].Weight.grad is not { } gradient)
                    continue;
                var slope = LearnedLevels.Gradient(kept[index], gradient, points[index], Options.Bucket);
                points[index].copy_((points[index] - learningRate * slope).sort().Values);
            }
        Restore();
    }

    /// <summary>Quantizes for good: the model keeps the levels.</summary>
    /// <exception cref="InvalidOperationException">The model holds levels already.</exception>
    public void Finish()
    {
        Quantize();
        Release();
    }

    /// <summary>How often each level is used over all chosen parameters, the counts that a Huffman code is built from.</summary>
    /// <exception cref="InvalidOperationException">The model holds levels: its full-precision weights are asked for.</exception>
    public long[] LevelCounts()
    {
        if (kept is not null)
            throw new InvalidOperationException($"The model is quantized. Call {nameof(Restore)} first.");
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        long[] counts = new long[Options.Levels];
        for (int index = 0; index < chosen.Length; index++)
        {
            var weight = chosen[index].Weight;
            var codes =
                points.Length > 0
                    ? LearnedLevels.Quantize(weight, points[index], Options.Bucket).Index
                    : UniformQuantizer.Quantize(weight, Options).Codes;
            long[] found = codes.reshape(-1).to(ScalarType.Int64).bincount(null, Options.Levels).cpu().data<long>().ToArray();
            for (int level = 0; level < counts.Length; level++)
                counts[level] += found[level];
        }
        return counts;
    }

    /// <summary>Frees what the object holds; the model stays as it is.</summary>
    public void Dispose()
    {
        Release();
        foreach (var held in points)
            held.Dispose();
    }

    private Tensor ValuesOf(int index, Tensor weight) =>
        points.Length > 0
            ? LearnedLevels.Quantize(weight, points[index], Options.Bucket).Values
            : UniformQuantizer.Quantize(weight, Options).Values;

    private void Release()
    {
        foreach (var held in kept ?? [])
            held.Dispose();
        kept = null;
    }
}
