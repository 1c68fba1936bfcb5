using AttentionDistillation.Losses;
using AttentionDistillation.Models.Quantization;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>Weights of <see cref="QuantizedDistillation.Loss"/>; the defaults are the official code's but for the reduction.</summary>
public sealed record QuantizedDistillationOptions
{
    /// <summary>T.</summary>
    public double Temperature { get; init; } = 2.0;

    /// <summary>Weight of the teacher's distribution, 0 to 1; the labels have the rest.</summary>
    public double DistillationWeight { get; init; } = 0.7;

    /// <summary>
    /// <see cref="DivergenceReduction.Tokens"/> averages over the images; <see cref="DivergenceReduction.Elements"/> also over the classes, as the official code did
    /// by the default of its PyTorch, which makes the teacher's share smaller by the number of classes.
    /// </summary>
    public DivergenceReduction Reduction { get; init; } = DivergenceReduction.Tokens;
}

/// <summary>
/// Model compression via distillation and quantization (Polino, Pascanu and Alistarh, arXiv 1802.05668, ICLR 2018). Quantized distillation: the student's
/// weights are projected to levels before every pass (<see cref="ModelQuantizer"/>) and the loss of a teacher is taken there. Differentiable quantization: the
/// weights stay, and the levels are learned (<see cref="LearnedLevels"/>).
/// </summary>
public static class QuantizedDistillation
{
    /// <summary>The term of the teacher: KL(teacher || student), without T².</summary>
    public const string DistillationTerm = "kl";

    /// <summary>The term of the labels.</summary>
    public const string LabelTerm = "ce";

    /// <summary>w T² KL(teacher || student) + (1 - w) CE.</summary>
    /// <param name="student">[B, V].</param>
    /// <param name="teacher">[B, V]; receives no gradient.</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="options">Weights; null for the defaults.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static LossTerms Loss(Tensor student, Tensor teacher, Tensor labels, QuantizedDistillationOptions? options = null)
    {
        options ??= new();
        Shapes.Require(student, "[B, V]");
        if (options.DistillationWeight is not (>= 0 and <= 1))
            throw new ArgumentException($"The teacher's weight must be between 0 and 1, but is {options.DistillationWeight}.");
        var divergence = new DivergenceOptions
        {
            Temperature = options.Temperature,
            Reduction = options.Reduction,
            ScalesByTemperatureSquared = false,
        };
        return new LossTerms()
            .Add(
                DistillationTerm,
                Divergences.KlDivergence(teacher, student, null, divergence),
                options.DistillationWeight * options.Temperature * options.Temperature
            )
            .Add(LabelTerm, TokenPrediction.CrossEntropy(student, labels), 1 - options.DistillationWeight);
    }

    /// <summary>
    /// Deals out levels by need: each tensor keeps half of its levels, the other halves form a pool dealt in proportion to the norms of the tensors' gradients
    /// (halves to even). What was dealt too much is taken from the tensor with most levels, what is left goes to the one with fewest (the first of equals).
    /// </summary>
    /// <param name="norms">Norm of each tensor's gradient over a few batches, not all 0.</param>
    /// <param name="counts">Levels that each tensor would have, 1 or more.</param>
    /// <returns>Levels of each tensor, the sum as before.</returns>
    /// <exception cref="ArgumentException">The lists differ in length or are empty, or a number is out of range.</exception>
    public static int[] AssignPoints(IReadOnlyList<double> norms, IReadOnlyList<int> counts)
    {
        ArgumentNullException.ThrowIfNull(norms);
        ArgumentNullException.ThrowIfNull(counts);
        double whole = norms.Sum();
        if (norms.Count != counts.Count || counts.Any(count => count < 1) || norms.Any(norm => !(norm >= 0)) || !(whole > 0))
            throw new ArgumentException(
                $"Levels are dealt by one norm (0 or more, not all 0) and one count (1 or more) for each tensor, but the norms are [{string.Join(", ", norms)}] and the counts [{string.Join(", ", counts)}]."
            );
        int pool = counts.Sum(count => count - count / 2);
        int[] points =
        [
            .. counts.Select(
                (count, tensor) => count / 2 + (int)Math.Round(norms[tensor] / whole * pool, MidpointRounding.ToEven)
            ),
        ];
        int excess = points.Sum() - counts.Sum();
        if (excess > 0)
            points[Array.IndexOf(points, points.Max())] -= excess;
        else if (excess < 0)
            points[Array.IndexOf(points, points.Min())] -= excess;
        return points;
    }
}
