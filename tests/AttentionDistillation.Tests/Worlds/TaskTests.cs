using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

[Collection(CorpusCollection.Name)]
public sealed class TaskTests(CorpusFixture corpus, ITestOutputHelper output)
{
    [Theory]
    [InlineData(DocTask.Kind)]
    [InlineData(DocTask.Area)]
    public void A_bag_of_words_beats_the_majority_and_does_not_saturate(DocTask which)
    {
        var task = corpus.Docs.Task(which);
        double majority = Majority(task);
        double bag = NaiveBayes(task);
        output.WriteLine($"{task.Name}: {Counts(task)}; majority {majority:P1}, naive Bayes {bag:P1}");
        Assert.True(majority < 0.5);
        Assert.InRange(bag, majority + 0.1, 0.97);
    }

    [Fact]
    public void Pairs_are_not_solved_by_overlap()
    {
        var task = corpus.Docs.Task(DocTask.Pair);
        double overlap = Overlap(task);
        output.WriteLine($"pair: {Counts(task)}; majority {Majority(task):P1}, overlap {overlap:P1}");
        Assert.Equal(0.5, Majority(task), 6);
        Assert.InRange(overlap, 0.55, 0.9);
    }

    private static string Counts(ClassificationTask task) =>
        $"train {task.ExampleCount(DocSplit.Train)}, test {task.ExampleCount(DocSplit.Test)} ("
        + string.Join(", ", task.ClassNames.Zip(task.ClassCounts(DocSplit.Test), (name, count) => $"{name} {count}"))
        + ")";

    private static double Majority(ClassificationTask task) =>
        (double)task.ClassCounts(DocSplit.Test).Max() / task.ExampleCount(DocSplit.Test);

    // Multinomial naive Bayes with add-one smoothing.
    private double NaiveBayes(ClassificationTask task)
    {
        int classes = task.ClassNames.Count,
            size = corpus.Docs.Vocabulary.Size;
        var counts = new double[classes, size];
        var totals = new double[classes];
        foreach (var example in task.ExamplesOf(DocSplit.Train))
        foreach (ushort token in task.First[example.First])
        {
            counts[example.Label, token]++;
            totals[example.Label]++;
        }
        var prior = task.ClassCounts(DocSplit.Train);
        return task.ExamplesOf(DocSplit.Test)
            .Average(example =>
            {
                ushort[] text = task.First[example.First].ToArray();
                int best = Enumerable
                    .Range(0, classes)
                    .MaxBy(one =>
                        Math.Log(prior[one]) + text.Sum(token => Math.Log((counts[one, token] + 1) / (totals[one] + size)))
                    );
                return best == example.Label ? 1.0 : 0.0;
            });
    }

    // The share of the signature's tokens that the summary has, with the threshold that is best on the training examples.
    private static double Overlap(ClassificationTask task)
    {
        double Score(LabelledExample example)
        {
            var summary = task.Second![example.Second].ToArray().ToHashSet();
            ushort[] signature = task.First[example.First].ToArray();
            return signature.Distinct().Count(summary.Contains) / (double)Math.Max(1, signature.Distinct().Count());
        }
        var train = task.ExamplesOf(DocSplit.Train).Select(example => (Score(example), example.Label)).ToList();
        double threshold = Enumerable
            .Range(1, 50)
            .Select(step => step / 50.0)
            .MaxBy(limit => train.Count(one => one.Item1 >= limit == (one.Label == 1)));
        return task.ExamplesOf(DocSplit.Test).Average(example => Score(example) >= threshold == (example.Label == 1) ? 1.0 : 0.0);
    }
}
