using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// Trains one model by an objective: a teacher's pre-training, a student's fine-tuning. With a checkpoint folder, a training that was stopped
/// or killed goes on from its last checkpoint when it is run again, and ends with the same bits as one that was never stopped.
/// </summary>
public sealed class Trainer : IDisposable
{
    private readonly nn.Module model;
    private readonly nn.Module? lossModule;
    private readonly Func<Batch, LossTerms> objective;
    private readonly TrainingOptions options;

    /// <summary>Trains a module by any objective.</summary>
    /// <param name="model">What is trained.</param>
    /// <param name="objective">The loss of a batch; the batch is on the model's device.</param>
    /// <param name="options">How to train.</param>
    /// <param name="lossModule">Trainable parts of the objective (projections), trained along; null for none.</param>
    /// <exception cref="ArgumentException">The options contradict each other.</exception>
    public Trainer(nn.Module model, Func<Batch, LossTerms> objective, TrainingOptions options, nn.Module? lossModule = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(objective);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        (this.model, this.objective, this.options, this.lossModule) = (model, objective, options, lossModule);
    }

    /// <summary>Trains a traced model by a loss on its trace, output included.</summary>
    /// <param name="model">What is trained, also a TorchSharp module.</param>
    /// <param name="request">What the trace shall hold besides the output.</param>
    /// <param name="loss">The loss of a trace and its batch.</param>
    /// <param name="options">How to train.</param>
    /// <param name="lossModule">Trainable parts of the loss (projections), trained along; null for none.</param>
    /// <exception cref="ArgumentException">The model cannot serve the request, is no module, or the options contradict each other.</exception>
    public Trainer(
        ITracedModel model,
        TraceRequest request,
        Func<ForwardTrace, Batch, LossTerms> loss,
        TrainingOptions options,
        nn.Module? lossModule = null
    )
        : this(TracedPass.ModuleOf(model), Objective(model, request, loss), options, lossModule) { }

    /// <summary>The running average of the weights after <see cref="Run"/>; null when the options ask for none.</summary>
    public ExponentialMovingAverage? Average { get; private set; }

    /// <summary>
    /// Trains to the last step; goes on from the newest checkpoint in the options' folder. Afterwards the model holds float32 weights and is
    /// in evaluation mode, also when the run ends by an exception. Without a folder every call starts at step 0 from the model's present weights.
    /// </summary>
    /// <exception cref="OperationCanceledException">An interruption was requested; the last step is whole and, with a folder, saved.</exception>
    /// <exception cref="TrainingDivergedException">A loss term was no finite number at a recorded step.</exception>
    /// <exception cref="InvalidDataException">The checkpoint is damaged or belongs to another training.</exception>
    /// <exception cref="InvalidOperationException">Another training uses the checkpoint folder, or the loss has no trainable input.</exception>
    /// <exception cref="IOException">The checkpoint folder cannot be written.</exception>
    public TrainingResult Run(IBatchSource batches)
    {
        ArgumentNullException.ThrowIfNull(batches);
        Average?.Dispose();
        using var loop = new TrainingLoop(model, lossModule, objective, options);
        Average = loop.Average;
        return loop.Run(batches);
    }

    /// <summary>Frees the running average; the model stays.</summary>
    public void Dispose() => Average?.Dispose();

    private static Func<Batch, LossTerms> Objective(
        ITracedModel model,
        TraceRequest request,
        Func<ForwardTrace, Batch, LossTerms> loss
    )
    {
        ArgumentNullException.ThrowIfNull(loss);
        var pass = new TracedPass(model, request, wantsOutput: true);
        return batch => loss(pass.Run(batch), batch);
    }
}
