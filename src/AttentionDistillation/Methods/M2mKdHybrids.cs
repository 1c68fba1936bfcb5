using AttentionDistillation.Losses;
using AttentionDistillation.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// The stages of <see cref="M2mKd"/> on models: a frozen meta model into which modules of a teacher or a student are put. Each pair of modules is trained on its
/// own, in any order or in parallel: what is trained is the teacher's or the student's <c>ModuleAt(i)</c>, by the objective of <see cref="Incubate"/> or
/// <see cref="Distil"/>.
/// </summary>
/// <remarks>
/// The first module takes images. A teacher's last module ends in the meta model's head, a student's in its own. Later meta layers are constants in evaluation
/// mode, but gradients pass through them; earlier ones run without a graph.
/// </remarks>
public sealed class M2mKdHybrids
{
    private readonly Func<Tensor, Tensor>[] layers;

    /// <summary>Freezes a meta model: its parameters get no gradients any more and it is in evaluation mode.</summary>
    /// <param name="meta">A trained plain model; each of its modules stands for one module of teacher and student.</param>
    /// <exception cref="ArgumentException">The meta model has stitches.</exception>
    public M2mKdHybrids(ModularVit meta)
    {
        ArgumentNullException.ThrowIfNull(meta);
        if (meta.StitchWidth is not null)
            throw new ArgumentException(
                "The meta model has stitches, which belong into a student. Leave its StitchWidth null.",
                nameof(meta)
            );
        Meta = meta;
        Freeze(meta);
        layers = [.. Enumerable.Range(0, meta.ModuleCount).Select(index => (Func<Tensor, Tensor>)(x => meta.Body(index, x)))];
    }

    /// <summary>The meta model.</summary>
    public ModularVit Meta { get; }

    /// <summary>L.</summary>
    public int Count => layers.Length;

    /// <summary>What enters module i, without a graph: images for the first, else the states that the earlier meta layers give.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="index">i.</param>
    public Tensor Entering(Tensor images, int index) => M2mKd.Prefix(images, layers, index);

    /// <summary>Logits of the hybrid teacher.</summary>
    /// <param name="entering">Of <see cref="Entering"/>.</param>
    /// <param name="teacher">As many modules as the meta model, of its width.</param>
    /// <param name="index">i.</param>
    /// <returns>[B, classes].</returns>
    /// <exception cref="ArgumentException">The teacher is split otherwise than the meta model, or has another width.</exception>
    public Tensor TeacherLogits(Tensor entering, ModularVit teacher, int index)
    {
        RequireTeacher(teacher);
        return M2mKd.Hybrid(entering, x => teacher.Body(index, x), layers, Meta.Head, index);
    }

    /// <summary>Logits of the hybrid student.</summary>
    /// <param name="entering">Of <see cref="Entering"/>.</param>
    /// <param name="student">As many modules as the meta model, with stitches to its width (or of its width).</param>
    /// <param name="index">i.</param>
    /// <returns>[B, classes].</returns>
    /// <exception cref="ArgumentException">The student is split otherwise than the meta model, or does not lead to its width.</exception>
    public Tensor StudentLogits(Tensor entering, IModularStudent student, int index)
    {
        RequireStudent(student);
        bool isLast = index == Count - 1;
        return M2mKd.Hybrid(entering, x => student.InHybrid(index, x), layers, isLast ? null : Meta.Head, index);
    }

    /// <summary>Incubation of a teacher's module: the hybrid teacher's cross-entropy with the targets.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="targets">Distributions [B, classes].</param>
    /// <param name="teacher">The teacher; train its <c>ModuleAt(index)</c>.</param>
    /// <param name="index">i.</param>
    /// <exception cref="ArgumentException">See <see cref="TeacherLogits"/>.</exception>
    public LossTerms Incubate(Tensor images, Tensor targets, ModularVit teacher, int index)
    {
        using var scope = NewDisposeScope();
        var logits = TeacherLogits(Entering(images, index), teacher, index);
        return LossTerms.Of(M2mKd.Base, ClassBalance.SoftCrossEntropy(logits, targets).MoveToOuterDisposeScope());
    }

    /// <summary>A student's module follows the teacher's: <see cref="M2mKd.Loss"/> of both hybrids, behind one shared prefix.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="targets">Distributions [B, classes].</param>
    /// <param name="teacher">The teacher, a constant in evaluation mode.</param>
    /// <param name="student">The student; train its <c>ModuleAt(index)</c>.</param>
    /// <param name="index">i.</param>
    /// <param name="alpha">α, the share of distillation.</param>
    /// <param name="temperature">τ of the soft form.</param>
    /// <param name="kind">Soft or hard.</param>
    /// <exception cref="ArgumentException">See <see cref="TeacherLogits"/> and <see cref="StudentLogits"/>.</exception>
    public LossTerms Distil(
        Tensor images,
        Tensor targets,
        ModularVit teacher,
        IModularStudent student,
        int index,
        double alpha = 0.5,
        double temperature = 1.0,
        ModuleDistillation kind = ModuleDistillation.Soft
    )
    {
        RequireTeacher(teacher);
        RequireStudent(student);
        if (teacher.training)
            teacher.eval();
        using var scope = NewDisposeScope();
        var entering = Entering(images, index);
        Tensor wanted;
        using (no_grad())
            wanted = TeacherLogits(entering, teacher, index);
        var given = StudentLogits(entering, student, index);
        var terms = M2mKd.Loss(given, wanted, targets, alpha, temperature, kind);
        foreach (var (_, value, _) in terms.Terms)
            value.MoveToOuterDisposeScope();
        return terms;
    }

    /// <summary>Makes a model a constant: evaluation mode, and parameters without gradients.</summary>
    /// <param name="model">A trained model.</param>
    public static void Freeze(nn.Module model)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.eval();
        foreach (var parameter in model.parameters())
            parameter.requires_grad = false;
    }

    private void RequireTeacher(ModularVit teacher)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        RequireCount(teacher.ModuleCount, "teacher");
        if (teacher.Config.HiddenSize != Meta.Config.HiddenSize)
            throw new ArgumentException(
                $"The teacher's width is {teacher.Config.HiddenSize}, the meta model's {Meta.Config.HiddenSize}. A teacher's modules have no stitches: give both one width.",
                nameof(teacher)
            );
    }

    private void RequireStudent(IModularStudent student)
    {
        ArgumentNullException.ThrowIfNull(student);
        RequireCount(student.ModuleCount, "student");
        long width = student.StitchWidth ?? (student as ModularVit)?.Config.HiddenSize ?? -1;
        if (width != Meta.Config.HiddenSize)
            throw new ArgumentException(
                $"The student's modules lead to width {width}, but the meta model's is {Meta.Config.HiddenSize}. Set the student's StitchWidth to {Meta.Config.HiddenSize}.",
                nameof(student)
            );
    }

    private void RequireCount(int modules, string model)
    {
        if (modules != Count)
            throw new ArgumentException(
                $"The {model} has {modules} modules, but the meta model has {Count}. Split the {model} into {Count} modules (M2mKd.Split)."
            );
    }
}
