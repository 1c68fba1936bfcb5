using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>
/// Metrics of classifiers as fractions (not percent). Labels equal to <see cref="Batch.IgnoredLabel"/> and positions outside the mask do not count;
/// NaN when none does.
/// </summary>
public static class ClassificationMetrics
{
    /// <summary>The number of bins in Guo et al. 2017.</summary>
    public const int CalibrationBins = 15;

    /// <summary>Share of right predictions.</summary>
    /// <param name="predicted">Classes, int64 [...].</param>
    /// <param name="labels">Classes, int64 [...].</param>
    /// <param name="mask">bool [...], true = counts; null when all count.</param>
    /// <exception cref="ArgumentException">Shapes differ.</exception>
    public static double Accuracy(Tensor predicted, Tensor labels, Tensor? mask)
    {
        var (guesses, truths) = Counted(predicted, labels, mask);
        return guesses.Length == 0
            ? double.NaN
            : guesses.Zip(truths).Count(pair => pair.First == pair.Second) / (double)guesses.Length;
    }

    /// <summary>Unweighted mean of the classes' F1 = 2 TP / (2 TP + FP + FN), over the classes that occur in labels or predictions (as scikit-learn does).</summary>
    /// <inheritdoc cref="Accuracy"/>
    public static double MacroF1(Tensor predicted, Tensor labels, Tensor? mask)
    {
        var (guesses, truths) = Counted(predicted, labels, mask);
        var f1 = guesses
            .Union(truths)
            .Select(label =>
            {
                int right = guesses.Zip(truths).Count(pair => pair.First == label && pair.Second == label);
                return 2.0 * right / (guesses.Count(guess => guess == label) + truths.Count(truth => truth == label));
            })
            .ToArray();
        return f1.Length == 0 ? double.NaN : f1.Average();
    }

    /// <summary>
    /// Mean over classes of TP / (TP + FP + FN), the classes that occur in labels or predictions: the usual figure of segmentation, over all places at once.
    /// </summary>
    /// <inheritdoc cref="Accuracy"/>
    public static double MeanIntersectionOverUnion(Tensor predicted, Tensor labels, Tensor? mask)
    {
        var (guesses, truths) = Counted(predicted, labels, mask);
        if (guesses.Length == 0)
            return double.NaN;
        var (guessed, occurring, both) = (
            guesses.CountBy(label => label).ToDictionary(),
            truths.CountBy(label => label).ToDictionary(),
            guesses.Zip(truths).Where(pair => pair.First == pair.Second).CountBy(pair => pair.First).ToDictionary()
        );
        return guessed
            .Keys.Union(occurring.Keys)
            .Average(label =>
            {
                double right = both.GetValueOrDefault(label);
                return right / (guessed.GetValueOrDefault(label) + occurring.GetValueOrDefault(label) - right);
            });
    }

    /// <summary>Matthews correlation for any number of classes (Gorodkin 2004, R_K), between -1 and 1; 0 when labels or predictions are all of one class.</summary>
    /// <inheritdoc cref="Accuracy"/>
    public static double MatthewsCorrelation(Tensor predicted, Tensor labels, Tensor? mask)
    {
        var (guesses, truths) = Counted(predicted, labels, mask);
        if (guesses.Length == 0)
            return double.NaN;
        var (guessed, occurring) = (
            guesses.CountBy(label => label).ToDictionary(),
            truths.CountBy(label => label).ToDictionary()
        );
        double n = guesses.Length,
            right = guesses.Zip(truths).Count(pair => pair.First == pair.Second),
            product = guessed.Sum(pair => (double)pair.Value * occurring.GetValueOrDefault(pair.Key)),
            guessedSquares = guessed.Values.Sum(count => (double)count * count),
            occurringSquares = occurring.Values.Sum(count => (double)count * count);
        double bound = Math.Sqrt((n * n - guessedSquares) * (n * n - occurringSquares));
        return bound == 0 ? 0 : (right * n - product) / bound;
    }

    /// <summary>
    /// Expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3): confidences in equal bins (k/n, (k+1)/n],
    /// mean over examples of |accuracy - confidence| of their bin.
    /// </summary>
    /// <param name="probabilities">[..., K], each row a distribution.</param>
    /// <param name="labels">int64 [...].</param>
    /// <param name="mask">bool [...], true = counts; null when all count.</param>
    /// <param name="bins">The number of bins.</param>
    /// <exception cref="ArgumentException">Shapes differ, or there are no bins.</exception>
    public static double ExpectedCalibrationError(
        Tensor probabilities,
        Tensor labels,
        Tensor? mask,
        int bins = CalibrationBins
    ) => Calibration.OfProbabilities(probabilities, labels, mask, bins).ExpectedError;

    /// <summary>Perplexity: e to the mean negative log likelihood in nats per token.</summary>
    public static double Perplexity(double meanNegativeLogLikelihood) => Math.Exp(meanNegativeLogLikelihood);

    private static (long[] Guesses, long[] Truths) Counted(Tensor predicted, Tensor labels, Tensor? mask)
    {
        RequireSameShape(predicted, labels);
        bool[] counts = Counts(labels, mask);
        long[] guesses = Flat<long>(predicted),
            truths = Flat<long>(labels);
        return ([.. guesses.Where((_, index) => counts[index])], [.. truths.Where((_, index) => counts[index])]);
    }

    internal static bool[] Counts(Tensor labels, Tensor? mask)
    {
        if (mask is not null)
            Shapes.RequireExact(mask, labels.shape);
        using var scope = NewDisposeScope();
        var counts = labels != Batch.IgnoredLabel;
        return Flat<bool>(mask is null ? counts : counts.logical_and(mask));
    }

    internal static T[] Flat<T>(Tensor tensor)
        where T : unmanaged
    {
        using var scope = NewDisposeScope();
        return tensor.detach().cpu().contiguous().data<T>().ToArray();
    }

    internal static void RequireSameShape(Tensor predicted, Tensor labels)
    {
        if (!predicted.shape.SequenceEqual(labels.shape))
            throw new ArgumentException(
                $"Predictions and labels must have the same shape, but are {Shapes.Describe(predicted)} and {Shapes.Describe(labels)}."
            );
    }
}
