using System.Globalization;
using System.Text;

namespace AttentionDistillation.Analysis;

/// <summary>
/// Answers compared as texts, as SQuAD's official evaluation does (Rajpurkar et al. 2016, section 6.1): lower case, punctuation and articles left out,
/// white space collapsed.
/// </summary>
/// <remarks>
/// Languages that put no spaces between words (Chinese, Japanese, Thai) are compared character by character, as MLQA's evaluation does for Chinese; the
/// articles are those of English only, so that one rule serves all languages.
/// </remarks>
public static class AnswerText
{
    private static readonly HashSet<string> Articles = ["a", "an", "the"];

    /// <summary>The words of an answer after normalisation.</summary>
    public static IReadOnlyList<string> Words(string answer)
    {
        ArgumentNullException.ThrowIfNull(answer);
        var spaced = new StringBuilder();
        foreach (var rune in answer.ToLowerInvariant().EnumerateRunes())
        {
            if (IsPunctuation(rune))
                continue;
            if (StandsAlone(rune))
                spaced.Append(' ').Append(rune).Append(' ');
            else
                spaced.Append(rune);
        }
        return
        [
            .. spaced
                .ToString()
                .Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)
                .Where(word => !Articles.Contains(word)),
        ];
    }

    /// <summary>Word-level F1 of an answer with the gold answer it fits best, 0 to 1. Two empty answers agree.</summary>
    /// <param name="answer">The predicted text.</param>
    /// <param name="gold">The acceptable texts, at least one.</param>
    /// <exception cref="ArgumentException">There is no gold answer.</exception>
    public static double F1(string answer, IReadOnlyList<string> gold) =>
        Best(
            answer,
            gold,
            (guess, truth) =>
            {
                if (guess.Count == 0 || truth.Count == 0)
                    return guess.Count == truth.Count ? 1 : 0;
                var left = truth.CountBy(word => word).ToDictionary();
                int shared = guess.Count(word => left.TryGetValue(word, out int count) && (left[word] = count - 1) >= 0);
                return 2.0 * shared / (guess.Count + truth.Count);
            }
        );

    /// <summary>1 when the answer equals one of the gold answers after normalisation, else 0.</summary>
    /// <inheritdoc cref="F1"/>
    public static double ExactMatch(string answer, IReadOnlyList<string> gold) =>
        Best(answer, gold, (guess, truth) => guess.SequenceEqual(truth) ? 1 : 0);

    private static double Best(
        string answer,
        IReadOnlyList<string> gold,
        Func<IReadOnlyList<string>, IReadOnlyList<string>, double> score
    )
    {
        ArgumentNullException.ThrowIfNull(gold);
        if (gold.Count == 0)
            throw new ArgumentException("There is no gold answer. Give at least one text.", nameof(gold));
        var words = Words(answer);
        return gold.Max(text => score(words, Words(text)));
    }

    private static bool IsPunctuation(Rune rune) =>
        Rune.GetUnicodeCategory(rune)
            is UnicodeCategory.ConnectorPunctuation
                or UnicodeCategory.DashPunctuation
                or UnicodeCategory.OpenPunctuation
                or UnicodeCategory.ClosePunctuation
                or UnicodeCategory.InitialQuotePunctuation
                or UnicodeCategory.FinalQuotePunctuation
                or UnicodeCategory.OtherPunctuation
        || "$+<=>^`|~".Contains((char)Math.Min(rune.Value, char.MaxValue)); // the symbols ASCII counts as punctuation

    // Han, Hiragana, Katakana, Thai.
    private static bool StandsAlone(Rune rune) =>
        rune.Value
            is (>= 0x4E00 and <= 0x9FFF)
                or (>= 0x3400 and <= 0x4DBF)
                or (>= 0x3040 and <= 0x30FF)
                or (>= 0x0E00 and <= 0x0E7F);
}
