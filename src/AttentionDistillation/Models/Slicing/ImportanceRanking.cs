using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>Orders the parts of a model by their scores, the most important first. Equal scores keep their order.</summary>
public static class ImportanceRanking
{
    /// <summary>The numbers of a list of scores, highest score first.</summary>
    public static int[] Descending(IReadOnlyList<double> scores)
    {
        ArgumentNullException.ThrowIfNull(scores);
        if (scores.Any(double.IsNaN))
            throw new ArgumentException("A score is not a number: the activations it comes from are broken.");
        return [.. Enumerable.Range(0, scores.Count).OrderByDescending(number => scores[number])];
    }

    /// <summary>The numbers of a vector of scores [N], highest score first.</summary>
    public static int[] DescendingOf(Tensor scores) => Descending(Values(scores));

    /// <summary>
    /// For grouped queries, whose heads lie group by group: the heads of each group by their scores. Cutting the same number of each group keeps every
    /// query head with its keys and values.
    /// </summary>
    /// <param name="scores">A score a query head.</param>
    /// <param name="groups">Number of key heads; divides the number of query heads.</param>
    /// <returns>For each group the numbers inside the group, from 0, highest score first.</returns>
    /// <exception cref="ArgumentException">The groups do not divide the heads.</exception>
    public static int[][] DescendingInGroups(IReadOnlyList<double> scores, int groups)
    {
        ArgumentNullException.ThrowIfNull(scores);
        if (groups < 1 || scores.Count % groups != 0)
            throw new ArgumentException($"{groups} groups do not divide {scores.Count} heads. Give the number of key heads.");
        int size = scores.Count / groups;
        return [.. Enumerable.Range(0, groups).Select(group => Descending(scores.Skip(group * size).Take(size).ToArray()))];
    }

    /// <summary>The numbers of a vector on the host.</summary>
    internal static double[] Values(Tensor scores)
    {
        Shapes.Require(scores, "[N]");
        using var scope = NewDisposeScope();
        return [.. scores.detach().to(ScalarType.Float64).cpu().contiguous().data<double>()];
    }
}
