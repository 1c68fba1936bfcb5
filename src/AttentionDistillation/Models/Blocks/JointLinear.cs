using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Several projections of one input as one linear layer: queries, keys and values, or gate and up, in one matrix product. Each keeps its name, its
/// rows of the weight, and may carry a low-rank adapter.
/// </summary>
public sealed class JointLinear : nn.Module<Tensor, Tensor>
{
    private readonly Linear linear;
    private readonly Dictionary<string, (long Start, long Size)> parts = new(StringComparer.Ordinal);
    private readonly Dictionary<string, LowRankAdapter> adapters = new(StringComparer.Ordinal);

    /// <summary>Builds the projections.</summary>
    /// <param name="input">Width of the input.</param>
    /// <param name="projections">Names (as checkpoints have them) and output widths, in the order of the output.</param>
    /// <param name="hasBias">Whether they have biases.</param>
    /// <param name="layers">Makes the weights.</param>
    public JointLinear(long input, IReadOnlyList<(string Name, long Width)> projections, bool hasBias, SeededLayers layers)
        : base(nameof(JointLinear))
    {
        ArgumentNullException.ThrowIfNull(projections);
        ArgumentNullException.ThrowIfNull(layers);
        long output = 0;
        foreach (var (name, width) in projections)
        {
            parts.Add(name, (output, width));
            output += width;
        }
        linear = layers.Linear(input, output, hasBias);
        (Input, Output, Names) = (input, output, [.. projections.Select(projection => projection.Name)]);
        RegisterComponents();
    }

    /// <summary>Width of the input.</summary>
    public long Input { get; }

    /// <summary>Width of the output: all projections side by side.</summary>
    public long Output { get; }

    /// <summary>The projections, in the order of the output.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>The whole weight, [output, input].</summary>
    public Parameter Weight => linear.weight!;

    /// <summary>The whole bias, [output]; null when there is none.</summary>
    public Parameter? Bias => linear.bias;

    /// <summary>The adapters, by projection.</summary>
    public IReadOnlyDictionary<string, LowRankAdapter> Adapters => adapters;

    /// <summary>[..., input] to [..., output].</summary>
    public override Tensor forward(Tensor input)
    {
        if (adapters.Count == 0)
            return linear.Project(input);
        using var scope = NewDisposeScope();
        var output = linear.Project(input);
        long[] shape = output.shape;
        var changes = Names.Select(name =>
        {
            if (adapters.TryGetValue(name, out var adapter))
                return adapter.call(input);
            shape[^1] = parts[name].Size;
            return output.new_zeros(1).expand(shape);
        });
        return (output + (Names.Count == 1 ? changes.First() : cat([.. changes], -1))).MoveToOuterDisposeScope();
    }

    /// <summary>A projection's rows of the weight, [its width, input]: a view without a graph, through which the weight can be written.</summary>
    /// <exception cref="KeyNotFoundException">There is no such projection.</exception>
    public Tensor WeightOf(string name) => Rows(Weight, name);

    /// <summary>A projection's part of the bias, [its width], likewise; null when there is none.</summary>
    /// <exception cref="KeyNotFoundException">There is no such projection.</exception>
    public Tensor? BiasOf(string name) => Bias is null ? null : Rows(Bias, name);

    /// <summary>Where a projection's output lies in the joint output: first channel and width.</summary>
    /// <exception cref="KeyNotFoundException">There is no such projection.</exception>
    public (long Start, long Width) PlaceOf(string name) =>
        parts.TryGetValue(name, out var part)
            ? part
            : throw new KeyNotFoundException($"There is no projection '{name}' here, only: {string.Join(", ", Names)}.");

    /// <summary>Gives a projection a low-rank adapter.</summary>
    /// <exception cref="InvalidOperationException">It has one.</exception>
    public LowRankAdapter Adapt(string name, LowRankOptions options, long seed)
    {
        var adapter = new LowRankAdapter(Input, PlaceOf(name).Width, options, seed, Weight);
        Attach(name, adapter);
        return adapter;
    }

    /// <summary>Gives a projection an adapter that exists.</summary>
    /// <exception cref="InvalidOperationException">It has one.</exception>
    public void Attach(string name, LowRankAdapter adapter)
    {
        ArgumentNullException.ThrowIfNull(adapter);
        _ = PlaceOf(name);
        if (adapters.ContainsKey(name))
            throw new InvalidOperationException($"'{name}' has a low-rank adapter already. Merge or remove it first.");
        adapter.train(training);
        adapters.Add(name, adapter);
        register_module($"{name}_adapter", adapter);
    }

    /// <summary>Takes a projection's adapter away.</summary>
    /// <returns>The adapter, the caller's to dispose; null when there was none.</returns>
    public LowRankAdapter? RemoveAdapter(string name)
    {
        if (!adapters.Remove(name, out var adapter))
            return null;
        register_module($"{name}_adapter", null!);
        return adapter;
    }

    private Tensor Rows(Tensor tensor, string name)
    {
        var (start, size) = PlaceOf(name);
        using var guard = no_grad();
        return tensor.detach().narrow(0, start, size);
    }
}
