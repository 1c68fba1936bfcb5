using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// A ViT classifier made of modules (<see cref="VitModule"/>) that can be taken out; its output is scores [B, classes]. With experts it is a V-MoE.
/// </summary>
/// <remarks>
/// Riquelme et al., "Scaling Vision with Sparse Mixture of Experts", 2021, as the students of m2mKD (Lo et al., 2024, arXiv 2402.16918). Hidden state 0 is
/// what enters the first block, state k what block k gives. Features: <see cref="PreNormLayer.ExpertChoices"/> of every block, where there are experts.
/// </remarks>
public sealed class ModularVit : ImageModel, IModularStudent
{
    private readonly ModuleList<VitModule> parts;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public ModularVit(ModularVitConfig config, long seed)
        : base(Describe(config), config.Channels)
    {
        Config = config;
        var make = new SeededLayers(seed, config.InitializerRange);
        parts = new ModuleList<VitModule>([
            .. Enumerable.Range(0, config.Split.Count).Select(index => new VitModule(config, make, index)),
        ]);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public ModularVitConfig Config { get; }

    /// <summary>The modules, first to last.</summary>
    public IReadOnlyList<VitModule> Modules => [.. parts];

    /// <inheritdoc/>
    public int ModuleCount => parts.Count;

    /// <inheritdoc/>
    public long? StitchWidth => Config.StitchWidth;

    /// <inheritdoc/>
    public nn.Module ModuleAt(int index) => Checked(index);

    /// <inheritdoc/>
    public Tensor InHybrid(int index, Tensor entering) => Checked(index).InHybrid(entering);

    /// <summary>Module i without stitches and head: embeddings (of the first) and blocks.</summary>
    /// <param name="index">i, from 0.</param>
    /// <param name="entering">Images for the first module, else [B, L, C].</param>
    /// <returns>[B, L, C].</returns>
    public Tensor Body(int index, Tensor entering) => Checked(index).call(entering, null);

    /// <summary>The last module's norm and classifier on the class token.</summary>
    /// <param name="hidden">[B, L, C].</param>
    /// <returns>[B, classes].</returns>
    public Tensor Head(Tensor hidden) => parts[parts.Count - 1].Head(hidden);

    /// <summary>
    /// The model that is trained end to end: the same weights without stitches, whose work the next training has to take over, or with all of them.
    /// </summary>
    /// <param name="keepsStitches">Whether the whole model goes through its stitches.</param>
    /// <returns>A new model; this one stays as it is.</returns>
    /// <exception cref="ArgumentException">Stitches are to be kept where there are none.</exception>
    public ModularVit Assemble(bool keepsStitches = false)
    {
        var assembled = new ModularVit(
            Config with
            {
                StitchWidth = keepsStitches ? Config.StitchWidth : null,
                KeepsStitches = keepsStitches,
            },
            0
        );
        ModuleWeights.Copy(this, assembled, _ => true);
        return assembled;
    }

    /// <summary>Takes another model's head (final norm and classifier), as a teacher assembled from incubated modules does.</summary>
    /// <param name="other">A model of the same width and classes.</param>
    /// <exception cref="ArgumentException">Widths or classes differ.</exception>
    public void CopyHead(ModularVit other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.Config.HiddenSize != Config.HiddenSize || other.Config.Labels.Count != Config.Labels.Count)
            throw new ArgumentException(
                $"The head is for width {other.Config.HiddenSize} and {other.Config.Labels.Count} classes, but this model has {Config.HiddenSize} and {Config.Labels.Count}.",
                nameof(other)
            );
        ModuleWeights.Copy(other.parts[other.ModuleCount - 1], parts[ModuleCount - 1], VitModule.IsOfHead);
    }

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        var hidden = images;
        foreach (var module in parts)
            if (module.FirstLayer <= (trace?.LastLayerNeeded ?? int.MaxValue))
                hidden = Config.KeepsStitches ? module.Stitched(hidden, trace) : module.call(hidden, trace);
        return trace is null || trace.RunsToTheEnd ? Head(hidden) : Nothing(images);
    }

    private VitModule Checked(int index) =>
        index >= 0 && index < parts.Count
            ? parts[index]
            : throw new ArgumentOutOfRangeException(nameof(index), index, $"The model has modules 0 to {parts.Count - 1}.");

    private static TraceCapabilities Describe(ModularVitConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        string[] features = config.Experts is null
            ? []
            : [.. Enumerable.Range(0, config.Layers).Select(PreNormLayer.ExpertChoices)];
        return new TraceCapabilities(nameof(ModularVit), config.Layers, features)
        {
            Heads = (int)config.Heads,
            HiddenWidth = (int)config.HiddenSize,
        };
    }
}
