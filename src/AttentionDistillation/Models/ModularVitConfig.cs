using AttentionDistillation.Models.Blocks;

namespace AttentionDistillation.Models;

/// <summary>
/// Sizes and options of a ViT made of modules, runs of blocks that can be taken out: a plain teacher or meta model, or a V-MoE student whose feed-forward
/// parts are mixtures of experts.
/// </summary>
public sealed record ModularVitConfig : VisionTransformerConfig
{
    /// <summary>Blocks of each module, first to last, for example [4, 3, 3, 4]; null for one block a module.</summary>
    public IReadOnlyList<int>? ModuleLayers { get; init; }

    /// <summary>Experts of every block; null for plain feed-forward parts.</summary>
    public int? Experts { get; init; }

    /// <summary>Experts that each token uses.</summary>
    public int TopExperts { get; init; } = 2;

    /// <summary>The width of the model that modules are stitched into (the teacher's); null for modules without stitches.</summary>
    public long? StitchWidth { get; init; }

    /// <summary>Whether the model as a whole runs through its stitches too; otherwise only modules in hybrids do.</summary>
    public bool KeepsStitches { get; init; }

    /// <summary>Blocks of each module, one a module where <see cref="ModuleLayers"/> is null.</summary>
    public IReadOnlyList<int> Split => ModuleLayers ?? [.. Enumerable.Repeat(1, Layers)];

    internal PreNormOptions BlockOptions =>
        LayerOptions with
        {
            Experts = Experts is { } count ? new ExpertOptions(count, TopExperts, InitializerRange) : null,
        };

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    internal new void Validate()
    {
        base.Validate();
        if (Split.Count == 0 || Split.Any(count => count < 1) || Split.Sum() != Layers)
            throw ConfigCheck.Wrong(
                this,
                nameof(ModuleLayers),
                $"[{string.Join(", ", Split)}]",
                $"one number of blocks or more, each 1 or more, that sum to {nameof(Layers)} = {Layers}"
            );
        if (Experts is { } experts)
        {
            ConfigCheck.Positive(this, TopExperts, nameof(TopExperts));
            if (experts < TopExperts)
                throw ConfigCheck.Wrong(this, nameof(Experts), experts, $"{nameof(TopExperts)} = {TopExperts} or more");
            if (HiddenActivation != "gelu")
                throw ConfigCheck.Wrong(this, nameof(HiddenActivation), HiddenActivation, "gelu, which experts use");
        }
        ConfigCheck.Positive(this, StitchWidth ?? 1, nameof(StitchWidth));
        if (KeepsStitches && StitchWidth is null)
            throw ConfigCheck.Wrong(this, nameof(KeepsStitches), KeepsStitches, $"false, or set {nameof(StitchWidth)}");
    }
}
