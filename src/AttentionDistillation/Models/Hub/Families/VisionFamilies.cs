namespace AttentionDistillation.Models.Hub.Families;

/// <summary>The image encoders, and encoders of images and text.</summary>
internal static class VisionFamilies
{
    public static IReadOnlyList<ModelFamily> All { get; } = [];
}
