using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Signals;

/// <summary>A model of complex baseband bursts: takes <c>signals</c> [B, 2, L] (in phase, quadrature), gives scores [B, classes].</summary>
public abstract class SignalModel : nn.Module<Tensor, ForwardTrace?, Tensor>, ITracedModel
{
    /// <summary>The name of the samples in a batch.</summary>
    public const string Signals = "signals";

    /// <summary>The feature that holds what the last layer sees, [B, C].</summary>
    public const string PooledFeatures = "pooled_features";

    private protected SignalModel(TraceCapabilities capabilities)
        : base(capabilities.Model) => Capabilities = capabilities;

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <summary>Runs the model.</summary>
    /// <param name="signals">[B, 2, L], real numbers.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>
    /// Scores [B, classes]. When the trace does not want the output, the pass ends with the last thing recorded and an empty tensor ([0]) is returned.
    /// </returns>
    /// <exception cref="ArgumentException">The signals have another shape or element type than the model takes.</exception>
    public override Tensor forward(Tensor signals, ForwardTrace? trace)
    {
        Shapes.RequireExact(signals, [-1, 2, -1]);
        if (!signals.is_floating_point())
            throw new ArgumentException(
                $"Signals must be real numbers, but are {signals.dtype}. Convert them and scale each burst to a mean power of 1.",
                nameof(signals)
            );
        using var scope = NewDisposeScope();
        var output = Compute(signals, trace);
        if (trace is not null)
        {
            if (trace.WantsOutput)
                trace.RecordOutput(output);
            trace.MoveOut(scope);
        }
        return scope.MoveToOuter(output);
    }

    /// <summary>Runs the model on a batch's <c>signals</c> and records into the trace.</summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch[Signals], trace);
    }

    /// <summary>The pass itself, in the dispose scope of <see cref="forward"/>: what it records must lie in that scope when it returns.</summary>
    private protected abstract Tensor Compute(Tensor signals, ForwardTrace? trace);

    /// <summary>What a pass returns whose output nobody wants.</summary>
    private protected static Tensor Nothing(Tensor like) => empty(0, dtype: like.dtype, device: like.device);
}
