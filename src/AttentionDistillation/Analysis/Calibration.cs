using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>One bin of confidences.</summary>
/// <param name="Confidence">Mean confidence of its samples; 0 when it is empty.</param>
/// <param name="Accuracy">Share of them that are right; 0 when it is empty.</param>
/// <param name="Count">How many there are.</param>
public readonly record struct CalibrationBin(double Confidence, double Accuracy, int Count);

/// <summary>How far a classifier's confidences can be believed.</summary>
/// <remarks>
/// Guo et al. 2017, "On Calibration of Modern Neural Networks", equations 2 to 5: confidence = largest softmax probability, in bins (k/n, (k+1)/n].
/// The calibration errors are biased upwards on small samples; quote <see cref="NegativeLogLikelihood"/> and <see cref="Brier"/> beside them.
/// </remarks>
/// <param name="Expected">ECE: mean over samples of |accuracy - confidence| of their bin.</param>
/// <param name="Maximum">MCE: the largest |accuracy - confidence| of a bin that is not empty.</param>
/// <param name="Accuracy">Share of samples whose likeliest class is the label.</param>
/// <param name="NegativeLogLikelihood">Mean of -log p(label), nats.</param>
/// <param name="Brier">Mean squared distance of the probabilities to the label's one-hot vector, summed over classes.</param>
/// <param name="Bins">The bins, from the lowest confidence.</param>
public sealed record Calibration(
    double Expected,
    double Maximum,
    double Accuracy,
    double NegativeLogLikelihood,
    double Brier,
    IReadOnlyList<CalibrationBin> Bins
)
{
    /// <summary>Measures a classifier's scores.</summary>
    /// <param name="logits">[n, C], any float type.</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="bins">Number of bins.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, there are no samples or no bins.</exception>
    public static Calibration Of(Tensor logits, Tensor labels, int bins = ClassificationMetrics.CalibrationBins)
    {
        Shapes.Require(logits, "[n, C]");
        Shapes.RequireExact(labels, [logits.size(0)]);
        if (bins < 1)
            throw new ArgumentException($"There must be at least one bin, but bins is {bins}.", nameof(bins));
        if (logits.size(0) == 0)
            throw new ArgumentException("There are no samples.", nameof(logits));
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var logProbabilities = nn.functional.log_softmax(logits.to(ScalarType.Float64), 1).cpu();
        var right = labels.cpu();
        var probabilities = logProbabilities.exp();
        var (confidence, guess) = probabilities.max(1);
        double[] confidences = [.. confidence.contiguous().data<double>()];
        bool[] isRight = [.. guess.eq(right).contiguous().data<bool>()];
        double nll = nn.functional.nll_loss(logProbabilities, right).item<double>();
        double brier = (probabilities - nn.functional.one_hot(right, logits.size(1)).to(ScalarType.Float64))
            .square()
            .sum(1L)
            .mean()
            .item<double>();

        double[] sums = new double[bins];
        int[] hits = new int[bins],
            counts = new int[bins];
        for (int sample = 0; sample < confidences.Length; sample++)
        {
            int bin = Math.Clamp((int)Math.Ceiling(confidences[sample] * bins) - 1, 0, bins - 1);
            sums[bin] += confidences[sample];
            hits[bin] += isRight[sample] ? 1 : 0;
            counts[bin]++;
        }
        CalibrationBin[] filled =
        [
            .. Enumerable
                .Range(0, bins)
                .Select(bin =>
                    counts[bin] == 0
                        ? default
                        : new CalibrationBin(sums[bin] / counts[bin], (double)hits[bin] / counts[bin], counts[bin])
                ),
        ];
        double n = confidences.Length;
        return new(
            filled.Sum(bin => bin.Count / n * Math.Abs(bin.Accuracy - bin.Confidence)),
            filled.Where(bin => bin.Count > 0).Max(bin => Math.Abs(bin.Accuracy - bin.Confidence)),
            isRight.Count(each => each) / n,
            nll,
            brier,
            filled
        );
    }
}
