namespace AttentionDistillation.Models.Slicing;

/// <summary>Which heads of a layer stay, and whether what is cut is folded into them.</summary>
public sealed record HeadCut
{
    private HeadCut(IReadOnlyList<int> kept, IReadOnlyList<IReadOnlyList<int>>? rankings) => (Kept, Rankings) = (kept, rankings);

    /// <summary>The query heads that stay, in the order they will have.</summary>
    public IReadOnlyList<int> Kept { get; }

    /// <summary>For merging: all heads of each group, the most important first; null where heads are just cut.</summary>
    internal IReadOnlyList<IReadOnlyList<int>>? Rankings { get; }

    /// <summary>Keeps heads by number.</summary>
    /// <exception cref="ArgumentException">No head is kept, or one twice.</exception>
    public static HeadCut Keep(params IReadOnlyList<int> heads)
    {
        ArgumentNullException.ThrowIfNull(heads);
        if (heads.Count == 0 || heads.Distinct().Count() != heads.Count)
            throw new ArgumentException(
                $"The heads to keep must be one or more, each once, but are: {string.Join(", ", heads)}."
            );
        return new HeadCut(heads, null);
    }

    /// <summary>
    /// Keeps the heads of the highest scores. With grouped queries (fewer key heads than query heads) heads are ranked inside their group and each group
    /// keeps as many; key heads stay.
    /// </summary>
    /// <param name="scores">A score a query head.</param>
    /// <param name="keep">Query heads that stay, in all.</param>
    /// <param name="keyHeads">The number of key heads; null when every query head has its own.</param>
    /// <param name="merges">Whether cut heads are folded into kept ones (<see cref="WeightCuts.TakeMerged"/>).</param>
    /// <exception cref="ArgumentException">The numbers do not fit together.</exception>
    public static HeadCut Highest(IReadOnlyList<double> scores, int keep, int? keyHeads = null, bool merges = false)
    {
        ArgumentNullException.ThrowIfNull(scores);
        int groups = keyHeads is { } count && count != scores.Count ? count : 1;
        if (keep < groups || keep > scores.Count || keep % groups != 0)
            throw new ArgumentException(
                $"Of {scores.Count} heads in {groups} groups a multiple of {groups} can be kept, at most all, but {keep} were asked for."
            );
        int size = scores.Count / groups;
        int[][] rankings =
        [
            .. ImportanceRanking
                .DescendingInGroups(scores, groups)
                .Select((ranking, group) => ranking.Select(head => group * size + head).ToArray()),
        ];
        return new HeadCut([.. rankings.SelectMany(ranking => ranking.Take(keep / groups))], merges ? rankings : null);
    }
}
