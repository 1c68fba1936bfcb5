using AttentionDistillation.Attention;

namespace AttentionDistillation.Models;

/// <summary>A model of images: takes <c>pixel_values</c> [B, channels, height, width], records what a trace wants, gives one output.</summary>
public abstract class ImageModel : TensorModel
{
    /// <summary>The name of the images in a batch.</summary>
    public const string PixelValues = "pixel_values";

    private protected ImageModel(TraceCapabilities capabilities, long channels)
        : base(
            capabilities,
            PixelValues,
            [-1, channels, -1, -1],
            "Convert and normalise the images as the model was trained with."
        ) { }
}
