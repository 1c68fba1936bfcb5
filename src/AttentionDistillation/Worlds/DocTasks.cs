namespace AttentionDistillation.Worlds;

/// <summary>The labelled tasks of the corpus.</summary>
public enum DocTask
{
    /// <summary>The kind of a member from its summary: type, method, property, field.</summary>
    Kind,

    /// <summary>The namespace area of a member from its summary.</summary>
    Area,

    /// <summary>Whether a summary belongs to a signature; the wrong signature is of a neighbouring member of the same kind.</summary>
    Pair,
}

/// <summary>Makes the labelled examples.</summary>
internal static class DocTasks
{
    // The largest class has at most this many times the examples of the smallest.
    private const double LargestImbalance = 3;

    // A wrong signature comes from at most this many neighbours of the same kind in the order of names: mostly of the same type or namespace.
    private const int Neighbours = 8;
    private const ulong OrderSalt = 1;

    public static ClassificationTask Create(TokenCorpus corpus, DocTask task) =>
        task switch
        {
            DocTask.Kind => Balanced("kind", ["type", "method", "property", "field"], corpus, corpus.Kinds),
            DocTask.Area => Balanced("area", NamespaceAreas.Names, corpus, corpus.Areas),
            DocTask.Pair => Pairs(corpus),
            _ => throw new ArgumentOutOfRangeException(nameof(task), task, "The tasks are Kind, Area and Pair."),
        };

    private static ClassificationTask Balanced(string name, IReadOnlyList<string> names, TokenCorpus corpus, byte[] classes)
    {
        // Without the web pack its area has no members; a class of nothing would only mislead.
        int[] present = [.. Enumerable.Range(0, names.Count).Where(one => classes.Any(label => label == one))];
        var examples = Splits(split =>
        {
            var members = corpus
                .Members(split)
                .Where(member => corpus.Summaries[member].Length > 0 && present.Contains(classes[member]))
                .ToList();
            if (members.Count == 0)
                return [];
            int most = (int)(LargestImbalance * members.CountBy(member => classes[member]).Min(pair => pair.Value));
            return Shuffled(members)
                .GroupBy(member => classes[member])
                .SelectMany(group => group.Take(most))
                .Select(member => new LabelledExample(member, -1, Array.IndexOf(present, classes[member])));
        });
        return new(name, [.. present.Select(one => names[one])], corpus.Summaries, null, examples);
    }

    private static ClassificationTask Pairs(TokenCorpus corpus)
    {
        var examples = Splits(split =>
            corpus
                .Members(split)
                .Where(member => corpus.Summaries[member].Length > 0)
                .GroupBy(member => corpus.Kinds[member])
                .SelectMany(kind => PairsOf([.. kind], corpus))
        );
        return new("pair", ["other", "same"], corpus.Signatures, corpus.Summaries, examples);
    }

    // Each summary comes once with its own signature and once with a neighbour's, so neither text alone tells the label.
    private static IEnumerable<LabelledExample> PairsOf(int[] members, TokenCorpus corpus)
    {
        for (int at = 0; at < members.Length; at++)
        {
            int own = members[at];
            int window = Math.Min(Neighbours, members.Length - 1);
            int start = Math.Clamp(at - (window / 2), 0, members.Length - 1 - window);
            int[] others =
            [
                .. Enumerable
                    .Range(start, window + 1)
                    .Select(place => members[place])
                    .Where(other => !corpus.Signatures[other].SequenceEqual(corpus.Signatures[own])),
            ];
            if (others.Length == 0)
                continue;
            yield return new(own, own, 1);
            yield return new(others[(int)(StableHash.Mix((ulong)own) % (ulong)others.Length)], own, 0);
        }
    }

    private static IEnumerable<int> Shuffled(IEnumerable<int> members) =>
        members.OrderBy(member => StableHash.Mix(((ulong)member << 1) ^ OrderSalt));

    private static LabelledExample[][] Splits(Func<DocSplit, IEnumerable<LabelledExample>> make) =>
        [
            .. Enum.GetValues<DocSplit>()
                .Select(split =>
                    make(split)
                        .OrderBy(example =>
                            StableHash.Mix(StableHash.Mix((ulong)(uint)example.First) ^ (ulong)(uint)example.Second)
                        )
                        .ToArray()
                ),
        ];
}
