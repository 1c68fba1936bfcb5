using System.Text;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>A step that splits a text into pieces, each of which the model breaks into tokens by itself.</summary>
internal delegate IEnumerable<AlignedText> PreTokenizer(AlignedText text);

/// <summary>The pre-tokenizers of <c>tokenizer.json</c>.</summary>
internal static class PreTokenizers
{
    /// <summary>SentencePiece's sign for a space.</summary>
    public const string SpaceSign = "\u2581";

    private static readonly Pattern Whitespace = new Pattern.Class(Rune.IsWhiteSpace);
    private static readonly Pattern Punctuation = new Pattern.Class(CharacterClasses.IsPunctuation);
    private static readonly Pattern Numbers = new Pattern.Class(CharacterClasses.IsNumber);
    private static readonly Pattern WordsOrSigns = new Pattern.Runs(rune =>
        CharacterClasses.IsWord(rune) ? 1
        : Rune.IsWhiteSpace(rune) ? 0
        : 2
    );
    private static readonly Lazy<Pattern> ByteLevelWords = new(() => new Pattern.Expression(ByteLevel.Words, "ByteLevel"));

    /// <summary>Reads a pre-tokenizer; null leaves a text in one piece.</summary>
    /// <exception cref="TokenizerFormatException">The file is wrong.</exception>
    /// <exception cref="NotSupportedException">The pre-tokenizer is not built.</exception>
    public static PreTokenizer Read(JsonPlace? place) =>
        place is null
            ? text => [text]
            : place.Type switch
            {
                "ByteLevel" => ByteLevelPieces(place.Flag("add_prefix_space", true), place.Flag("use_regex", true)),
                "Split" => Split(Pattern.Read(place, "pattern"), Behavior(place), place.Flag("invert", false)),
                "Metaspace" => Metaspace(place.Text("replacement") ?? SpaceSign, PrependScheme(place), place.Flag("split", true)),
                "Whitespace" => text => Splitting.Split(text, WordsOrSigns, SplitBehavior.Removed, invert: true),
                "WhitespaceSplit" => text => Splitting.Split(text, Whitespace, SplitBehavior.Removed),
                "BertPreTokenizer" => Bert,
                "Digits" => text =>
                    Splitting.Split(
                        text,
                        Numbers,
                        place.Flag("individual_digits", false) ? SplitBehavior.Isolated : SplitBehavior.Contiguous
                    ),
                "Punctuation" => Split(Punctuation, Behavior(place), invert: false),
                "CharDelimiterSplit" => Split(new Pattern.Literal(place.RequiredText("delimiter")), SplitBehavior.Removed, false),
                "FixedLength" => FixedLength(place.Integer("length") ?? 5),
                "Sequence" => Sequence([.. place.Objects("pretokenizers").Select(Read)]),
                _ => throw place.Unsupported(
                    "pre-tokenizer",
                    "ByteLevel",
                    "Split",
                    "Metaspace",
                    "Whitespace",
                    "WhitespaceSplit",
                    "BertPreTokenizer",
                    "Digits",
                    "Punctuation",
                    "CharDelimiterSplit",
                    "FixedLength",
                    "Sequence"
                ),
            };

    /// <summary>One after another, each on the pieces of the one before.</summary>
    public static PreTokenizer Sequence(params PreTokenizer[] steps) =>
        text =>
            steps.Aggregate<PreTokenizer, IEnumerable<AlignedText>>(
                [text],
                (pieces, step) => pieces.SelectMany(piece => step(piece))
            );

    /// <summary>Split at a pattern.</summary>
    public static PreTokenizer Split(Pattern pattern, SplitBehavior behavior, bool invert) =>
        text => Splitting.Split(text, pattern, behavior, invert);

    /// <summary>BERT's: at white space, and every punctuation sign by itself.</summary>
    public static IEnumerable<AlignedText> Bert(AlignedText text) =>
        Splitting
            .Split(text, Whitespace, SplitBehavior.Removed)
            .SelectMany(word => Splitting.Split(word, Punctuation, SplitBehavior.Isolated));

    /// <summary>GPT-2's words in its alphabet of bytes.</summary>
    public static PreTokenizer ByteLevelPieces(bool addPrefixSpace, bool useRegex)
    {
        var prefix = Normalizers.Prepend(" ");
        return text =>
        {
            if (addPrefixSpace && !text.Text.StartsWith(' '))
                text = prefix(text);
            IEnumerable<AlignedText> words = useRegex
                ? Splitting.Split(text, ByteLevelWords.Value, SplitBehavior.Isolated)
                : [text];
            return words.Select(ByteLevel.Map);
        };
    }

    /// <summary>Whether the sign of a space is put before a text that does not begin with one.</summary>
    public enum Prepending
    {
        Never,
        First,
        Always,
    }

    /// <summary>SentencePiece's: spaces become a sign that stays with the word behind it.</summary>
    public static PreTokenizer Metaspace(string sign, Prepending prepending, bool split)
    {
        var replace = Normalizers.Replace(new Pattern.Literal(" "), sign);
        var prepend = Normalizers.Prepend(sign);
        var pattern = new Pattern.Literal(sign);
        return text =>
        {
            bool first = text.Origin == 0;
            text = replace(text);
            if (
                !text.Text.StartsWith(sign, StringComparison.Ordinal)
                && (prepending == Prepending.Always || (prepending == Prepending.First && first))
            )
                text = prepend(text);
            return split ? Splitting.Split(text, pattern, SplitBehavior.MergedWithNext) : [text];
        };
    }

    /// <summary>The member <c>prepend_scheme</c>, or what older files have instead.</summary>
    public static Prepending PrependScheme(JsonPlace place) =>
        place.Text("prepend_scheme") switch
        {
            "always" => Prepending.Always,
            "first" => Prepending.First,
            "never" => Prepending.Never,
            null => place.Flag("add_prefix_space", true) ? Prepending.Always : Prepending.Never,
            _ => throw place.Wrong("prepend_scheme", "always, first or never"),
        };

    private static PreTokenizer FixedLength(int length) =>
        text =>
        {
            var pieces = new List<AlignedText>();
            int start = 0,
                count = 0,
                position = 0;
            foreach (var rune in text.Text.EnumerateRunes())
            {
                position += rune.Utf16SequenceLength;
                if (++count < length)
                    continue;
                pieces.Add(text.Slice(start, position - start));
                (start, count) = (position, 0);
            }
            if (start < position)
                pieces.Add(text.Slice(start, position - start));
            return pieces;
        };

    private static SplitBehavior Behavior(JsonPlace place) =>
        Enum.TryParse(place.Text("behavior") ?? nameof(SplitBehavior.Isolated), out SplitBehavior behavior)
            ? behavior
            : throw place.Wrong("behavior", string.Join(", ", Enum.GetNames<SplitBehavior>()));
}
