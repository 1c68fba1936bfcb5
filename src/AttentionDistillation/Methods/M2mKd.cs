using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How a hybrid student follows a hybrid teacher.</summary>
public enum ModuleDistillation
{
    /// <summary>τ² times the KL of the class distributions, mean over ALL elements [n, C].</summary>
    Soft,

    /// <summary>Cross-entropy with the teacher's first class.</summary>
    Hard,
}

/// <summary>
/// Module-to-module distillation: a shallow meta model, one layer a module, is trained and frozen; a teacher is split into as many modules. A teacher's module
/// and a student's are each put into the meta model in place of its layer, and the classes that the two hybrids give are matched. The student's modules are
/// then assembled and trained end to end.
/// </summary>
/// <remarks>
/// Lo et al., "m2mKD: Module-to-Module Knowledge Distillation for Modular Transformers", 2024 (arXiv 2402.16918) and its code. Symbols: modules i = 0 … L − 1,
/// meta layers M_i, teacher's modules T_i, student's S_i with stitching layers pre_i and post_i; logits z_s, z_t [n, C].
/// </remarks>
public static class M2mKd
{
    /// <summary>Name of the label term.</summary>
    public const string Base = "base";

    /// <summary>Name of the distillation term.</summary>
    public const string Distil = "distil";

    /// <summary>(1 − α) · cross-entropy(z_s, target) + α · D(z_t, z_s).</summary>
    /// <param name="student">z_s, [n, C].</param>
    /// <param name="teacher">z_t, [n, C]; a constant.</param>
    /// <param name="target">Mixed or smoothed labels, distributions [n, C].</param>
    /// <param name="alpha">α, the share of distillation.</param>
    /// <param name="temperature">τ of the soft form.</param>
    /// <param name="kind">Soft or hard.</param>
    /// <remarks>The mean over all elements makes the soft term C times smaller than the usual mean over examples: α = 0.5 only looks balanced.</remarks>
    /// <exception cref="ArgumentException">Shapes differ, or a number is out of its range.</exception>
    public static LossTerms Loss(
        Tensor student,
        Tensor teacher,
        Tensor target,
        double alpha = 0.5,
        double temperature = 1.0,
        ModuleDistillation kind = ModuleDistillation.Soft
    )
    {
        Shapes.Require(student, "[n, C]");
        Shapes.RequireExact(teacher, student.shape);
        Shapes.RequireExact(target, student.shape);
        if (!(alpha is >= 0 and <= 1) || !(temperature > 0))
            throw new ArgumentException(
                $"Alpha must be from 0 to 1 and the temperature above 0, but they are {alpha} and {temperature}."
            );
        var labels = ClassBalance.SoftCrossEntropy(student, target);
        var distil =
            kind == ModuleDistillation.Hard
                ? ClassBalance.CrossEntropy(student, teacher.detach().argmax(-1), null)
                : Divergences.KlDivergence(
                    teacher,
                    student,
                    null,
                    new DivergenceOptions { Temperature = temperature, Reduction = DivergenceReduction.Elements }
                );
        return new LossTerms().Add(Base, labels, 1 - alpha).Add(Distil, distil, alpha);
    }

    /// <summary>Labels as distributions, with smoothing as PyTorch's cross-entropy has it.</summary>
    /// <param name="labels">int64 [n].</param>
    /// <param name="classes">C.</param>
    /// <param name="smoothing">Share spread evenly over all classes.</param>
    public static Tensor Targets(Tensor labels, long classes, double smoothing = 0.0) =>
        SoftLabels.Smoothed(labels, classes, smoothing);

    /// <summary>What enters module i: the meta layers before it, computed once and without gradient.</summary>
    /// <param name="input">What enters the meta model.</param>
    /// <param name="meta">The meta layers M_0 … M_{L−1}, in evaluation.</param>
    /// <param name="index">i.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such module.</exception>
    public static Tensor Prefix(Tensor input, IReadOnlyList<Func<Tensor, Tensor>> meta, int index)
    {
        RequireIndex(meta, index);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        return Through(input.alias(), meta, 0, index).detach().MoveToOuterDisposeScope();
    }

    /// <summary>A hybrid: a module in place of meta layer i, then the later meta layers, through which gradients pass, then the meta model's head.</summary>
    /// <param name="entering">What enters module i (see <see cref="Prefix"/>).</param>
    /// <param name="module">The module with its stitching layers.</param>
    /// <param name="meta">The meta layers; their weights are constants.</param>
    /// <param name="head">The meta model's head; null where the module ends in a head of its own (the last of a student).</param>
    /// <param name="index">i.</param>
    /// <returns>Logits [n, C].</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no such module.</exception>
    public static Tensor Hybrid(
        Tensor entering,
        Func<Tensor, Tensor> module,
        IReadOnlyList<Func<Tensor, Tensor>> meta,
        Func<Tensor, Tensor>? head,
        int index
    )
    {
        ArgumentNullException.ThrowIfNull(module);
        RequireIndex(meta, index);
        using var scope = NewDisposeScope();
        var leaving = Through(module(entering), meta, index + 1, meta.Count);
        return (head is null ? leaving.alias() : head(leaving)).MoveToOuterDisposeScope();
    }

    /// <summary>How a teacher's layers are split over modules: as evenly as can be, the first modules taking what is left over.</summary>
    /// <param name="layers">Layers of the teacher.</param>
    /// <param name="modules">L.</param>
    /// <returns>First layer and number of layers of each module.</returns>
    /// <exception cref="ArgumentException">There are fewer layers than modules.</exception>
    public static IReadOnlyList<(int First, int Count)> Split(int layers, int modules)
    {
        if (modules < 1 || layers < modules)
            throw new ArgumentException(
                $"{layers} layers cannot be split into {modules} modules. Use at most one module a layer."
            );
        var parts = new List<(int, int)>();
        for (int module = 0, first = 0; module < modules; module++)
        {
            int count = layers / modules + (module < layers % modules ? 1 : 0);
            parts.Add((first, count));
            first += count;
        }
        return parts;
    }

    private static Tensor Through(Tensor hidden, IReadOnlyList<Func<Tensor, Tensor>> layers, int first, int end)
    {
        for (int layer = first; layer < end; layer++)
            hidden = layers[layer](hidden);
        return hidden;
    }

    private static void RequireIndex(IReadOnlyList<Func<Tensor, Tensor>> meta, int index)
    {
        ArgumentNullException.ThrowIfNull(meta);
        if (index < 0 || index >= meta.Count)
            throw new ArgumentOutOfRangeException(nameof(index), index, $"The meta model has modules 0 to {meta.Count - 1}.");
    }
}
