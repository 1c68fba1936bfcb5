using System.Globalization;
using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>One stage of a distillation: what is traced, the loss, and how to train.</summary>
/// <param name="Name">The stage's name, unique; part of progress labels and of the checkpoint folder.</param>
/// <param name="TeacherRequest">What the teacher's trace shall hold.</param>
/// <param name="StudentRequest">What the student's trace shall hold.</param>
/// <param name="Loss">The loss from the teacher's trace, the student's trace (in this order) and the batch.</param>
/// <param name="Options">How to train.</param>
public sealed record DistillationStage(
    string Name,
    TraceRequest TeacherRequest,
    TraceRequest StudentRequest,
    Func<ForwardTrace, ForwardTrace, Batch, LossTerms> Loss,
    TrainingOptions Options
)
{
    /// <summary>True when the loss reads <see cref="ForwardTrace.Output"/> of both traces; false lets both forward passes stop early.</summary>
    public bool WantsOutput { get; init; }

    /// <summary>Trainable parts of the loss (projections between widths), trained along; null for none.</summary>
    public nn.Module? LossModule { get; init; }
}

/// <summary>
/// Trains a student to imitate a teacher, in one stage or several. The teacher runs in evaluation mode without gradients on the student's
/// device, and its weights never change; forward passes stop after the last thing the loss reads. Checkpoints and resuming are as in <see cref="Trainer"/>.
/// </summary>
public sealed class Distiller : IDisposable
{
    private readonly nn.Module teacher;
    private readonly nn.Module student;
    private readonly (DistillationStage Stage, TracedPass Teacher, TracedPass Student)[] stages;

    /// <summary>A distillation in one stage.</summary>
    /// <param name="teacher">Who is imitated, also a TorchSharp module.</param>
    /// <param name="student">Who is trained, also a TorchSharp module.</param>
    /// <param name="teacherRequest">What the teacher's trace shall hold.</param>
    /// <param name="studentRequest">What the student's trace shall hold.</param>
    /// <param name="loss">The loss from the teacher's trace, the student's trace (in this order) and the batch.</param>
    /// <param name="options">How to train.</param>
    /// <param name="wantsOutput">True when the loss reads the models' outputs; false lets both forward passes stop early.</param>
    /// <param name="lossModule">Trainable parts of the loss (projections between widths), trained along; null for none.</param>
    /// <exception cref="ArgumentException">A model cannot serve its request, is no module, or the options contradict each other.</exception>
    public Distiller(
        ITracedModel teacher,
        ITracedModel student,
        TraceRequest teacherRequest,
        TraceRequest studentRequest,
        Func<ForwardTrace, ForwardTrace, Batch, LossTerms> loss,
        TrainingOptions options,
        bool wantsOutput = false,
        nn.Module? lossModule = null
    )
        : this(
            teacher,
            student,
            new DistillationStage(OnlyStage, teacherRequest, studentRequest, loss, options)
            {
                WantsOutput = wantsOutput,
                LossModule = lossModule,
            }
        ) { }

    /// <summary>A distillation in stages, each going on from the student the one before left.</summary>
    /// <exception cref="ArgumentException">
    /// There is no stage, a name repeats or cannot name a folder, a model cannot serve a request or is no module, teacher and student are the
    /// same object, or the options contradict each other.
    /// </exception>
    public Distiller(ITracedModel teacher, ITracedModel student, params DistillationStage[] stages)
    {
        ArgumentNullException.ThrowIfNull(stages);
        this.teacher = TracedPass.ModuleOf(teacher);
        this.student = TracedPass.ModuleOf(student);
        if (ReferenceEquals(teacher, student))
            throw new ArgumentException(
                "Teacher and student are the same object. Build a second model for the student.",
                nameof(student)
            );
        if (stages.Length == 0)
            throw new ArgumentException("There is no stage. Give at least one.", nameof(stages));
        foreach (var stage in stages)
        {
            if (string.IsNullOrWhiteSpace(stage.Name) || stage.Name.IndexOfAny(Path.GetInvalidFileNameChars()) >= 0)
                throw new ArgumentException(
                    $"'{stage.Name}' cannot name a stage: it names a folder, too. Use letters, digits and dashes."
                );
            if (stages.Count(other => other.Name == stage.Name) > 1)
                throw new ArgumentException($"The stage name '{stage.Name}' repeats. Give each stage a name of its own.");
            ArgumentNullException.ThrowIfNull(stage.Loss);
            ArgumentNullException.ThrowIfNull(stage.Options);
            stage.Options.Validate();
        }
        this.stages =
        [
            .. stages.Select(stage =>
                (
                    stage,
                    new TracedPass(teacher, stage.TeacherRequest, stage.WantsOutput),
                    new TracedPass(student, stage.StudentRequest, stage.WantsOutput)
                )
            ),
        ];
    }

    private const string OnlyStage = "distillation";

    /// <summary>The running average of the student's weights in the last stage run; null when its options ask for none.</summary>
    public ExponentialMovingAverage? Average { get; private set; }

    /// <summary>Runs a distillation of one stage.</summary>
    /// <returns>What the stage did.</returns>
    /// <exception cref="InvalidOperationException">There are several stages: use <see cref="RunStages"/>.</exception>
    /// <inheritdoc cref="Trainer.Run"/>
    public TrainingResult Run(IBatchSource batches) =>
        stages.Length == 1
            ? RunStages(batches)[0]
            : throw new InvalidOperationException(
                $"There are {stages.Length} stages. Call RunStages, which gives a result for each."
            );

    /// <summary>
    /// Runs the stages in order on the same data; stages that are complete in their checkpoint folders are not run again. Afterwards teacher
    /// and student hold float32 weights and are in evaluation mode.
    /// </summary>
    /// <returns>What each stage did.</returns>
    /// <inheritdoc cref="Trainer.Run"/>
    public IReadOnlyList<TrainingResult> RunStages(IBatchSource batches)
    {
        ArgumentNullException.ThrowIfNull(batches);
        var results = new List<TrainingResult>();
        for (int i = 0; i < stages.Length; i++)
            results.Add(RunStage(i, batches));
        return results;
    }

    /// <summary>Frees the running average; the models stay.</summary>
    public void Dispose() => Average?.Dispose();

    private TrainingResult RunStage(int index, IBatchSource batches)
    {
        var (stage, teacherPass, studentPass) = stages[index];
        var options = OptionsOf(index);
        Average?.Dispose();
        Average = null;
        teacher.to(options.Device ?? TrainingLoop.DeviceOf(student));
        teacher.eval();
        using var loan = options.Precision == Precision.BFloat16 ? new PrecisionLoan(teacher, trains: false) : null;
        using var loop = new TrainingLoop(student, stage.LossModule, Objective, options);
        Average = loop.Average;
        return loop.Run(batches);

        LossTerms Objective(Batch batch)
        {
            ForwardTrace taught;
            // Not inference mode: its tensors may not be saved for backward, and a loss saves the teacher's (cross-entropy does).
            using (no_grad())
                taught = teacherPass.Run(batch);
            return stage.Loss(taught, studentPass.Run(batch), batch);
        }
    }

    // Stages share one folder given to all of them, so each gets a part of its own.
    private TrainingOptions OptionsOf(int index)
    {
        var (stage, _, _) = stages[index];
        if (stages.Length == 1)
            return stage.Options;
        var options = stage.Options with { Label = $"{stage.Options.Label} · {stage.Name}" };
        return options.CheckpointFolder is { } folder
            ? options with
            {
                CheckpointFolder = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{index + 1}-{stage.Name}")),
            }
            : options;
    }
}
