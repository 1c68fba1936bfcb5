using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Accuracy by groups of classes sorted from frequent to rare (head, mid, tail), as long-tailed recognition reports it.</summary>
/// <param name="Overall">Share of all right predictions, percent.</param>
/// <param name="PerClass">Percent of each class; NaN for a class without examples.</param>
/// <param name="Groups">Mean over the classes of each group that have examples, percent; NaN where none has.</param>
public sealed record GroupAccuracy(double Overall, IReadOnlyList<double> PerClass, IReadOnlyList<double> Groups)
{
    /// <summary>Accuracy of logits.</summary>
    /// <param name="logits">[N, K].</param>
    /// <param name="labels">int64 [N].</param>
    /// <param name="bounds">The first class of every group but the first, ascending: [3, 7] makes the groups 0-2, 3-6, 7-9 of ten classes.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, there are no examples, or the bounds are not ascending inside 1..K-1.</exception>
    public static GroupAccuracy Of(Tensor logits, Tensor labels, IReadOnlyList<int> bounds)
    {
        Shapes.Require(logits, "[N, K]");
        Shapes.RequireExact(labels, [logits.size(0)]);
        ArgumentNullException.ThrowIfNull(bounds);
        int classes = (int)logits.size(1);
        int[] edges = [0, .. bounds, classes];
        if (edges.Zip(edges.Skip(1)).Any(pair => pair.First >= pair.Second))
            throw new ArgumentException(
                $"The bounds must rise inside 1..{classes - 1}, but are [{string.Join(", ", bounds)}] for {classes} classes.",
                nameof(bounds)
            );
        using var scope = NewDisposeScope();
        long[] guesses = ClassificationMetrics.Flat<long>(logits.detach().argmax(-1)),
            truths = ClassificationMetrics.Flat<long>(labels);
        if (truths.Length == 0)
            throw new ArgumentException("There are no examples to score.", nameof(labels));
        var right = truths.Zip(guesses).ToLookup(pair => pair.First, pair => pair.First == pair.Second ? 100.0 : 0.0);
        double[] perClass = [.. Enumerable.Range(0, classes).Select(label => right[label].DefaultIfEmpty(double.NaN).Average())];
        return new(
            right.SelectMany(group => group).Average(),
            perClass,
            [
                .. edges
                    .Zip(edges.Skip(1))
                    .Select(edge =>
                        perClass[edge.First..edge.Second]
                            .Where(value => !double.IsNaN(value))
                            .DefaultIfEmpty(double.NaN)
                            .Average()
                    ),
            ]
        );
    }
}
