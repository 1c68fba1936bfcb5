using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Accuracy at each signal-to-noise ratio, as modulation recognition reports it.</summary>
/// <param name="Levels">The ratios that occur, in decibels, ascending.</param>
/// <param name="Accuracy">Share of right predictions at each, between 0 and 1.</param>
/// <param name="Counts">Examples at each.</param>
public sealed record SnrAccuracy(IReadOnlyList<double> Levels, IReadOnlyList<double> Accuracy, IReadOnlyList<long> Counts)
{
    /// <summary>Accuracy of logits.</summary>
    /// <param name="logits">[N, K].</param>
    /// <param name="labels">int64 [N].</param>
    /// <param name="snrDb">Decibels of every example, [N].</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or there are no examples.</exception>
    public static SnrAccuracy Of(Tensor logits, Tensor labels, Tensor snrDb)
    {
        Shapes.Require(logits, "[N, K]");
        Shapes.RequireExact(labels, [logits.size(0)]);
        Shapes.RequireExact(snrDb, [logits.size(0)]);
        if (logits.size(0) == 0)
            throw new ArgumentException("There are no examples to score.", nameof(logits));
        using var scope = NewDisposeScope();
        long[] guesses = ClassificationMetrics.Flat<long>(logits.detach().argmax(-1)),
            truths = ClassificationMetrics.Flat<long>(labels);
        double[] levels = ClassificationMetrics.Flat<double>(snrDb.to(ScalarType.Float64));
        var groups = levels
            .Select((level, at) => (Level: level, Right: guesses[at] == truths[at]))
            .GroupBy(example => example.Level)
            .OrderBy(group => group.Key)
            .ToArray();
        return new(
            [.. groups.Select(group => group.Key)],
            [.. groups.Select(group => group.Average(example => example.Right ? 1.0 : 0.0))],
            [.. groups.Select(group => (long)group.Count())]
        );
    }

    /// <summary>Share of right predictions over the levels that a condition takes, every example counting once; NaN when none has any.</summary>
    /// <param name="takes">Which levels in decibels count.</param>
    public double Over(Func<double, bool> takes)
    {
        ArgumentNullException.ThrowIfNull(takes);
        int[] chosen = [.. Enumerable.Range(0, Levels.Count).Where(level => takes(Levels[level]))];
        long all = chosen.Sum(level => Counts[level]);
        return all == 0 ? double.NaN : chosen.Sum(level => Accuracy[level] * Counts[level]) / all;
    }
}
