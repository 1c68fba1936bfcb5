using System.Text.Json.Nodes;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models.Hub;

/// <summary>What the configurations of image models have in common on disk.</summary>
internal static class VisionConfigFormat
{
    /// <summary>Refuses what no image model here computes.</summary>
    public static void RefuseUnsupported(ConfigReader reader)
    {
        reader.Only("quantization_config", "null");
        reader.Only("pruned_heads", "{}");
        reader.Only("is_encoder_decoder", "false");
        reader.Only("is_decoder", "false");
        reader.Only("add_cross_attention", "false");
    }

    /// <summary>A height and width as transformers writes it: one number for a square, unless the loaded configuration had a list.</summary>
    /// <param name="size">The size.</param>
    /// <param name="before">What the configuration that the model was loaded from has there, or null.</param>
    public static JsonNode Size(ImageSize size, JsonNode? before) =>
        size.Height == size.Width && before is not JsonArray ? size.Height : new JsonArray(size.Height, size.Width);
}
