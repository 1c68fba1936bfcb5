using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>The switches of LeaF's distillation.</summary>
public sealed record LeafOptions
{
    /// <summary>λ, the weight of the original prompts; 1 - λ is that of the pruned ones. 1 is plain distillation. Default 0.5 †.</summary>
    public double OriginalWeight
    {
        get;
        init =>
            field = value is >= 0 and <= 1
                ? value
                : throw new ArgumentException($"{nameof(OriginalWeight)} must be from 0 to 1, but is {value}.");
    } = 0.5;

    /// <summary>T; 1 in every script of the authors.</summary>
    public double Temperature { get; init; } = 1.0;

    /// <summary>
    /// False is the authors' code: the mask of response tokens selects the logits at the same place, so that the first response token's prediction
    /// is left out and the one after the last is included. True selects the logits that predict response tokens.
    /// </summary>
    public bool IsShifted { get; init; }

    /// <summary>The code's <c>Entropy</c> variant: the teacher's entropy, a constant, is left out of the value.</summary>
    public bool OmitsTeacherEntropy { get; init; }

    internal DivergenceOptions Divergence =>
        new()
        {
            Temperature = Temperature,
            Alignment = IsShifted ? LabelAlignment.Shifted : LabelAlignment.SamePosition,
            OmitsTeacherEntropy = OmitsTeacherEntropy,
            TruncatesTeacherVocabulary = true,
        };
}

/// <summary>
/// LeaF (Guo et al., "Learning to Focus: Causal Attention Distillation via Gradient-Guided Token Pruning", arXiv 2506.07851): distillation of the
/// next-token distribution on prompts as they are and on prompts without the tokens that mislead the student.
/// </summary>
/// <remarks>
/// The parts: <see cref="LeafSensitivity"/> measures how a model's loss depends on each token, <see cref="LeafConfounders"/> finds the tokens that
/// the student leans on and the teacher does not, <see cref="LeafPruning"/> makes the prompts without them, and this class is the loss. Teacher and
/// student read the same prompt in each term. The paper weighs two terms by λ; its code trains on one file that mixes both kinds, where λ is the
/// share of original samples.
/// </remarks>
public static class Leaf
{
    /// <summary>The weight of <see cref="HiddenLoss"/> in the authors' code, where the term is off by default.</summary>
    public const double HiddenWeight = 10.0;

    /// <summary>KL(teacher || student) over the vocabulary times T², mean over the batch's response places.</summary>
    /// <param name="teacherLogits">[B, L, Vt], Vt at least V: cut to the student's V before the softmax. Receives no gradient.</param>
    /// <param name="studentLogits">[B, L, V].</param>
    /// <param name="responseMask">bool [B, L], true = response token (the labels that are not -100); null when all are.</param>
    /// <param name="options">Temperature and alignment; null for the defaults.</param>
    /// <returns>A scalar; 0 when no place counts.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static Tensor LogitLoss(
        Tensor teacherLogits,
        Tensor studentLogits,
        Tensor? responseMask,
        LeafOptions? options = null
    ) => Divergences.KlDivergence(teacherLogits, studentLogits, responseMask, (options ?? new()).Divergence);

    /// <summary>λ KL(original) + (1 - λ) KL(pruned), terms <c>original</c> and <c>counterfactual</c>.</summary>
    /// <param name="teacherLogits">[B, L, Vt] on the original prompts.</param>
    /// <param name="studentLogits">[B, L, V].</param>
    /// <param name="responseMask">bool [B, L]; null when all places count.</param>
    /// <param name="prunedTeacherLogits">[B', L', Vt] on the pruned prompts.</param>
    /// <param name="prunedStudentLogits">[B', L', V].</param>
    /// <param name="prunedResponseMask">bool [B', L']; null when all places count.</param>
    /// <param name="options">λ, temperature, alignment; null for the defaults.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static LossTerms Loss(
        Tensor teacherLogits,
        Tensor studentLogits,
        Tensor? responseMask,
        Tensor prunedTeacherLogits,
        Tensor prunedStudentLogits,
        Tensor? prunedResponseMask,
        LeafOptions? options = null
    )
    {
        options ??= new();
        return new LossTerms()
            .Add("original", LogitLoss(teacherLogits, studentLogits, responseMask, options), options.OriginalWeight)
            .Add(
                "counterfactual",
                LogitLoss(prunedTeacherLogits, prunedStudentLogits, prunedResponseMask, options),
                1.0 - options.OriginalWeight
            );
    }

    /// <summary>
    /// The same loss where one batch holds both kinds, originals first, as one forward pass makes them.
    /// </summary>
    /// <param name="teacherLogits">[B, L, Vt].</param>
    /// <param name="studentLogits">[B, L, V].</param>
    /// <param name="responseMask">bool [B, L]; null when all places count.</param>
    /// <param name="originals">How many of the first rows are original prompts, 0 to B.</param>
    /// <param name="options">λ, temperature, alignment; null for the defaults.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or there are not so many rows.</exception>
    public static LossTerms MixedLoss(
        Tensor teacherLogits,
        Tensor studentLogits,
        Tensor? responseMask,
        long originals,
        LeafOptions? options = null
    )
    {
        Shapes.Require(teacherLogits, "[B, L, V]");
        Shapes.Require(studentLogits, "[B, L, V]");
        long rows = studentLogits.size(0),
            pruned = rows - originals;
        if (originals < 0 || pruned < 0)
            throw new ArgumentException($"Of {rows} rows {originals} cannot be originals.", nameof(originals));
        if (pruned == 0)
            return LossTerms.Of("original", LogitLoss(teacherLogits, studentLogits, responseMask, options));
        if (originals == 0)
            return LossTerms.Of("counterfactual", LogitLoss(teacherLogits, studentLogits, responseMask, options));
        return Loss(
            teacherLogits.narrow(0, 0, originals),
            studentLogits.narrow(0, 0, originals),
            responseMask?.narrow(0, 0, originals),
            teacherLogits.narrow(0, originals, pruned),
            studentLogits.narrow(0, originals, pruned),
            responseMask?.narrow(0, originals, pruned),
            options
        );
    }

    /// <summary>
    /// The code's optional term: squared distance of hidden states of unit length, averaged over layers and channels, mean over response places.
    /// </summary>
    /// <param name="teacher">[N, B, L, C], N layers; receives no gradient.</param>
    /// <param name="student">[N, B, L, C].</param>
    /// <param name="responseMask">bool [B, L]; null when all places count.</param>
    /// <param name="weight">β.</param>
    /// <returns>A scalar; 0 when no place counts.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor HiddenLoss(Tensor teacher, Tensor student, Tensor? responseMask, double weight = HiddenWeight)
    {
        Shapes.Require(student, "[N, B, L, C]");
        Shapes.RequireExact(teacher, student.shape);
        using var scope = NewDisposeScope();
        var type = student.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var difference =
            nn.functional.normalize(student.to(type), dim: -1) - nn.functional.normalize(teacher.detach().to(type), dim: -1);
        return (
            MaskedReductions.MeanOverPositions(difference.square().mean([0], keepdim: false), responseMask) * weight
        ).MoveToOuterDisposeScope();
    }
}
