using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// Two nets that train together, as one module for one trainer. An optimiser that treats every parameter by itself (AdamW does) does to each what an
/// optimiser of its own would; clip gradients by a common norm only if that is meant.
/// </summary>
public sealed class OnlinePair : nn.Module
{
    private readonly nn.Module teacher;
    private readonly nn.Module student;

    /// <summary>Puts two nets together; they stay the caller's to dispose.</summary>
    /// <exception cref="ArgumentException">A model is no module.</exception>
    public OnlinePair(ITracedModel teacher, ITracedModel student)
        : base(nameof(OnlinePair))
    {
        this.teacher =
            teacher as nn.Module ?? throw new ArgumentException("The teacher is no module that can train.", nameof(teacher));
        this.student =
            student as nn.Module ?? throw new ArgumentException("The student is no module that can train.", nameof(student));
        (Teacher, Student) = (teacher, student);
        RegisterComponents();
    }

    /// <summary>The larger net.</summary>
    public ITracedModel Teacher { get; }

    /// <summary>The smaller net.</summary>
    public ITracedModel Student { get; }

    /// <summary>
    /// An objective over both outputs: terms of the teacher under <c>teacher NAME</c>, of the student under <c>student NAME</c>. Each function gets its
    /// net's own output and the other's cut off from the graph.
    /// </summary>
    /// <param name="teacherLoss">(teacher's output, student's as a constant, batch) to the teacher's terms.</param>
    /// <param name="studentLoss">(student's output, teacher's as a constant, batch) to the student's terms.</param>
    public Func<Batch, LossTerms> Objective(
        Func<Tensor, Tensor, Batch, LossTerms> teacherLoss,
        Func<Tensor, Tensor, Batch, LossTerms> studentLoss
    )
    {
        ArgumentNullException.ThrowIfNull(teacherLoss);
        ArgumentNullException.ThrowIfNull(studentLoss);
        return batch =>
        {
            var ofTeacher = OutputOf(Teacher, batch);
            var ofStudent = OutputOf(Student, batch);
            var terms = new LossTerms();
            foreach (var (name, value, weight) in teacherLoss(ofTeacher, ofStudent.detach(), batch).Terms)
                terms.Add($"teacher {name}", value, weight);
            foreach (var (name, value, weight) in studentLoss(ofStudent, ofTeacher.detach(), batch).Terms)
                terms.Add($"student {name}", value, weight);
            return terms;
        };
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) { }

    private static Tensor OutputOf(ITracedModel model, Batch batch)
    {
        var trace = new ForwardTrace(TraceRequest.Nothing, model.Capabilities);
        model.Run(batch, trace);
        return trace.Output;
    }
}
