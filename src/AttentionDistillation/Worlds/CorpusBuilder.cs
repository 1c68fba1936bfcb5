using System.Runtime.InteropServices;

namespace AttentionDistillation.Worlds;

/// <summary>The cleaned, deduplicated and split texts, before tokenising.</summary>
/// <param name="Members">The members kept, in the order of their names.</param>
/// <param name="Splits">The split of each.</param>
/// <param name="Areas">The namespace area of each.</param>
/// <param name="Passages">Further texts of the training members that resemble no summary held out.</param>
/// <param name="Version">Which packs they came from.</param>
internal sealed record TextCorpus(
    IReadOnlyList<DocMember> Members,
    IReadOnlyList<DocSplit> Splits,
    IReadOnlyList<byte> Areas,
    IReadOnlyList<string> Passages,
    string Version
)
{
    /// <summary>All texts that training may see.</summary>
    public IEnumerable<string> TrainingTexts() =>
        Members.Where((_, member) => Splits[member] == DocSplit.Train).Select(member => member.Summary).Concat(Passages);
}

/// <summary>Builds the corpus from the packs: read, deduplicate, group near-duplicates, split by group.</summary>
internal static class CorpusBuilder
{
    /// <summary>Texts whose shingles have this Jaccard similarity are near-duplicates and stay in one split.</summary>
    public const double NearDuplicate = 0.6;

    /// <summary>Members kept of those whose summaries differ only in the names they refer to.</summary>
    public const int CopiesOfTemplate = 4;

    // 90 % train, 5 % validation, 5 % test.
    private const double ValidationShare = 0.05;
    private const double TestShare = 0.05;

    // A group this large is a common turn of phrase ("Gets or sets the ..."); held out, it would be the whole split.
    private const double LargestHeldOutGroup = 0.002;

    /// <summary>Builds the corpus.</summary>
    /// <exception cref="InvalidDataException">A file is malformed, or the packs hold no documentation.</exception>
    public static TextCorpus Build(DocPacks packs)
    {
        var read = new List<DocMember>[packs.Files.Count];
        try
        {
            Parallel.For(0, packs.Files.Count, file => read[file] = DocReader.Read(packs.Files[file]));
        }
        catch (AggregateException errors)
            when (errors.InnerExceptions.OfType<InvalidDataException>().FirstOrDefault() is { } error)
        {
            throw new InvalidDataException(error.Message, error);
        }
        var all = read.SelectMany(members => members).DistinctBy(member => member.Id).ToList();
        if (all.Count == 0)
            throw new InvalidDataException(
                $"The XML files below '{packs.Folder}' document no member. Repair the .NET SDK installation."
            );
        var types = all.Where(member => member.Kind == MemberKind.Type)
            .Select(member => member.Id[2..])
            .ToHashSet(StringComparer.Ordinal);
        all =
        [
            .. all.OrderBy(member => member.Id[2..], StringComparer.Ordinal).ThenBy(member => member.Id, StringComparer.Ordinal),
        ];
        var members = Deduplicate(all);
        // Both views count: templates find texts that differ only in names, and long shared names make texts alike whose templates are not.
        var templates = members.Select(member => NearDuplicates.Shingles(member.Template)).ToList();
        var texts = members.Select(member => NearDuplicates.Shingles(member.Summary)).ToList();
        var splits = Split(members, NearDuplicates.Group(NearDuplicate, templates, texts));
        byte[] areas = [.. members.Select(member => NamespaceAreas.Of(MemberNames.Namespace(member.Id, types)))];
        return new(members, splits, areas, TrainingPassages(all, members, splits), packs.Version);
    }

    private static List<DocMember> Deduplicate(IEnumerable<DocMember> members)
    {
        var texts = new HashSet<string>(StringComparer.Ordinal);
        var templates = new Dictionary<string, int>(StringComparer.Ordinal);
        var kept = new List<DocMember>();
        foreach (var member in members)
            if (
                texts.Add(Normal(member.Summary))
                && ++CollectionsMarshal.GetValueRefOrAddDefault(templates, Normal(member.Template), out _) <= CopiesOfTemplate
            )
                kept.Add(member);
        return kept;
    }

    // Whole groups go to a split by the hash of what names the group: its first member's template.
    private static DocSplit[] Split(List<DocMember> members, int[] groups)
    {
        var sizes = groups.CountBy(group => group).ToDictionary();
        int largest = Math.Max(CopiesOfTemplate, (int)(LargestHeldOutGroup * members.Count));
        return
        [
            .. groups.Select(group =>
            {
                if (sizes[group] > largest)
                    return DocSplit.Train;
                double place = (StableHash.Of(Normal(members[group].Template)) >> 11) * (1.0 / (1UL << 53));
                return place < TestShare ? DocSplit.Test
                    : place < TestShare + ValidationShare ? DocSplit.Validation
                    : DocSplit.Train;
            }),
        ];
    }

    // Members whose summary repeats another's still have remarks and parameters of their own; they follow the split of their template.
    private static List<string> TrainingPassages(List<DocMember> all, List<DocMember> members, DocSplit[] splits)
    {
        var heldOutTemplates = new HashSet<string>(StringComparer.Ordinal);
        var heldOut = new List<ulong[]>();
        for (int member = 0; member < members.Count; member++)
            if (splits[member] != DocSplit.Train)
            {
                heldOutTemplates.Add(Normal(members[member].Template));
                heldOut.Add(NearDuplicates.Shingles(members[member].Summary));
            }
        var heldOutTexts = members
            .Where((_, member) => splits[member] != DocSplit.Train)
            .Select(member => Normal(member.Summary))
            .ToHashSet();
        var index = new NearDuplicates.PrefixIndex(heldOut, NearDuplicate);
        for (int item = 0; item < heldOut.Count; item++)
            index.Add(item);
        var seen = members.Select(member => Normal(member.Summary)).ToHashSet(StringComparer.Ordinal);
        var candidates = all.Where(member =>
                !heldOutTemplates.Contains(Normal(member.Template)) && !heldOutTexts.Contains(Normal(member.Summary))
            )
            .SelectMany(member => member.Passages)
            .Where(passage => seen.Add(Normal(passage)));
        return [.. candidates.AsParallel().AsOrdered().Where(passage => !index.HasSimilar(NearDuplicates.Shingles(passage)))];
    }

    private static string Normal(string text) => string.Join(' ', WordPieceTrainer.Words(text));

    /// <summary>Tokenises the corpus.</summary>
    public static TokenCorpus Tokenise(TextCorpus texts, WordPieceVocabulary vocabulary) =>
        new(
            texts.Version,
            [.. texts.Splits.Select(split => (byte)split)],
            [.. texts.Members.Select(member => (byte)member.Kind)],
            [.. texts.Areas],
            TokenTexts.Encode([.. texts.Members.Select(member => member.Summary)], vocabulary),
            TokenTexts.Encode([.. texts.Members.Select(member => MemberNames.Signature(member.Id))], vocabulary),
            TokenTexts.Encode(texts.Passages, vocabulary)
        );
}
