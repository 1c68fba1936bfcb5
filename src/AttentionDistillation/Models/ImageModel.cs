using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>A model of images: takes <c>pixel_values</c> [B, channels, height, width], records what a trace wants, gives one output.</summary>
public abstract class ImageModel : nn.Module<Tensor, ForwardTrace?, Tensor>, ITracedModel
{
    /// <summary>The name of the images in a batch.</summary>
    public const string PixelValues = "pixel_values";

    private readonly long channels;

    private protected ImageModel(TraceCapabilities capabilities, long channels)
        : base(capabilities.Model) => (Capabilities, this.channels) = (capabilities, channels);

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <summary>Runs the model.</summary>
    /// <param name="images">[B, channels, height, width], real numbers.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>
    /// The model's output. When the trace does not want the output, the pass ends with the last thing recorded and an empty tensor ([0]) is returned.
    /// </returns>
    /// <exception cref="ArgumentException">The images have another shape, size or element type than the model takes.</exception>
    public override Tensor forward(Tensor images, ForwardTrace? trace)
    {
        Shapes.RequireExact(images, [-1, channels, -1, -1]);
        if (!images.is_floating_point())
            throw new ArgumentException(
                $"Images must be real numbers, scaled as the model was trained with, but are {images.dtype}. Convert and normalise them first.",
                nameof(images)
            );
        using var scope = NewDisposeScope();
        var output = Compute(images, trace);
        if (trace is not null)
        {
            if (trace.WantsOutput)
                trace.RecordOutput(output);
            trace.MoveOut(scope);
        }
        return scope.MoveToOuter(output);
    }

    /// <summary>Runs the model on a batch's <c>pixel_values</c> and records into the trace.</summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch[PixelValues], trace);
    }

    /// <summary>The pass itself, in the dispose scope of <see cref="forward"/>: what it records must lie in that scope when it returns.</summary>
    private protected abstract Tensor Compute(Tensor images, ForwardTrace? trace);

    /// <summary>What a pass returns whose output nobody wants.</summary>
    private protected static Tensor Nothing(Tensor like) => empty(0, dtype: like.dtype, device: like.device);
}
