using System.Text;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>A step that rewrites a text before it is split.</summary>
internal delegate AlignedText Normalizer(AlignedText text);

/// <summary>The normalizers of <c>tokenizer.json</c>.</summary>
internal static class Normalizers
{
    private const int CapitalDottedI = 0x130;
    private static readonly Rune Space = new(' ');

    /// <summary>Reads a normalizer; null leaves texts as they are.</summary>
    /// <exception cref="TokenizerFormatException">The file is wrong.</exception>
    /// <exception cref="NotSupportedException">The normalizer is not built.</exception>
    public static Normalizer Read(JsonPlace? place) =>
        place is null
            ? text => text
            : place.Type switch
            {
                "BertNormalizer" => Bert(
                    place.Flag("clean_text", true),
                    place.Flag("handle_chinese_chars", true),
                    place.Flag("strip_accents", place.Flag("lowercase", true)),
                    place.Flag("lowercase", true)
                ),
                "Lowercase" => Lowercase,
                "NFC" => text => UnicodeNormalizer.Apply(text, compatible: false, compose: true),
                "NFD" => text => UnicodeNormalizer.Apply(text, compatible: false, compose: false),
                "NFKC" => text => UnicodeNormalizer.Apply(text, compatible: true, compose: true),
                "NFKD" => text => UnicodeNormalizer.Apply(text, compatible: true, compose: false),
                "StripAccents" => text => Filter(text, rune => !CharacterClasses.IsMark(rune)),
                "Strip" => Strip(place.Flag("strip_left", true), place.Flag("strip_right", true)),
                "Prepend" => Prepend(place.RequiredText("prepend")),
                "Replace" => Replace(Pattern.Read(place, "pattern"), place.RequiredText("content")),
                "Nmt" => Nmt,
                "Precompiled" => PrecompiledNormalizer.Read(place),
                "ByteLevel" => ByteLevel.Map,
                "Sequence" => Sequence([.. place.Objects("normalizers").Select(Read)]),
                _ => throw place.Unsupported(
                    "normalizer",
                    "BertNormalizer",
                    "Lowercase",
                    "NFC",
                    "NFD",
                    "NFKC",
                    "NFKD",
                    "StripAccents",
                    "Strip",
                    "Prepend",
                    "Replace",
                    "Nmt",
                    "Precompiled",
                    "ByteLevel",
                    "Sequence"
                ),
            };

    /// <summary>One after another.</summary>
    public static Normalizer Sequence(params Normalizer[] steps) => text => steps.Aggregate(text, (now, step) => step(now));

    /// <summary>BERT's (Devlin et al., tokenization.py): control characters go, Chinese characters stand alone, accents and capitals go.</summary>
    public static Normalizer Bert(bool cleanText, bool chinese, bool stripAccents, bool lowercase) =>
        text =>
        {
            if (cleanText)
                text = Clean(text);
            if (chinese)
                text = SpaceChinese(text);
            if (stripAccents)
                text = Filter(
                    UnicodeNormalizer.Apply(text, compatible: false, compose: false),
                    rune => !CharacterClasses.IsNonSpacingMark(rune)
                );
            return lowercase ? Lowercase(text) : text;
        };

    /// <summary>Lower case, without regard to language or place in the word.</summary>
    public static AlignedText Lowercase(AlignedText text) =>
        Rewrite(
            text,
            (builder, rune, start, end) =>
            {
                // The one character whose lower case is two; .NET leaves it alone.
                if (rune.Value == CapitalDottedI)
                    builder.Append("i\u0307", start, end);
                else
                    builder.Append(Rune.ToLowerInvariant(rune), start, end);
            }
        );

    /// <summary>Puts a text before every text that is not empty; it comes, as it were, from the first character.</summary>
    public static Normalizer Prepend(string prefix) =>
        text =>
        {
            if (text.Text.Length == 0 || prefix.Length == 0)
                return text;
            var builder = new AlignedTextBuilder(text);
            builder.Append(prefix, 0, char.IsHighSurrogate(text.Text[0]) ? 2 : 1);
            builder.Copy(0, text.Text.Length);
            return builder.Build();
        };

    /// <summary>Replaces every match; what stands for it comes, as it were, from its last character.</summary>
    public static Normalizer Replace(Pattern pattern, string content) =>
        text =>
        {
            var builder = new AlignedTextBuilder(text);
            int done = 0;
            foreach (var (start, end) in pattern.Matches(text.Text))
            {
                builder.Copy(done, start);
                builder.Append(content, LastCharacter(text.Text, start, end), end);
                done = end;
            }
            if (done == 0)
                return text;
            builder.Copy(done, text.Text.Length);
            return builder.Build();
        };

    /// <summary>Keeps the characters of a class.</summary>
    public static AlignedText Filter(AlignedText text, Func<Rune, bool> keep) =>
        Rewrite(
            text,
            (builder, rune, start, end) =>
            {
                if (keep(rune))
                    builder.Copy(start, end);
            }
        );

    /// <summary>White space at the ends goes.</summary>
    public static Normalizer Strip(bool left, bool right) =>
        text =>
        {
            int start = left ? text.Text.Length - text.Text.TrimStart().Length : 0;
            int end = right ? text.Text.TrimEnd().Length : text.Text.Length;
            return start < end ? text.Slice(start, end - start) : text.Slice(text.Text.Length, 0);
        };

    private static int LastCharacter(string text, int start, int end) =>
        end - start > 1 && char.IsSurrogatePair(text[end - 2], text[end - 1]) ? end - 2 : end - 1;

    private static AlignedText Clean(AlignedText text) =>
        Rewrite(
            text,
            (builder, rune, start, end) =>
            {
                if (rune.Value is 0 or 0xFFFD || CharacterClasses.IsControl(rune))
                    return;
                if (Rune.IsWhiteSpace(rune))
                    builder.Append(Space, start, end);
                else
                    builder.Copy(start, end);
            }
        );

    private static AlignedText SpaceChinese(AlignedText text) =>
        Rewrite(
            text,
            (builder, rune, start, end) =>
            {
                bool chinese = CharacterClasses.IsChinese(rune);
                if (chinese)
                    builder.Append(Space, start, end);
                builder.Copy(start, end);
                if (chinese)
                    builder.Append(Space, start, end);
            }
        );

    /// <summary>SentencePiece's rule for white space and control characters (nmt_nfkc without the nfkc).</summary>
    private static AlignedText Nmt(AlignedText text) =>
        Rewrite(
            text,
            (builder, rune, start, end) =>
            {
                switch (rune.Value)
                {
                    case (>= 0x1 and <= 0x8) or 0xB or (>= 0xE and <= 0x1F) or 0x7F or 0x8F or 0x9F:
                        return;
                    case 0x9
                    or 0xA
                    or 0xC
                    or 0xD
                    or 0x1680
                    or (>= 0x200B and <= 0x200F)
                    or 0x2028
                    or 0x2029
                    or 0x2581
                    or 0xFEFF
                    or 0xFFFD:
                        builder.Append(Space, start, end);
                        return;
                    default:
                        builder.Copy(start, end);
                        return;
                }
            }
        );

    private static AlignedText Rewrite(AlignedText text, Action<AlignedTextBuilder, Rune, int, int> step)
    {
        var builder = new AlignedTextBuilder(text);
        int position = 0;
        foreach (var rune in text.Text.EnumerateRunes())
        {
            int end = position + rune.Utf16SequenceLength;
            step(builder, rune, position, end);
            position = end;
        }
        return builder.Build();
    }
}
