using System.Text.RegularExpressions;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// Low-rank adapters on a decoder's projections. While they are attached, only they (and the modules named in
/// <see cref="LowRankOptions.TrainedModules"/>) train; merged, their change is part of the weights and costs nothing.
/// </summary>
/// <remarks>Hu et al., "LoRA", 2021. Names, start and file format are those of PEFT.</remarks>
public sealed class LowRankAdapters : IDisposable
{
    /// <summary>The target that stands for every projection of the layers.</summary>
    public const string AllLinear = "all-linear";

    private readonly List<Site> sites = [];
    private readonly Dictionary<string, bool> trainedBefore;
    private readonly Dictionary<string, Tensor> originals = new(StringComparer.Ordinal);

    private LowRankAdapters(TextDecoder model, LowRankOptions options)
    {
        (Model, Options) = (model, options);
        trainedBefore = model.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter.requires_grad);
    }

    /// <summary>The model that has them.</summary>
    public TextDecoder Model { get; }

    /// <summary>How they were made.</summary>
    public LowRankOptions Options { get; }

    /// <summary>True while the change is part of the weights.</summary>
    public bool IsMerged => originals.Count > 0;

    /// <summary>The adapters by the names of their projections in checkpoints.</summary>
    public IReadOnlyDictionary<string, LowRankAdapter> Adapters => sites.ToDictionary(site => site.Name, site => site.Adapter);

    /// <summary>What trains: the adapters' matrices and the modules trained whole.</summary>
    public IEnumerable<Parameter> TrainableParameters => Model.parameters().Where(parameter => parameter.requires_grad);

    /// <summary>Attaches adapters to a model and freezes the rest of it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">Rank, alpha, dropout, targets.</param>
    /// <param name="seed">Seed of the adapters' first matrices.</param>
    /// <exception cref="ArgumentException">An option is out of its range, or a target names no projection; the message lists those there are.</exception>
    /// <exception cref="InvalidOperationException">A projection has an adapter already.</exception>
    public static LowRankAdapters Attach(TextDecoder model, LowRankOptions options, long seed)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        var found = Targets(model, options.Targets);
        var modules = TrainedModules(model, options.TrainedModules);
        if (found.FirstOrDefault(item => item.Layer.Adapters.ContainsKey(item.Projection)) is { Name: not null } taken)
            throw new InvalidOperationException(
                $"'{taken.Name}' has a low-rank adapter already. Remove or merge those of the model first."
            );
        var adapters = new LowRankAdapters(model, options);
        foreach (var parameter in model.parameters())
            parameter.requires_grad = false;
        foreach (var (name, layer, projection) in found)
            adapters.sites.Add(new Site(name, layer, projection, layer.Adapt(projection, options, Seeds.Derive(seed, name))));
        foreach (var parameter in modules)
            parameter.requires_grad = true;
        return adapters;
    }

    /// <summary>Writes the change into the weights and takes the adapters out of the forward pass.</summary>
    /// <exception cref="InvalidOperationException">They are merged already.</exception>
    public void Merge()
    {
        if (IsMerged)
            throw new InvalidOperationException("The adapters are merged already.");
        using var guard = no_grad();
        foreach (var site in sites)
        {
            using var scope = NewDisposeScope();
            var weight = site.Layer.WeightOf(site.Projection);
            // The weights are kept as they were, so that unmerging gives them back to the bit.
            originals[site.Name] = weight.clone().DetachFromDisposeScope();
            var change = site.Adapter.WeightChange();
            weight.copy_(weight.to(change.dtype) + change);
            site.Layer.RemoveAdapter(site.Projection);
        }
    }

    /// <summary>Takes the change out of the weights again, to the bit, and puts the adapters back.</summary>
    /// <exception cref="InvalidOperationException">They are not merged.</exception>
    public void Unmerge()
    {
        if (!IsMerged)
            throw new InvalidOperationException("The adapters are not merged.");
        using var guard = no_grad();
        foreach (var site in sites)
        {
            using var scope = NewDisposeScope();
            site.Layer.WeightOf(site.Projection).copy_(originals[site.Name]);
            site.Layer.Attach(site.Projection, site.Adapter);
        }
        Forget();
    }

    /// <summary>Takes the adapters off and gives every parameter back whether it trains. What was merged stays in the weights.</summary>
    public void Dispose()
    {
        foreach (var site in sites)
        {
            if (!IsMerged)
                site.Layer.RemoveAdapter(site.Projection);
            site.Adapter.Dispose();
        }
        sites.Clear();
        Forget();
        foreach (var (name, parameter) in Model.named_parameters())
            if (trainedBefore.TryGetValue(name, out bool trained))
                parameter.requires_grad = trained;
    }

    /// <summary>Writes <c>adapter_config.json</c> and <c>adapter_model.safetensors</c> as PEFT does.</summary>
    /// <param name="folder">Created if need be.</param>
    /// <param name="baseModel">The base model's name or folder, for those who load the adapters; null for none.</param>
    public void Save(string folder, string? baseModel = null) => LowRankFormat.Write(this, folder, baseModel);

    /// <summary>Attaches the adapters of a PEFT folder.</summary>
    /// <param name="model">The base model.</param>
    /// <param name="folder">Holds <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>.</param>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="NotSupportedException">The adapters are of a kind that is not built; the message names the option.</exception>
    /// <exception cref="CheckpointMismatchException">Tensors are missing, unexpected or of the wrong shape.</exception>
    public static LowRankAdapters Load(TextDecoder model, string folder)
    {
        ArgumentNullException.ThrowIfNull(model);
        return LowRankFormat.Read(model, folder);
    }

    /// <summary>The tensors of the modules trained whole, by their names in checkpoints.</summary>
    internal IEnumerable<(string Name, Tensor Tensor)> WholeModules() =>
        Model
            .HubParameters()
            .Where(pair => Options.TrainedModules.Any(module => EndsIn(ModuleOf(pair.Key), module)))
            .Select(pair => (pair.Key, pair.Value));

    private static List<(string Name, JointLinear Layer, string Projection)> Targets(
        TextDecoder model,
        IReadOnlyList<string> targets
    )
    {
        var all = model.Projections().ToList();
        if (targets.Contains(AllLinear))
            return all;
        var used = new HashSet<string>(StringComparer.Ordinal);
        var found = all.Where(item =>
            {
                var hits = targets.Where(target => Matches(item.Name, target)).ToList();
                used.UnionWith(hits);
                return hits.Count > 0;
            })
            .ToList();
        string[] unused = [.. targets.Where(target => !used.Contains(target))];
        return unused.Length == 0
            ? found
            : throw new ArgumentException(
                $"{model.Architecture} has no projection {string.Join(", ", unused)}. Its projections are: {string.Join(", ", all.Select(item => item.Projection).Distinct())} (or {AllLinear})."
            );
    }

    private static List<Parameter> TrainedModules(TextDecoder model, IReadOnlyList<string> modules)
    {
        List<Parameter> found = [];
        foreach (string module in modules)
        {
            var own = module switch
            {
                "lm_head" when model is CausalLanguageModel causal => [causal.HeadWeight],
                "embed_tokens" or "wte" => [model.WordTable],
                _ => model
                    .named_parameters()
                    .Where(pair =>
                        pair.name is var name
                        && (
                            name.StartsWith("score.", StringComparison.Ordinal)
                            || name.StartsWith("head.", StringComparison.Ordinal)
                        )
                    )
                    .Select(pair => pair.parameter)
                    .ToList(),
            };
            if (
                own.Count == 0
                || !model.HubParameters().Keys.Concat(model.TiedNames.Keys).Any(name => EndsIn(ModuleOf(name), module))
            )
                throw new ArgumentException(
                    $"{model.Architecture} has no module '{module}' to train whole. It may be lm_head, embed_tokens (wte) or the head's name in checkpoints."
                );
            found.AddRange(own);
        }
        return found;
    }

    // As PEFT: a target is the end of a module's name; one with other characters is a pattern for the whole name.
    private static bool Matches(string name, string target) =>
        EndsIn(name, target) || (target.AsSpan().IndexOfAny(@"\*+?[](){}|^$") >= 0 && Regex.IsMatch(name, $"^(?:{target})$"));

    private static bool EndsIn(string name, string end) => name == end || name.EndsWith("." + end, StringComparison.Ordinal);

    private static string ModuleOf(string name) => name[..name.LastIndexOf('.')];

    private void Forget()
    {
        foreach (var original in originals.Values)
            original.Dispose();
        originals.Clear();
    }

    private sealed record Site(string Name, JointLinear Layer, string Projection, LowRankAdapter Adapter);
}
