using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models.Hub.Families;

/// <summary>The denoisers of images, which diffusers writes: each family is one of its classes.</summary>
internal static class GenerativeFamilies
{
    /// <summary>The name of DiT's class in older files.</summary>
    private const string OldTransformer = "Transformer2DModel";

    public static IReadOnlyList<ModelFamily> All { get; } =
    [
        Family(
            LatentDiffusionFormat.ClassName,
            (config, layers) => new LatentDiffusionUNet(LatentDiffusionFormat.Read(config), layers)
        ),
        Family(DiffusionTransformerFormat.ClassName, Transformer),
        Family(OldTransformer, Transformer),
        Family(
            JointDiffusionTransformerFormat.ClassName,
            (config, layers) => new JointDiffusionTransformer(JointDiffusionTransformerFormat.Read(config), layers)
        ),
    ];

    private static IHubModel Transformer(ConfigReader config, SeededLayers layers) =>
        new DiffusionTransformer(DiffusionTransformerFormat.Read(config), layers);

    private static ModelFamily Family(string name, Func<ConfigReader, SeededLayers, IHubModel> build) =>
        new(name, [new(name, (config, _, layers) => build(config, layers))]);
}
