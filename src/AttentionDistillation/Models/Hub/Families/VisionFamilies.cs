using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models.Hub.Families;

/// <summary>The image encoders, and encoders of images and text.</summary>
internal static class VisionFamilies
{
    private static ModelFamily Vit { get; } =
        new(
            "vit",
            [
                new(
                    "ViTModel",
                    (config, file, layers) =>
                        new VitModel(
                            VitConfig.FromJson(config) with
                            {
                                AddPooler = ModelFamily.Holds(file, "pooler.dense.weight"),
                            },
                            layers
                        )
                ),
                new(
                    "ViTForImageClassification",
                    (config, _, layers) => new VitForImageClassification(VitConfig.FromJson(config), layers)
                ),
            ]
        );

    private static ModelFamily Deit { get; } =
        new(
            "deit",
            [
                new(
                    "DeiTModel",
                    (config, file, layers) =>
                        new DeitModel(
                            DeitConfig.FromJson(config) with
                            {
                                AddPooler = ModelFamily.Holds(file, "pooler.dense.weight"),
                            },
                            layers
                        )
                ),
                new(
                    "DeiTForImageClassification",
                    (config, _, layers) => new DeitForImageClassification(DeitConfig.FromJson(config), layers)
                ),
                new(
                    "DeiTForImageClassificationWithTeacher",
                    (config, _, layers) => new DeitForImageClassificationWithTeacher(DeitConfig.FromJson(config), layers)
                ),
            ]
        );

    private static ModelFamily ResNet { get; } =
        new(
            "resnet",
            [
                new("ResNetModel", (config, _, layers) => new ResNetModel(ResNetConfig.FromJson(config), layers)),
                new(
                    "ResNetForImageClassification",
                    (config, _, layers) => new ResNetForImageClassification(ResNetConfig.FromJson(config), layers)
                ),
            ]
        );

    private static ModelFamily Clip { get; } =
        new("clip", [new("CLIPModel", (config, _, layers) => new ClipModel(ClipConfig.FromJson(config), layers))]);

    private static ModelFamily ClipText { get; } =
        new("clip_text_model", [TextTower("CLIPTextModel", false), TextTower("CLIPTextModelWithProjection", true)]);

    private static ModelFamily ClipVision { get; } =
        new("clip_vision_model", [VisionTower("CLIPVisionModel", false), VisionTower("CLIPVisionModelWithProjection", true)]);

    // Declared last: static properties are initialised in order.
    public static IReadOnlyList<ModelFamily> All { get; } = [Vit, Deit, ResNet, Clip, ClipText, ClipVision];

    private static ModelArchitecture TextTower(string name, bool withProjection) =>
        new(
            name,
            (config, file, layers) =>
                new ClipTextModel(
                    ClipTextConfig.FromJson(config),
                    layers,
                    ClipNames.Text(withProjection, Begins(file, "text_model."))
                )
        );

    private static ModelArchitecture VisionTower(string name, bool withProjection) =>
        new(
            name,
            (config, file, layers) =>
                new ClipVisionModel(
                    ClipVisionConfig.FromJson(config),
                    layers,
                    ClipNames.Vision(withProjection, Begins(file, "vision_model."))
                )
        );

    private static bool Begins(ICheckpoint file, string prefix) =>
        file.Entries.Keys.Any(name => name.StartsWith(prefix, StringComparison.Ordinal));
}
