using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>A model of one tensor of real numbers (images, signals): checks it, records what a trace wants, gives one output.</summary>
public abstract class TensorModel : nn.Module<Tensor, ForwardTrace?, Tensor>, ITracedModel
{
    private readonly string input;
    private readonly long[] shape;
    private readonly string scaling;

    /// <summary>Names the input.</summary>
    /// <param name="capabilities">What a trace can record.</param>
    /// <param name="input">The input's name in a batch.</param>
    /// <param name="shape">Its shape, -1 for any size.</param>
    /// <param name="scaling">How to mend an input that is not of real numbers.</param>
    private protected TensorModel(TraceCapabilities capabilities, string input, long[] shape, string scaling)
        : base(capabilities.Model) =>
        (Capabilities, this.input, this.shape, this.scaling) = (capabilities, input, shape, scaling);

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <summary>Runs the model.</summary>
    /// <param name="values">Images [B, channels, height, width] or signals [B, 2, L], real numbers.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>
    /// The model's output. When the trace does not want the output, the pass ends with the last thing recorded and an empty tensor ([0]) is returned.
    /// </returns>
    /// <exception cref="ArgumentException">The input has another shape, size or element type than the model takes.</exception>
    public override Tensor forward(Tensor values, ForwardTrace? trace)
    {
        Shapes.RequireExact(values, shape, input);
        if (!values.is_floating_point())
            throw new ArgumentException($"'{input}' must be real numbers, but are {values.dtype}. {scaling}", input);
        using var scope = NewDisposeScope();
        var output = Compute(values, trace);
        return ForwardTrace.End(trace, scope, output);
    }

    /// <summary>Runs the model on the batch's tensor of its input's name and records into the trace.</summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch[input], trace);
    }

    /// <summary>The pass itself, in the dispose scope of <see cref="forward"/>: what it records must lie in that scope when it returns.</summary>
    private protected abstract Tensor Compute(Tensor values, ForwardTrace? trace);

    /// <summary>What a pass returns whose output nobody wants.</summary>
    private protected static Tensor Nothing(Tensor like) => empty(0, dtype: like.dtype, device: like.device);
}
