using System.Globalization;
using System.Text;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>A step from tokens back to text: a list of strings, which in the end are joined.</summary>
internal delegate IReadOnlyList<string> TokenDecoder(IReadOnlyList<string> tokens);

/// <summary>The decoders of <c>tokenizer.json</c>.</summary>
internal static class TokenDecoders
{
    /// <summary>What the WordPiece decoder joins again that tokenising took apart.</summary>
    private static readonly (string Apart, string Joined)[] Contractions =
    [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];

    /// <summary>Reads a decoder; null puts a space between tokens.</summary>
    /// <exception cref="TokenizerFormatException">The file is wrong.</exception>
    /// <exception cref="NotSupportedException">The decoder is not built.</exception>
    public static TokenDecoder Read(JsonPlace? place) =>
        place is null
            ? tokens => [string.Join(' ', tokens)]
            : place.Type switch
            {
                "ByteLevel" => tokens => [ByteLevel.Decode(tokens)],
                "WordPiece" => WordPiece(place.Text("prefix") ?? "##", place.Flag("cleanup", true)),
                "Metaspace" => Metaspace(
                    place.Text("replacement") ?? PreTokenizers.SpaceSign,
                    PreTokenizers.PrependScheme(place) != PreTokenizers.Prepending.Never
                ),
                "BPEDecoder" => EndOfWord(place.Text("suffix") ?? "</w>"),
                "ByteFallback" => ByteFallback,
                "Fuse" => tokens => [string.Concat(tokens)],
                "Strip" => Strip(place.RequiredText("content"), place.Integer("start") ?? 0, place.Integer("stop") ?? 0),
                "Replace" => Replace(Pattern.Read(place, "pattern"), place.RequiredText("content")),
                "Sequence" => Sequence([.. place.Objects("decoders").Select(Read)]),
                _ => throw place.Unsupported(
                    "decoder",
                    "ByteLevel",
                    "WordPiece",
                    "Metaspace",
                    "BPEDecoder",
                    "ByteFallback",
                    "Fuse",
                    "Strip",
                    "Replace",
                    "Sequence"
                ),
            };

    /// <summary>One after another.</summary>
    public static TokenDecoder Sequence(params TokenDecoder[] steps) =>
        tokens => steps.Aggregate(tokens, (now, step) => step(now));

    /// <summary>Pieces join the word before them; words get a space before them.</summary>
    public static TokenDecoder WordPiece(string prefix, bool cleanup) =>
        tokens =>
            [
                .. tokens.Select(
                    (token, index) =>
                    {
                        string text =
                            index == 0 ? token
                            : token.StartsWith(prefix, StringComparison.Ordinal) ? token[prefix.Length..]
                            : " " + token;
                        return cleanup
                            ? Contractions.Aggregate(
                                text,
                                (now, pair) => now.Replace(pair.Apart, pair.Joined, StringComparison.Ordinal)
                            )
                            : text;
                    }
                ),
            ];

    /// <summary>SentencePiece's sign becomes a space; the one that was added before the text goes.</summary>
    public static TokenDecoder Metaspace(string sign, bool dropsFirst) =>
        tokens =>
            [
                .. tokens.Select(
                    (token, index) => token.Replace(sign, index == 0 && dropsFirst ? "" : " ", StringComparison.Ordinal)
                ),
            ];

    /// <summary>The sign of a word's end becomes a space, but for the last.</summary>
    public static TokenDecoder EndOfWord(string suffix) =>
        tokens =>
            [
                .. tokens.Select(
                    (token, index) => token.Replace(suffix, index == tokens.Count - 1 ? "" : " ", StringComparison.Ordinal)
                ),
            ];

    /// <summary>The same for tokens that were joined already, as transformers decodes CLIP's.</summary>
    public static TokenDecoder EndOfWordInText(string suffix) =>
        tokens => [string.Concat(tokens).Replace(suffix, " ", StringComparison.Ordinal).Trim()];

    /// <summary>Runs of byte tokens become characters, or U+FFFD for each byte where they are no UTF-8.</summary>
    public static IReadOnlyList<string> ByteFallback(IReadOnlyList<string> tokens)
    {
        var strict = new UTF8Encoding(false, throwOnInvalidBytes: true);
        var result = new List<string>();
        var bytes = new List<byte>();
        foreach (string token in tokens)
        {
            if (
                token.Length == 6
                && token.StartsWith("<0x", StringComparison.Ordinal)
                && token[5] == '>'
                && byte.TryParse(token.AsSpan(3, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out byte value)
            )
            {
                bytes.Add(value);
                continue;
            }
            Flush();
            result.Add(token);
        }
        Flush();
        return result;

        void Flush()
        {
            if (bytes.Count == 0)
                return;
            try
            {
                result.Add(strict.GetString([.. bytes]));
            }
            catch (DecoderFallbackException)
            {
                result.AddRange(Enumerable.Repeat("\uFFFD", bytes.Count));
            }
            bytes.Clear();
        }
    }

    /// <summary>Up to so many of a text go from the ends of each token.</summary>
    public static TokenDecoder Strip(string content, int start, int stop) =>
        tokens =>
            [
                .. tokens.Select(token =>
                {
                    for (int i = 0; i < start && content.Length > 0 && token.StartsWith(content, StringComparison.Ordinal); i++)
                        token = token[content.Length..];
                    for (int i = 0; i < stop && content.Length > 0 && token.EndsWith(content, StringComparison.Ordinal); i++)
                        token = token[..^content.Length];
                    return token;
                }),
            ];

    /// <summary>Replaces every match in each token.</summary>
    public static TokenDecoder Replace(Pattern pattern, string content)
    {
        var replace = Normalizers.Replace(pattern, content);
        return tokens => [.. tokens.Select(token => replace(AlignedText.Of(token)).Text)];
    }
}
