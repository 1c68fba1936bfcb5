using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Correlations and ranking scores, in float64.</summary>
public static class RankMetrics
{
    /// <summary>Ranks from 1; equal values share the average of their ranks.</summary>
    /// <param name="values">Numbers, none NaN.</param>
    /// <exception cref="ArgumentException">A value is NaN.</exception>
    public static double[] AverageRanks(double[] values)
    {
        ArgumentNullException.ThrowIfNull(values);
        if (values.Any(double.IsNaN))
            throw new ArgumentException("A value is NaN, which has no rank. Leave such examples out.", nameof(values));
        int[] order = [.. Enumerable.Range(0, values.Length).OrderBy(index => values[index])];
        var ranks = new double[values.Length];
        for (int first = 0, next; first < order.Length; first = next)
        {
            for (next = first + 1; next < order.Length && values[order[next]] == values[order[first]]; next++) { }
            // Ranks first + 1 ... next have this mean.
            for (int at = first; at < next; at++)
                ranks[order[at]] = (first + 1 + next) / 2.0;
        }
        return ranks;
    }

    /// <summary>Pearson's correlation, in [-1, 1]; NaN where one side does not vary or there are fewer than two pairs.</summary>
    /// <exception cref="ArgumentException">Lengths differ.</exception>
    public static double Pearson(double[] first, double[] second)
    {
        RequireSameLength(first, second);
        int count = first.Length;
        if (count < 2)
            return double.NaN;
        double meanFirst = first.Average(),
            meanSecond = second.Average();
        double product = 0,
            squaresFirst = 0,
            squaresSecond = 0;
        for (int i = 0; i < count; i++)
        {
            double x = first[i] - meanFirst,
                y = second[i] - meanSecond;
            product += x * y;
            squaresFirst += x * x;
            squaresSecond += y * y;
        }
        return squaresFirst > 0 && squaresSecond > 0
            ? Math.Clamp(product / Math.Sqrt(squaresFirst) / Math.Sqrt(squaresSecond), -1, 1)
            : double.NaN;
    }

    /// <summary>Spearman's correlation: Pearson's of the ranks, ties averaged. NaN where one side does not vary.</summary>
    /// <exception cref="ArgumentException">Lengths differ, or a value is NaN.</exception>
    public static double Spearman(double[] first, double[] second)
    {
        RequireSameLength(first, second);
        return Pearson(AverageRanks(first), AverageRanks(second));
    }

    /// <summary>
    /// Area under the ROC curve: the chance that a positive scores above a negative, ties counting one half (Mann-Whitney U by ranks). NaN where one
    /// of the two classes is missing.
    /// </summary>
    /// <exception cref="ArgumentException">Lengths differ, or a score is NaN.</exception>
    public static double RocAuc(double[] scores, bool[] positive)
    {
        ArgumentNullException.ThrowIfNull(scores);
        ArgumentNullException.ThrowIfNull(positive);
        if (scores.Length != positive.Length)
            throw new ArgumentException(
                $"There are {scores.Length} scores and {positive.Length} classes. Give one class a score."
            );
        double[] ranks = AverageRanks(scores);
        double positives = positive.Count(item => item),
            negatives = positive.Length - positives;
        double ranksOfPositives = ranks.Where((_, index) => positive[index]).Sum();
        return positives > 0 && negatives > 0
            ? (ranksOfPositives - (positives * (positives + 1) / 2)) / (positives * negatives)
            : double.NaN;
    }

    /// <summary>Pearson's correlation of two tensors [N].</summary>
    /// <inheritdoc cref="Pearson(double[], double[])"/>
    public static double Pearson(Tensor first, Tensor second) => Pearson(Numbers(first), Numbers(second));

    /// <summary>Spearman's correlation of two tensors [N].</summary>
    /// <inheritdoc cref="Spearman(double[], double[])"/>
    public static double Spearman(Tensor first, Tensor second) => Spearman(Numbers(first), Numbers(second));

    /// <summary>Area under the ROC curve of scores [N] and classes bool [N].</summary>
    /// <inheritdoc cref="RocAuc(double[], bool[])"/>
    public static double RocAuc(Tensor scores, Tensor positive)
    {
        ArgumentNullException.ThrowIfNull(positive);
        using var scope = NewDisposeScope();
        return RocAuc(Numbers(scores), positive.to(ScalarType.Bool).cpu().contiguous().reshape(-1).data<bool>().ToArray());
    }

    private static double[] Numbers(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var scope = NewDisposeScope();
        return tensor.detach().to(ScalarType.Float64).cpu().contiguous().reshape(-1).data<double>().ToArray();
    }

    private static void RequireSameLength(double[] first, double[] second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Length != second.Length)
            throw new ArgumentException($"Both sides must have as many numbers, but have {first.Length} and {second.Length}.");
    }
}
