using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Accuracy of the frequent, the middle and the rare classes, in percent; classes are sorted by frequency.</summary>
/// <param name="Overall">Mean over classes.</param>
/// <param name="Groups">Mean over the classes of each group, the most frequent first; NaN for a group without test samples.</param>
/// <param name="Classes">Of each class; NaN where the test set has none of it.</param>
public sealed record ClassGroups(double Overall, IReadOnlyList<double> Groups, IReadOnlyList<double> Classes)
{
    /// <summary>Measures scores by groups of classes, each class counting alike.</summary>
    /// <param name="logits">[n, C].</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="bounds">The first class of every group but the first, ascending: [4, 8] makes head 0-3, middle 4-7, tail 8 and up.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or the bounds are not ascending within 1 and C - 1.</exception>
    public static ClassGroups Of(Tensor logits, Tensor labels, IReadOnlyList<int> bounds)
    {
        ArgumentNullException.ThrowIfNull(bounds);
        Shapes.Require(logits, "[n, C]");
        Shapes.RequireExact(labels, [logits.size(0)]);
        int classes = (int)logits.size(1);
        int[] edges = [0, .. bounds, classes];
        if (edges.Zip(edges.Skip(1)).Any(pair => pair.First >= pair.Second))
            throw new ArgumentException(
                $"The bounds {string.Join(", ", bounds)} do not cut {classes} classes into groups. Give ascending numbers from 1 to {classes - 1}.",
                nameof(bounds)
            );
        using var scope = NewDisposeScope();
        long[] guesses = [.. logits.argmax(1).cpu().data<long>()],
            truths = [.. labels.cpu().data<long>()];
        double[] right = new double[classes],
            count = new double[classes];
        for (int sample = 0; sample < truths.Length; sample++)
        {
            count[truths[sample]]++;
            right[truths[sample]] += guesses[sample] == truths[sample] ? 1 : 0;
        }
        double[] accuracies = [.. right.Zip(count, (hits, all) => all > 0 ? 100 * hits / all : double.NaN)];
        return new(
            Mean(accuracies),
            [.. edges.Zip(edges.Skip(1)).Select(pair => Mean(accuracies[pair.First..pair.Second]))],
            accuracies
        );
    }

    private static double Mean(IEnumerable<double> values) =>
        values.Where(value => !double.IsNaN(value)).DefaultIfEmpty(double.NaN).Average();
}
