using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>Cuts single weights: rows, columns and heads are selected in a given order.</summary>
public static class WeightCuts
{
    /// <summary>Selects entries of one axis.</summary>
    /// <param name="weight">Any tensor.</param>
    /// <param name="axis">The axis that is cut.</param>
    /// <param name="kept">Numbers of the entries, in the order they will have.</param>
    /// <param name="block">Entries that belong together, for example the D rows of a head; <paramref name="kept"/> then numbers blocks.</param>
    /// <returns>A new tensor.</returns>
    /// <exception cref="ArgumentException">A number does not exist.</exception>
    public static Tensor Take(Tensor weight, int axis, IReadOnlyList<int> kept, long block = 1)
    {
        ArgumentNullException.ThrowIfNull(weight);
        ArgumentNullException.ThrowIfNull(kept);
        long entries = weight.size(axis) / block;
        if (weight.size(axis) % block != 0 || kept.Count == 0 || kept.Any(number => number < 0 || number >= entries))
            throw new ArgumentException(
                $"Axis {axis} of a tensor {Shapes.Describe(weight)} has the entries 0 to {entries - 1} of {block}, but {string.Join(", ", kept)} were to be kept."
            );
        using var scope = NewDisposeScope();
        long[] places = [.. kept.SelectMany(number => Enumerable.Range(0, (int)block).Select(place => number * block + place))];
        return weight.index_select(axis, tensor(places, device: weight.device)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Folds what is cut into what stays (Minitron, section 2.2; †): with heads ranked 1 ... N and K kept, the kept head i from 2K - N + 1 to K becomes
    /// head i + (head i - head 2K - i + 1), so that each cut head leaves its difference to a kept one.
    /// </summary>
    /// <param name="weight">Any tensor.</param>
    /// <param name="axis">The axis of the heads.</param>
    /// <param name="ranking">All heads, the most important first.</param>
    /// <param name="keep">K.</param>
    /// <param name="block">Entries of a head on that axis.</param>
    /// <returns>A new tensor of the kept heads, in the order of the ranking.</returns>
    /// <exception cref="ArgumentException">The ranking is not one of all heads, or K is out of its range.</exception>
    /// <remarks>The paper prints the range from K - (N - K), whose first head has no partner.</remarks>
    public static Tensor TakeMerged(Tensor weight, int axis, IReadOnlyList<int> ranking, int keep, long block = 1)
    {
        ArgumentNullException.ThrowIfNull(weight);
        ArgumentNullException.ThrowIfNull(ranking);
        int heads = ranking.Count;
        if (keep < 1 || keep > heads || weight.size(axis) != heads * block || ranking.Distinct().Count() != heads)
            throw new ArgumentException(
                $"Merging needs a ranking of all {weight.size(axis) / block} heads and keeps 1 to all of them, but {string.Join(", ", ranking)} were given to keep {keep}."
            );
        using var scope = NewDisposeScope();
        var kept = Take(weight, axis, [.. ranking.Take(keep)], block);
        int first = Math.Max(0, 2 * keep - heads);
        if (first == keep)
            return kept.MoveToOuterDisposeScope();
        int[] partners = [.. Enumerable.Range(first, keep - first).Select(head => ranking[2 * keep - head - 1])];
        var folded = kept.narrow(axis, first * block, (keep - first) * block) * 2.0 - Take(weight, axis, partners, block);
        return (first == 0 ? folded : cat([kept.narrow(axis, 0, first * block), folded], axis)).MoveToOuterDisposeScope();
    }
}
