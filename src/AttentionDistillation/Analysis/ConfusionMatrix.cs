using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>How often each class is taken for each other.</summary>
public static class ConfusionMatrix
{
    /// <summary>Counts pairs of label and prediction.</summary>
    /// <param name="predicted">int64 [N], 0 to K - 1.</param>
    /// <param name="labels">int64 [N]; <see cref="Batch.IgnoredLabel"/> does not count.</param>
    /// <param name="classes">K.</param>
    /// <returns>[K, K]: rows are labels, columns predictions.</returns>
    /// <exception cref="ArgumentException">Shapes differ, or a label or prediction lies outside the classes.</exception>
    public static long[,] Of(Tensor predicted, Tensor labels, int classes)
    {
        ClassificationMetrics.RequireSameShape(predicted, labels);
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 1);
        using var scope = NewDisposeScope();
        long[] guesses = ClassificationMetrics.Flat<long>(predicted),
            truths = ClassificationMetrics.Flat<long>(labels);
        long[,] counts = new long[classes, classes];
        for (int example = 0; example < truths.Length; example++)
        {
            if (truths[example] == Batch.IgnoredLabel)
                continue;
            if (truths[example] < 0 || truths[example] >= classes || guesses[example] < 0 || guesses[example] >= classes)
                throw new ArgumentException(
                    $"Example {example} has the label {truths[example]} and the prediction {guesses[example]}, and there are {classes} classes."
                );
            counts[truths[example], guesses[example]]++;
        }
        return counts;
    }
}
