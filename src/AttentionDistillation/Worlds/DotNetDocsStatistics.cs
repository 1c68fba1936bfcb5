using System.Globalization;

namespace AttentionDistillation.Worlds;

/// <summary>Counts and coverage of the corpus.</summary>
/// <param name="Texts">Members, and so summaries, of each split.</param>
/// <param name="SummaryTokens">Tokens of all summaries.</param>
/// <param name="PassageCount">Further training texts: remarks, parameters, return values.</param>
/// <param name="PassageTokens">Tokens of these.</param>
/// <param name="UnknownRate">The share of [UNK] among all tokens.</param>
/// <param name="TokensPerWord">Tokens for one word (or punctuation sign).</param>
/// <param name="Kinds">Members by kind.</param>
/// <param name="Areas">Members by namespace area.</param>
public sealed record DotNetDocsStatistics(
    IReadOnlyDictionary<DocSplit, int> Texts,
    int SummaryTokens,
    int PassageCount,
    int PassageTokens,
    double UnknownRate,
    double TokensPerWord,
    IReadOnlyDictionary<MemberKind, int> Kinds,
    IReadOnlyDictionary<string, int> Areas
)
{
    /// <summary>Tokens of a summary, on average.</summary>
    public double MeanSummaryLength => (double)SummaryTokens / Math.Max(1, Texts.Values.Sum());

    internal static DotNetDocsStatistics Of(TokenCorpus corpus, WordPieceVocabulary vocabulary)
    {
        bool[] begins = [.. vocabulary.Tokens.Select(token => !token.StartsWith("##", StringComparison.Ordinal))];
        long tokens = 0,
            words = 0,
            unknown = 0;
        foreach (var texts in new[] { corpus.Summaries, corpus.Passages })
            for (int text = 0; text < texts.Count; text++)
                foreach (ushort token in texts[text])
                {
                    tokens++;
                    words += begins[token] ? 1 : 0;
                    unknown += token == WordPieceVocabulary.Unknown ? 1 : 0;
                }
        return new(
            Enum.GetValues<DocSplit>().ToDictionary(split => split, split => corpus.Splits.Count(one => one == (byte)split)),
            corpus.Summaries.TokenCount,
            corpus.Passages.Count,
            corpus.Passages.TokenCount,
            (double)unknown / Math.Max(1, tokens),
            (double)tokens / Math.Max(1, words),
            Enum.GetValues<MemberKind>().ToDictionary(kind => kind, kind => corpus.Kinds.Count(one => one == (byte)kind)),
            Enumerable
                .Range(0, NamespaceAreas.Names.Count)
                .ToDictionary(area => NamespaceAreas.Names[area], area => corpus.Areas.Count(one => one == area))
        );
    }

    /// <summary>The statistics in words.</summary>
    public override string ToString() =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"summaries: {string.Join(", ", Texts.Select(pair => $"{pair.Key} {pair.Value}"))}; {SummaryTokens} tokens, {MeanSummaryLength:F1} each\n"
                + $"further training passages: {PassageCount}, {PassageTokens} tokens\n"
                + $"[UNK] {UnknownRate:P3}, {TokensPerWord:F3} tokens per word\n"
                + $"kinds: {string.Join(", ", Kinds.Select(pair => $"{pair.Key} {pair.Value}"))}\n"
                + $"areas: {string.Join(", ", Areas.Select(pair => $"{pair.Key} {pair.Value}"))}"
        );
}
