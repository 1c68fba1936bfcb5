using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// Who teaches at which step of one training: a frozen teacher, or the student itself as it was at the start of each generation (born-again
/// networks, Furlanello et al. 2018; self-distillation by epochs, arXiv 2309.17134, where a generation is an epoch).
/// </summary>
/// <remarks>
/// <para>
/// Hand the schedule to <see cref="Trainer"/> as its loss module: its teacher and its count of steps are then part of the checkpoints, and a
/// training that goes on from one has the teacher it had. The optimiser and the learning rate run through all generations.
/// </para>
/// <para>The teacher is always in evaluation mode and without gradients, so a student with dropout differs from its own fresh copy.
/// After a training in bfloat16 it holds its first weights again (what a loss module does not train comes back as it was).</para>
/// </remarks>
public sealed class TeacherSchedule : nn.Module
{
    private readonly nn.Module? copy; // registered, and so saved, only where it changes
    private readonly Tensor steps;
    private readonly Func<nn.Module> teacher;
    private readonly Func<TraceRequest, bool, TracedPass> pass;
    private readonly Action refresh;

    private TeacherSchedule(ITracedModel teacher, ITracedModel? student, long? stepsPerGeneration)
        : base(nameof(TeacherSchedule))
    {
        var module = TracedPass.ModuleOf(teacher);
        this.teacher = () => module;
        pass = (request, wantsOutput) => new TracedPass(teacher, request, wantsOutput);
        StepsPerGeneration = stepsPerGeneration;
        steps = zeros(1, dtype: ScalarType.Int64).DetachFromDisposeScope();
        refresh = () => { };
        if (student is not null)
        {
            var source = TracedPass.ModuleOf(student);
            RequireTwins(module, source);
            refresh = () => CopyState(source, module);
            copy = module;
            foreach (var parameter in module.parameters())
                parameter.requires_grad_(false);
        }
        RegisterComponents();
    }

    /// <summary>One teacher for the whole training.</summary>
    /// <param name="teacher">Who teaches; also a TorchSharp module.</param>
    /// <exception cref="ArgumentException">The teacher is no module.</exception>
    public static TeacherSchedule Frozen(ITracedModel teacher) => new(teacher, null, null);

    /// <summary>
    /// Generation 0 is taught by <paramref name="teacher"/> as it is; at the start of each later one the student's parameters and buffers are copied
    /// into it.
    /// </summary>
    /// <param name="teacher">A model of the student's build, not the student itself. It is frozen and overwritten.</param>
    /// <param name="student">Who is trained.</param>
    /// <param name="stepsPerGeneration">Steps a generation, for example those of an epoch.</param>
    /// <exception cref="ArgumentException">The two are one object, differ in build, or are no modules; or there is no step in a generation.</exception>
    public static TeacherSchedule CopyEvery(ITracedModel teacher, ITracedModel student, long stepsPerGeneration)
    {
        if (ReferenceEquals(teacher, student))
            throw new ArgumentException(
                "Teacher and student are the same object. Build a second model of the same configuration for the teacher.",
                nameof(teacher)
            );
        if (stepsPerGeneration < 1)
            throw new ArgumentException(
                $"A generation needs at least 1 step, but has {stepsPerGeneration}.",
                nameof(stepsPerGeneration)
            );
        ArgumentNullException.ThrowIfNull(student);
        return new(teacher, student, stepsPerGeneration);
    }

    /// <summary>Steps of a generation; null when the teacher never changes.</summary>
    public long? StepsPerGeneration { get; }

    /// <summary>The generation that teaches the next step, from 0.</summary>
    public long Generation => StepsPerGeneration is { } period ? steps.cpu().ReadCpuInt64(0) / period : 0;

    /// <summary>The objective for <see cref="Trainer"/>: each call is one step, taught by the step's teacher.</summary>
    /// <param name="student">Who is trained.</param>
    /// <param name="teacherRequest">What the teacher's trace shall hold.</param>
    /// <param name="studentRequest">What the student's trace shall hold.</param>
    /// <param name="loss">The loss from the teacher's trace, the student's trace (in this order) and the batch.</param>
    /// <param name="wantsOutput">True when the loss reads the models' outputs.</param>
    /// <exception cref="ArgumentException">A model cannot serve its request.</exception>
    public Func<Batch, LossTerms> Objective(
        ITracedModel student,
        TraceRequest teacherRequest,
        TraceRequest studentRequest,
        Func<ForwardTrace, ForwardTrace, Batch, LossTerms> loss,
        bool wantsOutput = false
    )
    {
        ArgumentNullException.ThrowIfNull(loss);
        var (taught, learned) = (pass(teacherRequest, wantsOutput), new TracedPass(student, studentRequest, wantsOutput));
        return batch => loss(Teach(taught, batch), learned.Run(batch), batch);
    }

    private ForwardTrace Teach(TracedPass taught, Batch batch)
    {
        using var guard = no_grad();
        if (StepsPerGeneration is { } period)
        {
            long step = steps.cpu().ReadCpuInt64(0);
            if (step > 0 && step % period == 0)
                refresh();
            steps.add_(1);
        }
        // The loop puts its loss module, and with it the teacher, into training mode.
        if (teacher().training)
            teacher().eval();
        return taught.Run(batch);
    }

    private static void CopyState(nn.Module source, nn.Module target)
    {
        var values = State(source).ToDictionary(item => item.Name, item => item.Value, StringComparer.Ordinal);
        foreach (var (name, value) in State(target))
            value.copy_(values[name]);
    }

    private static IEnumerable<(string Name, Tensor Value)> State(nn.Module module) =>
        module
            .named_parameters()
            .Select(item => (item.name, (Tensor)item.parameter))
            .Concat(module.named_buffers().Select(item => (item.name, item.buffer)));

    private static void RequireTwins(nn.Module teacher, nn.Module student)
    {
        var (theirs, ours) = (Shape(teacher), Shape(student));
        string[] differences = [.. theirs.Except(ours).Concat(ours.Except(theirs)).Take(4)];
        if (differences.Length > 0)
            throw new ArgumentException(
                $"The student cannot be copied into the teacher; they differ in {string.Join("; ", differences)}. Build both from the same configuration.",
                nameof(teacher)
            );

        static HashSet<string> Shape(nn.Module module) =>
            [.. State(module).Select(item => $"{item.Name} {Shapes.Describe(item.Value)}")];
    }
}
