using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>What a text is split at: a literal, a regular expression, or characters of a class. All count in whole code points.</summary>
internal abstract partial class Pattern
{
    /// <summary>The matches, from left to right, as ranges of UTF-16 units.</summary>
    public abstract IEnumerable<(int Start, int End)> Matches(string text);

    /// <summary>Reads <c>{"String": ...}</c> or <c>{"Regex": ...}</c>.</summary>
    public static Pattern Read(JsonPlace owner, string name)
    {
        if (owner.Json[name] is System.Text.Json.Nodes.JsonValue && owner.Text(name) is { } plain)
            return new Literal(plain);
        var place = owner.Object(name) ?? throw owner.Wrong(name, "a pattern");
        return place.Text("String") is { } literal ? new Literal(literal)
            : place.Text("Regex") is { } regex ? new Expression(regex, place.Where)
            : throw owner.Wrong(name, "an object with String or Regex");
    }

    /// <summary>A text that is matched as it is.</summary>
    public sealed class Literal(string literal) : Pattern
    {
        public override IEnumerable<(int Start, int End)> Matches(string text)
        {
            if (literal.Length == 0)
                yield break;
            for (int start = 0; (start = text.IndexOf(literal, start, StringComparison.Ordinal)) >= 0; start += literal.Length)
                yield return (start, start + literal.Length);
        }
    }

    /// <summary>Each character of a class by itself.</summary>
    public sealed class Class(Func<Rune, bool> contains) : Pattern
    {
        public override IEnumerable<(int Start, int End)> Matches(string text)
        {
            int position = 0;
            foreach (var rune in text.EnumerateRunes())
            {
                int end = position + rune.Utf16SequenceLength;
                if (contains(rune))
                    yield return (position, end);
                position = end;
            }
        }
    }

    /// <summary>Runs of characters of one class each; characters of class 0 are in none.</summary>
    public sealed class Runs(Func<Rune, int> classOf) : Pattern
    {
        public override IEnumerable<(int Start, int End)> Matches(string text)
        {
            int start = 0,
                position = 0,
                current = 0;
            foreach (var rune in text.EnumerateRunes())
            {
                int next = classOf(rune);
                if (next != current)
                {
                    if (current != 0)
                        yield return (start, position);
                    (start, current) = (position, next);
                }
                position += rune.Utf16SequenceLength;
            }
            if (current != 0)
                yield return (start, position);
        }
    }

    /// <summary>A regular expression in the notation that tokenizer.json has (Oniguruma's).</summary>
    public sealed partial class Expression : Pattern
    {
        private readonly Regex regex;

        /// <summary>Translates it.</summary>
        /// <exception cref="NotSupportedException">It uses what .NET's expressions lack.</exception>
        public Expression(string pattern, string where)
        {
            try
            {
                regex = new Regex(WordClass(Possessive(pattern)), RegexOptions.CultureInvariant | RegexOptions.Compiled);
            }
            catch (ArgumentException error)
            {
                throw new NotSupportedException(
                    $"{where} has the regular expression {pattern}, which .NET cannot run: {error.Message}",
                    error
                );
            }
        }

        public override IEnumerable<(int Start, int End)> Matches(string text)
        {
            var (view, places) = OneCharacterEach(text);
            for (var match = regex.Match(view); match.Success; match = match.NextMatch())
                if (match.Length > 0)
                    yield return places is null
                        ? (match.Index, match.Index + match.Length)
                        : (places[match.Index], places[match.Index + match.Length]);
        }

        /// <summary>Possessive quantifiers, which .NET lacks, are atomic groups.</summary>
        private static string Possessive(string pattern) => PossessiveQuantifier().Replace(pattern, "(?>$1$2)");

        /// <summary>Oniguruma's <c>\w</c> holds all marks, .NET's only some.</summary>
        private static string WordClass(string pattern)
        {
            const string Members = @"\p{L}\p{M}\p{Nd}\p{Pc}";
            var result = new StringBuilder(pattern.Length);
            int depth = 0;
            for (int i = 0; i < pattern.Length; i++)
            {
                char character = pattern[i];
                if (character == '\\' && i + 1 < pattern.Length)
                {
                    char escaped = pattern[++i];
                    if (escaped == 'w')
                        result.Append(depth > 0 ? Members : $"[{Members}]");
                    else
                        result.Append(character).Append(escaped);
                    continue;
                }
                depth +=
                    character == '[' ? 1
                    : character == ']' && depth > 0 ? -1
                    : 0;
                result.Append(character);
            }
            return result.ToString();
        }

        /// <summary>
        /// .NET's expressions see UTF-16: a letter beyond the basic plane would be two surrogates, which are no letter. So each such code point is
        /// shown to them as one character of the same category; <c>places</c> says where in the text each character begins.
        /// </summary>
        private static (string View, int[]? Places) OneCharacterEach(string text)
        {
            if (!text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF'))
                return (text, null);
            var view = new StringBuilder(text.Length);
            var places = new List<int>(text.Length + 1);
            int position = 0;
            foreach (var rune in text.EnumerateRunes())
            {
                view.Append(rune.IsBmp ? (char)rune.Value : Standing(Rune.GetUnicodeCategory(rune)));
                places.Add(position);
                position += rune.Utf16SequenceLength;
            }
            places.Add(position);
            return (view.ToString(), [.. places]);
        }

        private static char Standing(UnicodeCategory category) =>
            category switch
            {
                UnicodeCategory.UppercaseLetter => '\uA640',
                UnicodeCategory.LowercaseLetter => '\uA641',
                UnicodeCategory.TitlecaseLetter => '\u01C5',
                UnicodeCategory.ModifierLetter => '\uA015',
                UnicodeCategory.OtherLetter => '\uA000',
                UnicodeCategory.NonSpacingMark => '\uFE20',
                UnicodeCategory.SpacingCombiningMark => '\u0903',
                UnicodeCategory.EnclosingMark => '\u20DD',
                UnicodeCategory.DecimalDigitNumber => '\u0E50',
                UnicodeCategory.LetterNumber => '\u2160',
                UnicodeCategory.OtherNumber => '\u2460',
                UnicodeCategory.ConnectorPunctuation => '\u203F',
                UnicodeCategory.DashPunctuation => '\u2010',
                UnicodeCategory.OpenPunctuation => '\u2045',
                UnicodeCategory.ClosePunctuation => '\u2046',
                UnicodeCategory.InitialQuotePunctuation => '\u2039',
                UnicodeCategory.FinalQuotePunctuation => '\u203A',
                UnicodeCategory.OtherPunctuation => '\u2020',
                UnicodeCategory.MathSymbol => '\u2200',
                UnicodeCategory.CurrencySymbol => '\u20A0',
                UnicodeCategory.ModifierSymbol => '\u02C2',
                UnicodeCategory.OtherSymbol => '\u2605',
                UnicodeCategory.Format => '\u2060',
                UnicodeCategory.PrivateUse => '\uE000',
                _ => '\u0378',
            };

        [GeneratedRegex(
            @"(\\[pP]\{[^}]*\}|\\.|\[(?:\\.|\[:[^\]]*:\]|[^\]\\])*\]|\((?:\?[:=!])?[^()]*\)|[^\\()\[\]{}|*+?])([*+?]|\{\d+(?:,\d*)?\})\+"
        )]
        private static partial Regex PossessiveQuantifier();
    }
}

/// <summary>What becomes of the matches when a text is split.</summary>
internal enum SplitBehavior
{
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// <summary>Splits texts at patterns.</summary>
internal static class Splitting
{
    /// <summary>The parts of a text, none of them empty.</summary>
    /// <param name="text">The text.</param>
    /// <param name="pattern">Where.</param>
    /// <param name="behavior">What becomes of the matches.</param>
    /// <param name="invert">True when what does not match is the separator.</param>
    public static List<AlignedText> Split(AlignedText text, Pattern pattern, SplitBehavior behavior, bool invert = false)
    {
        var parts = new List<(int Start, int End, bool Match)>();
        int done = 0;
        foreach (var (start, end) in pattern.Matches(text.Text))
        {
            if (start > done)
                parts.Add((done, start, invert));
            parts.Add((start, end, !invert));
            done = end;
        }
        if (done < text.Text.Length)
            parts.Add((done, text.Text.Length, invert));
        var joined = behavior switch
        {
            SplitBehavior.Removed => parts.Where(part => !part.Match),
            SplitBehavior.Isolated => parts,
            SplitBehavior.MergedWithPrevious => Merge(parts),
            SplitBehavior.MergedWithNext => MergeBackwards(parts),
            SplitBehavior.Contiguous => Contiguous(parts),
            _ => throw new ArgumentOutOfRangeException(nameof(behavior), behavior, "No such behaviour."),
        };
        return [.. joined.Select(part => text.Slice(part.Start, part.End - part.Start))];
    }

    private static List<(int Start, int End, bool Match)> Merge(List<(int Start, int End, bool Match)> parts)
    {
        var result = new List<(int Start, int End, bool Match)>();
        bool previous = false;
        foreach (var part in parts)
        {
            if (part.Match && !previous && result.Count > 0)
                result[^1] = (result[^1].Start, part.End, true);
            else
                result.Add(part);
            previous = part.Match;
        }
        return result;
    }

    private static List<(int Start, int End, bool Match)> MergeBackwards(List<(int Start, int End, bool Match)> parts)
    {
        var result = new List<(int Start, int End, bool Match)>();
        bool previous = false;
        foreach (var part in parts.AsEnumerable().Reverse())
        {
            if (part.Match && !previous && result.Count > 0)
                result[^1] = (part.Start, result[^1].End, true);
            else
                result.Add(part);
            previous = part.Match;
        }
        result.Reverse();
        return result;
    }

    private static List<(int Start, int End, bool Match)> Contiguous(List<(int Start, int End, bool Match)> parts)
    {
        var result = new List<(int Start, int End, bool Match)>();
        foreach (var part in parts)
            if (result.Count > 0 && result[^1].Match == part.Match)
                result[^1] = result[^1] with { End = part.End };
            else
                result.Add(part);
        return result;
    }
}
