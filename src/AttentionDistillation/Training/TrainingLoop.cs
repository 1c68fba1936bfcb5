using System.Diagnostics;
using System.Globalization;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// The one training loop, under <see cref="Trainer"/> and <see cref="Distiller"/>. A step depends on nothing but the state, the seed and the
/// step's number, so a training that stops anywhere and goes on from a checkpoint ends with the same bits.
/// </summary>
internal sealed class TrainingLoop : IDisposable
{
    // Dropout draws from libtorch's global generator, which all threads share: two loops at once would take each other's numbers.
    private static readonly Lock GlobalGenerator = new();

    private const string ModelPrefix = "model.";
    private const string LossPrefix = "loss.";

    private readonly (string Prefix, nn.Module Module)[] modules;
    private readonly Func<Batch, LossTerms> objective;
    private readonly TrainingOptions options;
    private readonly Device device;
    private readonly PrecisionLoan[] loans;
    private readonly AdamW optimiser;
    private readonly CurveRecorder recorder;
    private long step;
    private long? peakMemory;

    /// <summary>Puts the modules on their device, in training mode and precision, and prepares the optimiser.</summary>
    /// <param name="model">What is trained.</param>
    /// <param name="lossModule">Trainable parts of the loss (projections), or null.</param>
    /// <param name="objective">The loss of a batch.</param>
    /// <param name="options">How to train.</param>
    public TrainingLoop(nn.Module model, nn.Module? lossModule, Func<Batch, LossTerms> objective, TrainingOptions options)
    {
        (this.objective, this.options) = (objective, options);
        modules = lossModule is null ? [(ModelPrefix, model)] : [(ModelPrefix, model), (LossPrefix, lossModule)];
        if (!modules.SelectMany(part => part.Module.parameters()).Any(parameter => parameter.requires_grad))
            throw new ArgumentException("Nothing is trainable: every parameter has requires_grad = false.", nameof(model));
        device = options.Device ?? DeviceOf(model);
        foreach (var (_, module) in modules)
        {
            module.to(device);
            module.train();
        }
        loans =
            options.Precision == Precision.BFloat16
                ? [.. modules.Select(part => new PrecisionLoan(part.Module, trains: true))]
                : [];
        optimiser = new AdamW(
            modules.SelectMany(part => part.Module.named_parameters().Select(item => (part.Prefix + item.name, item.parameter))),
            options.WeightDecay,
            options.Beta1,
            options.Beta2,
            options.Epsilon
        );
        recorder = new CurveRecorder(options.Label);
        if (options.AverageDecay is { } decay)
            Average = new ExponentialMovingAverage(WeightsOf(ModelPrefix), decay);
    }

    /// <summary>The running average of the model's weights; null when the options ask for none. The caller owns it.</summary>
    public ExponentialMovingAverage? Average { get; }

    /// <summary>The device the modules are on.</summary>
    public static Device DeviceOf(nn.Module module) =>
        module.parameters().Select(parameter => parameter.device).FirstOrDefault() ?? CPU;

    /// <summary>Trains from the newest checkpoint, or from the start, to the last step.</summary>
    public TrainingResult Run(IBatchSource batches)
    {
        lock (GlobalGenerator)
        {
            using var store = options.CheckpointFolder is { } folder ? new CheckpointStore(folder) : null;
            if (store?.Latest is { } newest)
                Restore(newest);
            long first = step;
            var clock = Stopwatch.StartNew();
            using (var feed = new BatchFeed(batches, options, device))
            using (var progress = Progress.Start(options.Label, options.Steps))
            {
                progress.Report(step);
                while (step < options.Steps)
                    RunStep(feed, store, progress);
                recorder.Flush();
            }
            SampleMemory();
            var elapsed = clock.Elapsed;
            long run = step - first;
            return new TrainingResult(
                new TrainingCurve([.. recorder.Points]),
                step,
                run,
                elapsed,
                run == 0 ? 0.0 : run / elapsed.TotalSeconds,
                peakMemory
            );
        }
    }

    /// <summary>Gives the modules back in float32 and evaluation mode, with the weights of the last whole step.</summary>
    public void Dispose()
    {
        optimiser.ZeroGradients(); // before the modules change their parameters' precision, and after a step cut short
        for (int i = 0; i < loans.Length; i++)
        {
            loans[i].Replace(WeightsOf(modules[i].Prefix));
            loans[i].Dispose();
        }
        foreach (var (_, module) in modules)
            module.eval();
        optimiser.Dispose();
        recorder.Dispose();
    }

    private void RunStep(BatchFeed feed, CheckpointStore? store, ProgressTask progress)
    {
        using var scope = NewDisposeScope();
        double rate = options.LearningRateAt(step);
        Seeds.SetGlobal(options.Seed, string.Create(CultureInfo.InvariantCulture, $"step {step}"));
        using var host = feed.At(step);
        using var batch = OnDevice(host);
        var terms = objective(batch);
        var total = terms.Total;
        if (!total.requires_grad)
            throw new InvalidOperationException(
                $"{options.Label}: the loss does not depend on any trainable weight. Compute it from the student's trace or output, without detach()."
            );
        DifferentiableOperator.Backward(total);
        optimiser.Step(rate, options.ClipNorm);
        optimiser.ZeroGradients();
        Average?.Update();
        long done = ++step;

        bool last = done == options.Steps;
        bool recorded = (done - 1) % options.RecordEvery == 0 || last;
        if (recorded && recorder.Record(done - 1, terms))
            SampleMemory();
        bool stop = Interruption.Requested;
        if (store is not null && (done % options.CheckpointEvery == 0 || last || stop))
        {
            recorder.Flush();
            recorder.Check(done - 1, terms); // weights that follow a loss which is no number are never written
            store.Write(done, Texts(), Tensors());
        }
        // Reading the loss makes the host wait for CUDA, so there it is shown at recorded steps only.
        bool shows = progress.Due && (recorded || device.type != DeviceType.CUDA);
        progress.Report(
            done,
            shows ? string.Create(CultureInfo.InvariantCulture, $"loss {total.ToDouble():G4}, rate {rate:G3}") : null
        );
        if (stop)
            Interruption.ThrowIfRequested();
    }

    // Images and other real numbers follow the weights' precision; token numbers, masks and labels stay. By way of pinned memory, so that the
    // host need not wait for the steps still under way on the device.
    private Batch OnDevice(Batch host)
    {
        using var pinned = device.type == DeviceType.CUDA ? host.Pin() : null;
        var batch = (pinned ?? host).To(device);
        if (options.Precision == Precision.BFloat16)
            foreach (string name in batch.Names.ToArray())
                if (batch[name].is_floating_point())
                    batch[name] = batch[name].to(ScalarType.BFloat16);
        return batch;
    }

    // The trained weights of a module in full precision, under the module's own names.
    private IEnumerable<(string Name, Tensor Value)> WeightsOf(string prefix) =>
        optimiser
            .Weights.Where(item => item.Name.StartsWith(prefix, StringComparison.Ordinal))
            .Select(item => (item.Name[prefix.Length..], item.Value));

    private void SampleMemory()
    {
        if (CudaMemory.UsedBytes(device) is { } used)
            peakMemory = Math.Max(peakMemory ?? 0, used);
    }

    private Dictionary<string, string> Texts()
    {
        var texts = options
            .Fingerprint()
            .ToDictionary(option => CheckpointState.OptionPrefix + option.Name, option => option.Value);
        texts[CheckpointState.StepName] = step.ToString(CultureInfo.InvariantCulture);
        texts[CheckpointState.CurveName] = CheckpointState.Write(recorder.Points);
        return texts;
    }

    private List<(string Name, Tensor Value)> Tensors() =>
        [
            .. modules.SelectMany(part =>
                part.Module.named_parameters()
                    .Select(item => (item.name, buffer: (Tensor)item.parameter))
                    .Concat(part.Module.named_buffers().Select(item => (item.name, item.buffer)))
                    .Select(item => (part.Prefix + item.name, item.buffer))
            ),
            .. optimiser.State.Select(item => ($"optimizer.{item.Name}", item.Value)),
            .. (Average?.Values ?? []).Select(item => ($"average.{item.Name}", item.Value)),
        ];

    private void Restore(string path)
    {
        using var scope = NewDisposeScope();
        var (texts, tensors) = CheckpointFile.Read(path);
        CheckpointState.RequireSameOptions(path, texts, options);
        CheckpointState.CopyInto(path, tensors, Tensors());
        step = long.Parse(texts[CheckpointState.StepName], CultureInfo.InvariantCulture);
        recorder.Restore(CheckpointState.ReadCurve(texts[CheckpointState.CurveName]));
    }
}
