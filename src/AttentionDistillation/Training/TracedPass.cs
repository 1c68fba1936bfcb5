using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>A model with what is wanted of its forward passes; whether it can serve that is checked here, before any training.</summary>
internal sealed class TracedPass
{
    private readonly ITracedModel model;
    private readonly TraceRequest request;
    private readonly bool wantsOutput;

    /// <exception cref="ArgumentException">The model cannot serve the request; the message names what exists.</exception>
    public TracedPass(ITracedModel model, TraceRequest request, bool wantsOutput)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(request);
        (this.model, this.request, this.wantsOutput) = (model, request, wantsOutput);
        _ = new ForwardTrace(request, model.Capabilities, wantsOutput);
    }

    public ForwardTrace Run(Batch batch)
    {
        var trace = new ForwardTrace(request, model.Capabilities, wantsOutput);
        model.Run(batch, trace);
        return trace;
    }

    /// <summary>The model as the module whose parameters are trained.</summary>
    /// <exception cref="ArgumentException">It is no module.</exception>
    public static nn.Module ModuleOf(ITracedModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model as nn.Module
            ?? throw new ArgumentException(
                $"{model.GetType().Name} is no TorchSharp module, so it has no parameters to train. Derive it from nn.Module.",
                nameof(model)
            );
    }
}
