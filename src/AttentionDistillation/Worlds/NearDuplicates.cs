using System.Runtime.InteropServices;

namespace AttentionDistillation.Worlds;

/// <summary>
/// Near-duplicate texts by the Jaccard similarity of their word shingles, found exactly (no missed pair) by the prefix filter of Bayardo, Ma and
/// Srikant, "Scaling up all pairs similarity search" (WWW 2007): sets of similarity t share one of their rarest |x| - ceil(t|x|) + 1 elements.
/// </summary>
internal static class NearDuplicates
{
    /// <summary>Words in a shingle.</summary>
    public const int ShingleWords = 3;

    /// <summary>The set of shingles of a text, sorted; texts shorter than a shingle are one shingle.</summary>
    public static ulong[] Shingles(string text)
    {
        string[] words =
        [
            .. WordPieceTrainer.Words(text).Where(word => char.IsLetterOrDigit(word[0]) || word == DocReader.Placeholder),
        ];
        if (words.Length <= ShingleWords)
            return [StableHash.Of(string.Join(' ', words))];
        var set = new SortedSet<ulong>();
        for (int start = 0; start + ShingleWords <= words.Length; start++)
            set.Add(StableHash.Of(string.Join(' ', words, start, ShingleWords)));
        return [.. set];
    }

    /// <summary>The Jaccard similarity of two sorted sets.</summary>
    public static double Jaccard(ulong[] first, ulong[] second)
    {
        int shared = 0;
        for (int i = 0, j = 0; i < first.Length && j < second.Length; )
            if (first[i] == second[j])
            {
                shared++;
                i++;
                j++;
            }
            else if (first[i] < second[j])
                i++;
            else
                j++;
        return (double)shared / (first.Length + second.Length - shared);
    }

    /// <summary>Groups items so that any two that are similar in any view are in one group (the transitive closure).</summary>
    /// <param name="threshold">The least Jaccard similarity of near-duplicates.</param>
    /// <param name="views">Sets of the same items seen in different ways, for example text and template; set i of each view is of item i.</param>
    /// <returns>For each item the number of its group's first member.</returns>
    public static int[] Group(double threshold, params IReadOnlyList<ulong[]>[] views)
    {
        int[] parent = [.. Enumerable.Range(0, views[0].Count)];
        int Find(int item)
        {
            while (parent[item] != item)
                item = parent[item] = parent[parent[item]];
            return item;
        }
        foreach (var sets in views)
        {
            var index = new PrefixIndex(sets, threshold);
            for (int item = 0; item < sets.Count; item++)
            {
                foreach (int other in index.Candidates(sets[item]))
                {
                    int first = Find(item),
                        second = Find(other);
                    if (first != second && Jaccard(sets[item], sets[other]) >= threshold)
                        parent[Math.Max(first, second)] = Math.Min(first, second);
                }
                index.Add(item);
            }
        }
        return [.. Enumerable.Range(0, parent.Length).Select(Find)];
    }

    /// <summary>An index of sets that finds all with a similarity of at least a threshold.</summary>
    internal sealed class PrefixIndex
    {
        private readonly IReadOnlyList<ulong[]> sets;
        private readonly double threshold;
        private readonly Dictionary<ulong, int> frequency = [];
        private readonly Dictionary<ulong, List<int>> index = [];

        /// <summary>An empty index over the sets, whose element frequencies set the order of rarity.</summary>
        public PrefixIndex(IReadOnlyList<ulong[]> sets, double threshold)
        {
            this.sets = sets;
            this.threshold = threshold;
            foreach (ulong[] set in sets)
            foreach (ulong element in set)
                CollectionsMarshal.GetValueRefOrAddDefault(frequency, element, out _)++;
        }

        /// <summary>Adds a set.</summary>
        public void Add(int item)
        {
            foreach (ulong element in Prefix(sets[item]))
                (CollectionsMarshal.GetValueRefOrAddDefault(index, element, out _) ??= []).Add(item);
        }

        /// <summary>The sets that may be similar to one: a superset of those that are.</summary>
        public IEnumerable<int> Candidates(ulong[] set)
        {
            var seen = new HashSet<int>();
            foreach (ulong element in Prefix(set))
                if (index.TryGetValue(element, out var items))
                    foreach (int other in items)
                        if (
                            Math.Min(set.Length, sets[other].Length) >= threshold * Math.Max(set.Length, sets[other].Length)
                            && seen.Add(other)
                        )
                            yield return other;
        }

        /// <summary>Whether any set is at least as similar as the threshold.</summary>
        public bool HasSimilar(ulong[] set) => Candidates(set).Any(other => Jaccard(set, sets[other]) >= threshold);

        private ArraySegment<ulong> Prefix(ulong[] set)
        {
            ulong[] rarest = [.. set.OrderBy(element => frequency.GetValueOrDefault(element)).ThenBy(element => element)];
            // The small slack keeps a rounding of t|x| from cutting the prefix short.
            int length = set.Length - (int)Math.Ceiling((threshold * set.Length) - 1e-9) + 1;
            return new ArraySegment<ulong>(rarest, 0, Math.Min(length, set.Length));
        }
    }
}
