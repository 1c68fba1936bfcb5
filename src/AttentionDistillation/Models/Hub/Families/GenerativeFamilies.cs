namespace AttentionDistillation.Models.Hub.Families;

/// <summary>The denoisers of images, video and audio.</summary>
internal static class GenerativeFamilies
{
    public static IReadOnlyList<ModelFamily> All { get; } = [];
}
