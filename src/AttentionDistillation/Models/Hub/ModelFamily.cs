using AttentionDistillation.Models.Hub.Families;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models.Hub;

/// <summary>A family of models, found by the <c>model_type</c> of a configuration.</summary>
/// <param name="ModelType">The name in <c>config.json</c>.</param>
/// <param name="Architectures">How to build each architecture, by its class name in transformers; the first is the bare model.</param>
internal sealed record ModelFamily(string ModelType, IReadOnlyList<ModelArchitecture> Architectures)
{
    /// <summary>Every family that can be loaded. A new one is one entry in the list of its kind, in <c>Families</c>.</summary>
    public static IReadOnlyList<ModelFamily> All { get; } =
    [.. EncoderFamilies.All, .. DecoderFamilies.All, .. VisionFamilies.All, .. GenerativeFamilies.All];

    /// <summary>True when a checkpoint holds a tensor of this name, under whatever prefix: for what a configuration does not say.</summary>
    public static bool Holds(ICheckpoint file, string name) =>
        file.Entries.Keys.Any(other => other == name || other.EndsWith("." + name, StringComparison.Ordinal));
}

/// <summary>How to build one architecture of a family with blank weights.</summary>
/// <param name="Name">The class name in transformers.</param>
/// <param name="Build">
/// Builds it from the configuration, from the checkpoint's list of tensors (for what the configuration does not say) and with layers that make
/// blank weights of the wanted element type on the wanted device.
/// </param>
internal sealed record ModelArchitecture(string Name, Func<ConfigReader, ICheckpoint, SeededLayers, IHubModel> Build);
