namespace AttentionDistillation.Models.Hub.Families;

/// <summary>The language models that generate.</summary>
internal static class DecoderFamilies
{
    public static IReadOnlyList<ModelFamily> All { get; } = [];
}
