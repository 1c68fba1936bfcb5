using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// TinyBERT's layer-by-layer objective (arXiv 1909.10351, equations 6 to 9): student layer m imitates teacher layer g(m) = m x N / M in its
/// attention scores and, through one learned projection to the teacher's width, in its hidden states; the embedding's output too.
/// </summary>
/// <remarks>
/// The projection is trained with the student and dropped afterwards: hand this module's parameters to the optimiser together with the
/// student's. Symbols: the paper's W_h is the projection, N and M the numbers of layers of teacher and student.
/// </remarks>
public sealed class TinyBert : nn.Module
{
    private readonly Linear projection;
    private readonly int[] teacherLayers;
    private readonly Convention convention;

    /// <summary>Checks that the two models fit and builds the projection.</summary>
    /// <param name="teacher">What the teacher is.</param>
    /// <param name="student">What the student is; its layers must divide the teacher's, its heads equal the teacher's.</param>
    /// <param name="seed">Seed of the projection's initial weights.</param>
    /// <param name="convention">How masked scores are treated; see <see cref="AttentionMaps"/>.</param>
    /// <exception cref="ArgumentException">Layers or heads do not fit, or a width is unknown.</exception>
    public TinyBert(TraceCapabilities teacher, TraceCapabilities student, long seed, Convention convention = Convention.Paper)
        : base(nameof(TinyBert))
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        if (teacher.Layers % student.Layers != 0)
            throw new ArgumentException(
                $"TinyBERT maps layers uniformly: {student.Layers} student layers must divide the teacher's {teacher.Layers}."
            );
        if (teacher.Heads != student.Heads)
            throw new ArgumentException(
                $"TinyBERT compares attention head by head, but {teacher.Model} has {teacher.Heads} heads and {student.Model} {student.Heads}."
            );
        if (teacher.HiddenWidth < 1 || student.HiddenWidth < 1)
            throw new ArgumentException("TinyBERT needs models that state their hidden width (TraceCapabilities.HiddenWidth).");
        this.convention = convention;
        int every = teacher.Layers / student.Layers;
        teacherLayers = [.. Enumerable.Range(1, student.Layers).Select(layer => layer * every)];
        TeacherRequest =
            TraceRequest.Attention([.. teacherLayers.Select(layer => layer - 1)]) + TraceRequest.Hidden([0, .. teacherLayers]);
        StudentRequest = TraceRequest.AllAttention + TraceRequest.AllHidden;
        Seeds.SetGlobal(seed, "tinybert projection");
        projection = nn.Linear(student.HiddenWidth, teacher.HiddenWidth);
        RegisterComponents();
    }

    /// <summary>What to record of the teacher.</summary>
    public TraceRequest TeacherRequest { get; }

    /// <summary>What to record of the student.</summary>
    public TraceRequest StudentRequest { get; }

    /// <summary>The objective on two traces, for a Distiller. Terms <c>attention</c> and <c>hidden</c>, each summed over the mapped layers.</summary>
    public LossTerms Loss(ForwardTrace teacher, ForwardTrace student, Batch batch)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        ArgumentNullException.ThrowIfNull(batch);
        Tensor hidden = HiddenLoss(0, 0);
        Tensor? attention = null;
        for (int layer = 1; layer <= teacherLayers.Length; layer++)
        {
            int imitated = teacherLayers[layer - 1];
            hidden = hidden + HiddenLoss(imitated, layer);
            var scores = AttentionMaps.ScoresMeanSquaredError(
                teacher.Attention(imitated - 1),
                student.Attention(layer - 1),
                convention
            );
            attention = attention is null ? scores : attention + scores;
        }
        return new LossTerms().Add("attention", attention!).Add("hidden", hidden);

        Tensor HiddenLoss(int teacherState, int studentState) =>
            HiddenStates.MeanSquaredError(
                teacher.Hidden(teacherState),
                projection.Project(student.Hidden(studentState)),
                batch.Mask
            );
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            projection.Dispose();
        base.Dispose(disposing);
    }
}
