using System.Text.Json.Nodes;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>
/// Builds a smaller model whose weights are selected rows, columns, heads and layers of a bigger one: students that start from every second layer,
/// pruned models, sub-networks of a super-network.
/// </summary>
/// <remarks>
/// Weights are found by their names in checkpoints, whatever the modules keep them in. Serves BERT, RoBERTa, DistilBERT, GPT-2 and the Llama
/// family. Of GPT-2, whose configuration has no width of heads, heads and channels must be cut alike.
/// </remarks>
public static class ModelSlicer
{
    /// <summary>A new model with the weights that a plan keeps, on the same device, in the same element type and in evaluation mode.</summary>
    /// <typeparam name="T">The model's type.</typeparam>
    /// <param name="model">The bigger model; it is not changed.</param>
    /// <param name="plan">What stays.</param>
    /// <exception cref="ArgumentException">The plan names what the model does not have, or parts that do not fit together.</exception>
    /// <exception cref="NotSupportedException">The family cannot be sliced.</exception>
    public static T Slice<T>(T model, SlicePlan plan)
        where T : class, IHubModel
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(plan);
        var cutter = new WeightCutter(model, plan);
        var source = model.HubParameters();
        var example = source.Values.First(tensor => tensor.is_floating_point());
        var smaller = Build(model, cutter.Config);
        try
        {
            smaller.Module.to(example.dtype);
            smaller.Module.to(example.device);
            Fill(smaller, source, cutter);
            smaller.Module.eval();
            return smaller as T
                ?? throw new InvalidOperationException($"{model.Architecture} was rebuilt as a {smaller.GetType().Name}.");
        }
        catch
        {
            smaller.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Fills a model that exists already, for example a student with another form of attention, with what a plan keeps of a bigger one. Weights that
    /// only the smaller model has stay as they are.
    /// </summary>
    /// <param name="source">The bigger model.</param>
    /// <param name="target">The smaller model, of the same family.</param>
    /// <param name="plan">What of the bigger model the smaller takes.</param>
    /// <returns>Names of the target's weights that the source has no counterpart of.</returns>
    /// <exception cref="ArgumentException">A weight has another shape than the plan gives it; the message lists all of them.</exception>
    public static IReadOnlyList<string> CopyInto(IHubModel source, IHubModel target, SlicePlan plan)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(plan);
        return Fill(target, source.HubParameters(), new WeightCutter(source, plan));
    }

    private static List<string> Fill(IHubModel target, IReadOnlyDictionary<string, Tensor> source, WeightCutter cutter)
    {
        using var guard = no_grad();
        var (missing, misfits) = (new List<string>(), new List<string>());
        foreach (var (name, weight) in target.HubParameters())
        {
            using var scope = NewDisposeScope();
            if (!source.TryGetValue(cutter.SourceName(name), out var original))
            {
                missing.Add(name);
                continue;
            }
            var cut = cutter.Cut(name, original);
            if (!cut.shape.SequenceEqual(weight.shape))
                misfits.Add($"{name} is {Shapes.Describe(weight)}, the plan gives {Shapes.Describe(cut)}");
            else
                weight.copy_(cut);
        }
        return misfits.Count == 0
            ? missing
            : throw new ArgumentException(
                $"The slice does not fit {target.Architecture}: {string.Join("; ", misfits)}. Build the model with the plan's sizes."
            );
    }

    private static IHubModel Build(IHubModel model, JsonObject config)
    {
        string? family = config["model_type"]?.GetValue<string>();
        var architecture =
            ModelFamily
                .All.Where(candidate => candidate.ModelType == family)
                .SelectMany(candidate => candidate.Architectures)
                .FirstOrDefault(candidate => candidate.Name == model.Architecture)
            ?? throw new NotSupportedException(
                $"{model.Architecture} cannot be built from a configuration, so it cannot be sliced."
            );
        var smaller = architecture.Build(
            new ConfigReader(config, $"the configuration of a slice of {model.Architecture}"),
            new TensorNames(model.HubParameters()),
            SeededLayers.Blank
        );
        if (model.ConfigExtras is not null)
            smaller.ConfigExtras = config.DeepClone().AsObject();
        return smaller;
    }

    // The list of tensors from which a family reads what its configuration does not say.
    private sealed class TensorNames(IReadOnlyDictionary<string, Tensor> tensors) : ICheckpoint
    {
        public string Path => "a model in memory";

        public IReadOnlyDictionary<string, string> Metadata { get; } = new Dictionary<string, string>();

        public IReadOnlyDictionary<string, SafeTensorsEntry> Entries { get; } =
            tensors.ToDictionary(
                pair => pair.Key,
                pair => new SafeTensorsEntry(
                    pair.Key,
                    SafeTensorsType.All.Values.First(type => type.Torch == pair.Value.dtype),
                    pair.Value.shape,
                    0,
                    pair.Value.numel() * pair.Value.element_size()
                ),
                StringComparer.Ordinal
            );

        public Tensor Read(string name, Device? device = null, ScalarType? dtype = null) =>
            tensors[name].to(dtype ?? tensors[name].dtype).to(device ?? CPU);

        public void CopyTo(string name, Tensor destination) => destination.copy_(tensors[name]);

        public ReadOnlySpan<byte> Bytes(string name, long offset, int length) => tensors[name].bytes.Slice((int)offset, length);

        public void Dispose() { }
    }
}
