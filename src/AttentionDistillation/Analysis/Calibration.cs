using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>One bin of a reliability diagram.</summary>
/// <param name="Lower">Confidences above this lie in the bin (the lowest bin also holds 0).</param>
/// <param name="Upper">Up to and including this.</param>
/// <param name="Count">Examples in the bin.</param>
/// <param name="Accuracy">Share of right predictions; 0 in an empty bin.</param>
/// <param name="Confidence">Mean confidence; 0 in an empty bin.</param>
public readonly record struct CalibrationBin(double Lower, double Upper, long Count, double Accuracy, double Confidence);

/// <summary>
/// How far a classifier's confidence is from its accuracy, with the bins of the reliability diagram (Guo et al. 2017, "On Calibration of Modern Neural
/// Networks", section 2). Fractions, not percent; NaN when no example counts.
/// </summary>
/// <param name="ExpectedError">ECE: mean over examples of |accuracy - confidence| of their bin. Biased upwards in small sets: quote the next two beside it.</param>
/// <param name="MaximumError">MCE: the largest |accuracy - confidence| of a bin that holds examples.</param>
/// <param name="Accuracy">Share of right predictions.</param>
/// <param name="NegativeLogLikelihood">Mean -ln p(label), in nats.</param>
/// <param name="Brier">Mean over examples of the squared distance to the one-hot label, summed over the classes, between 0 and 2.</param>
/// <param name="Bins">The bins (k/n, (k+1)/n], from the lowest.</param>
public sealed record Calibration(
    double ExpectedError,
    double MaximumError,
    double Accuracy,
    double NegativeLogLikelihood,
    double Brier,
    IReadOnlyList<CalibrationBin> Bins
)
{
    /// <summary>Calibration of logits, taken at temperature 1.</summary>
    /// <param name="logits">[..., K].</param>
    /// <param name="labels">int64 [...]; <see cref="Tensors.Batch.IgnoredLabel"/> does not count.</param>
    /// <param name="mask">bool [...], true = counts; null when all count.</param>
    /// <param name="bins">The number of bins.</param>
    /// <exception cref="ArgumentException">Shapes differ, or there are no bins.</exception>
    public static Calibration OfLogits(
        Tensor logits,
        Tensor labels,
        Tensor? mask,
        int bins = ClassificationMetrics.CalibrationBins
    )
    {
        ArgumentNullException.ThrowIfNull(logits);
        using var scope = NewDisposeScope();
        return OfLogarithms(nn.functional.log_softmax(logits.detach().to(ScalarType.Float64), -1), labels, mask, bins);
    }

    /// <summary>Calibration of distributions.</summary>
    /// <param name="probabilities">[..., K], each row a distribution.</param>
    /// <param name="labels">int64 [...]; <see cref="Tensors.Batch.IgnoredLabel"/> does not count.</param>
    /// <param name="mask">bool [...], true = counts; null when all count.</param>
    /// <param name="bins">The number of bins.</param>
    /// <exception cref="ArgumentException">Shapes differ, or there are no bins.</exception>
    public static Calibration OfProbabilities(
        Tensor probabilities,
        Tensor labels,
        Tensor? mask,
        int bins = ClassificationMetrics.CalibrationBins
    )
    {
        ArgumentNullException.ThrowIfNull(probabilities);
        using var scope = NewDisposeScope();
        return OfRows(
            probabilities.detach().to(ScalarType.Float64),
            probabilities.detach().to(ScalarType.Float64).log(),
            labels,
            mask,
            bins
        );
    }

    private static Calibration OfLogarithms(Tensor logarithms, Tensor labels, Tensor? mask, int bins) =>
        OfRows(logarithms.exp(), logarithms, labels, mask, bins);

    private static Calibration OfRows(Tensor probabilities, Tensor logarithms, Tensor labels, Tensor? mask, int bins)
    {
        if (bins < 1)
            throw new ArgumentException($"There must be at least one bin, but bins is {bins}.", nameof(bins));
        using var scope = NewDisposeScope();
        var (confidence, guess) = probabilities.max(-1);
        ClassificationMetrics.RequireSameShape(guess, labels);
        bool[] counts = ClassificationMetrics.Counts(labels, mask);
        // Labels that do not count may lie outside the classes; any class does for them.
        var places = labels.to(probabilities.device).clamp(0, probabilities.shape[^1] - 1).unsqueeze(-1);
        double[] confidences = ClassificationMetrics.Flat<double>(confidence),
            likelihoods = ClassificationMetrics.Flat<double>(logarithms.gather(-1, places).squeeze(-1)),
            ofLabel = ClassificationMetrics.Flat<double>(probabilities.gather(-1, places).squeeze(-1)),
            squares = ClassificationMetrics.Flat<double>(probabilities.square().sum(-1));
        long[] guesses = ClassificationMetrics.Flat<long>(guess),
            truths = ClassificationMetrics.Flat<long>(labels);
        int[] counted = [.. Enumerable.Range(0, counts.Length).Where(example => counts[example])];
        var byBin = counted.ToLookup(example => Math.Clamp((int)Math.Ceiling(confidences[example] * bins) - 1, 0, bins - 1));
        CalibrationBin[] all =
        [
            .. Enumerable
                .Range(0, bins)
                .Select(bin => new CalibrationBin(
                    bin / (double)bins,
                    (bin + 1) / (double)bins,
                    byBin[bin].Count(),
                    byBin[bin].Select(example => guesses[example] == truths[example] ? 1.0 : 0.0).DefaultIfEmpty(0).Average(),
                    byBin[bin].Select(example => confidences[example]).DefaultIfEmpty(0).Average()
                )),
        ];
        if (counted.Length == 0)
            return new(double.NaN, double.NaN, double.NaN, double.NaN, double.NaN, all);
        return new(
            all.Sum(bin => bin.Count * Math.Abs(bin.Accuracy - bin.Confidence)) / counted.Length,
            all.Where(bin => bin.Count > 0).Max(bin => Math.Abs(bin.Accuracy - bin.Confidence)),
            counted.Average(example => guesses[example] == truths[example] ? 1.0 : 0.0),
            -counted.Average(example => likelihoods[example]),
            // |p - onehot|² = Σ p² - 2 p(label) + 1
            counted.Average(example => squares[example] - 2 * ofLabel[example] + 1),
            all
        );
    }
}
