using AttentionDistillation.Losses;
using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>What Minitron's logit distillation compares.</summary>
public enum MinitronLogitForm
{
    /// <summary>KL of the distributions: the paper's choice.</summary>
    KlDivergence,

    /// <summary>Squared distance of the probability vectors, summed over the vocabulary.</summary>
    MeanSquaredError,

    /// <summary>1 - cosine of the probability vectors.</summary>
    Cosine,
}

/// <summary>What Minitron's intermediate loss compares.</summary>
public enum MinitronHiddenForm
{
    /// <summary>1 - cosine, as the authors' tool.</summary>
    Cosine,

    /// <summary>Squared distance, summed over the channels.</summary>
    SumOfSquares,
}

/// <summary>
/// The retraining losses of Minitron (Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation", arXiv 2407.14679, section
/// 3): per-token KL of the logits, an intermediate loss through a learned projection, and their balance.
/// </summary>
public static class Minitron
{
    /// <summary>The paper's divergence: KL(teacher || student), mean over tokens, without the factor T².</summary>
    public static DivergenceOptions LogitOptions { get; } = new() { ScalesByTemperatureSquared = false };

    /// <summary>Logit distillation, mean over the tokens that count.</summary>
    /// <param name="teacherLogits">[B, L, V]; receives no gradient.</param>
    /// <param name="studentLogits">[B, L, V].</param>
    /// <param name="mask">bool [B, L], true = counts; null when all do.</param>
    /// <param name="form">What is compared.</param>
    /// <param name="options">Temperature, direction, top classes; null for <see cref="LogitOptions"/>.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static Tensor LogitLoss(
        Tensor teacherLogits,
        Tensor studentLogits,
        Tensor? mask,
        MinitronLogitForm form = MinitronLogitForm.KlDivergence,
        DivergenceOptions? options = null
    )
    {
        options ??= LogitOptions;
        return form switch
        {
            MinitronLogitForm.KlDivergence => Divergences.KlDivergence(teacherLogits, studentLogits, mask, options),
            MinitronLogitForm.MeanSquaredError => Divergences.ProbabilitySquaredError(
                teacherLogits,
                studentLogits,
                mask,
                options
            ),
            MinitronLogitForm.Cosine => Divergences.ProbabilityCosineDistance(teacherLogits, studentLogits, mask, options),
            _ => throw new ArgumentOutOfRangeException(nameof(form), form, "Unknown form."),
        };
    }

    /// <summary>The intermediate loss of one pair of hidden states, the student's already projected to the teacher's width.</summary>
    /// <param name="teacher">[B, L, Ct]; receives no gradient.</param>
    /// <param name="projected">[B, L, Ct].</param>
    /// <param name="mask">bool [B, L], true = counts; null when all do.</param>
    /// <param name="form">What is compared.</param>
    /// <returns>A scalar, mean over tokens.</returns>
    public static Tensor HiddenLoss(
        Tensor teacher,
        Tensor projected,
        Tensor? mask,
        MinitronHiddenForm form = MinitronHiddenForm.Cosine
    ) =>
        form switch
        {
            MinitronHiddenForm.Cosine => HiddenStates.CosineDistance(teacher, projected, mask),
            MinitronHiddenForm.SumOfSquares => HiddenStates.MeanSquaredError(teacher, projected, mask) * teacher.shape[^1],
            _ => throw new ArgumentOutOfRangeException(nameof(form), form, "Unknown form."),
        };

    /// <summary>
    /// Joins the losses, each brought to the size of another by a factor that is a constant for the gradient: hidden losses to the logit loss, and
    /// distillation to the language-model loss.
    /// </summary>
    /// <param name="logitLoss">Scalar L_logit.</param>
    /// <param name="hiddenLosses">[N], or null for none; their mean counts.</param>
    /// <param name="languageLoss">Scalar L_LM; null drops it, which is the paper's best practice.</param>
    /// <param name="distillationScale">Weight of distillation beside the language-model loss.</param>
    /// <returns>
    /// L_logit + stop(L_logit / mean hidden) mean hidden; with a language-model loss L_LM + scale stop(L_LM / that) that. A factor whose denominator is 0
    /// is 0: a term that is 0 has nothing to add.
    /// </returns>
    public static Tensor Balance(Tensor logitLoss, Tensor? hiddenLosses, Tensor? languageLoss, double distillationScale = 1.0)
    {
        ArgumentNullException.ThrowIfNull(logitLoss);
        using var scope = NewDisposeScope();
        var distillation = logitLoss;
        if (hiddenLosses is not null)
        {
            var hidden = hiddenLosses.mean();
            distillation = logitLoss + Ratio(logitLoss, hidden) * hidden;
        }
        var total = languageLoss is null
            ? distillation.alias()
            : languageLoss + Ratio(languageLoss, distillation) * distillation * distillationScale;
        return total.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Parameters of a decoder without biases, with a feed-forward block of two matrices (squared ReLU) and untied embeddings, as Nemotron-4 has it.
    /// </summary>
    /// <param name="layers">Number of layers.</param>
    /// <param name="hidden">C.</param>
    /// <param name="heads">Query heads.</param>
    /// <param name="groups">Key heads.</param>
    /// <param name="feedForward">Inner width.</param>
    /// <param name="headWidth">D.</param>
    /// <param name="vocabulary">V.</param>
    /// <returns>Parameters without and with the two embedding tables; norms are left out.</returns>
    public static (double NonEmbedding, double Total) Parameters(
        double layers,
        double hidden,
        double heads,
        double groups,
        double feedForward,
        double headWidth,
        double vocabulary
    )
    {
        double layer = 2 * hidden * heads * headWidth + 2 * hidden * groups * headWidth + 2 * hidden * feedForward;
        return (layers * layer, layers * layer + 2 * vocabulary * hidden);
    }

    private static Tensor Ratio(Tensor numerator, Tensor denominator)
    {
        var (above, below) = (numerator.detach(), denominator.detach());
        var none = below == 0.0;
        return (above / below.masked_fill(none, 1.0)).masked_fill(none, 0.0);
    }
}

/// <summary>
/// The learned projections of Minitron's intermediate loss, a linear layer for each pair of hidden states; trained with the student and dropped
/// afterwards.
/// </summary>
public sealed class MinitronProjections : nn.Module
{
    private readonly ModuleList<Linear> projections;

    /// <summary>Builds the projections.</summary>
    /// <param name="studentWidth">Cs.</param>
    /// <param name="teacherWidth">Ct.</param>
    /// <param name="pairs">The pairs (teacher state, student state) that are compared; 0 is the embedding's output.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">There are no pairs.</exception>
    public MinitronProjections(long studentWidth, long teacherWidth, IReadOnlyList<(int Teacher, int Student)> pairs, long seed)
        : base(nameof(MinitronProjections))
    {
        ArgumentNullException.ThrowIfNull(pairs);
        if (pairs.Count == 0)
            throw new ArgumentException("The intermediate loss needs a pair of hidden states.", nameof(pairs));
        Pairs = pairs;
        var layers = new SeededLayers(Seeds.Derive(seed, "minitron projections"), 1.0 / Math.Sqrt(studentWidth));
        projections = new ModuleList<Linear>([.. pairs.Select(_ => layers.Linear(studentWidth, teacherWidth))]);
        RegisterComponents();
    }

    /// <summary>Which hidden states are compared.</summary>
    public IReadOnlyList<(int Teacher, int Student)> Pairs { get; }

    /// <summary>The loss of every pair.</summary>
    /// <param name="teacher">Gives the teacher's hidden state of a number, [B, L, Ct].</param>
    /// <param name="student">Gives the student's, [B, L, Cs].</param>
    /// <param name="mask">bool [B, L], true = counts; null when all do.</param>
    /// <param name="form">What is compared.</param>
    /// <returns>[N].</returns>
    public Tensor Losses(
        Func<int, Tensor> teacher,
        Func<int, Tensor> student,
        Tensor? mask,
        MinitronHiddenForm form = MinitronHiddenForm.Cosine
    )
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        using var scope = NewDisposeScope();
        var losses = Pairs.Select(
            (pair, number) =>
                Minitron.HiddenLoss(teacher(pair.Teacher), projections[number].Project(student(pair.Student)), mask, form)
        );
        return stack(losses.ToArray()).MoveToOuterDisposeScope();
    }
}
