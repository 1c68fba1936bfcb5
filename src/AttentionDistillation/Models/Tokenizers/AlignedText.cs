using System.Text;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>
/// A text on its way to tokens, in which every character knows from which range of the original text (UTF-16 units) it comes, whatever was
/// inserted, removed or replaced.
/// </summary>
internal sealed class AlignedText
{
    private readonly int[] starts;
    private readonly int[] ends;

    internal AlignedText(string text, int[] starts, int[] ends, int origin) =>
        (Text, this.starts, this.ends, Origin) = (text, starts, ends, origin);

    /// <summary>The text as it is now.</summary>
    public string Text { get; }

    /// <summary>Where in the original text it begins.</summary>
    public int Origin { get; }

    /// <summary>A text as the user gave it. A surrogate without its other half becomes U+FFFD: no vocabulary knows it.</summary>
    public static AlignedText Of(string original)
    {
        var starts = new int[original.Length];
        var ends = new int[original.Length];
        StringBuilder? mended = null;
        for (int i = 0; i < original.Length; i++)
        {
            (starts[i], ends[i]) = (i, i + 1);
            if (!char.IsSurrogate(original[i]))
                continue;
            if (i + 1 < original.Length && char.IsSurrogatePair(original[i], original[i + 1]))
            {
                (ends[i], starts[i + 1], ends[i + 1]) = (i + 2, i, i + 2);
                i++;
            }
            else
                (mended ??= new StringBuilder(original))[i] = '\uFFFD';
        }
        return new AlignedText(mended?.ToString() ?? original, starts, ends, 0);
    }

    /// <summary>A part of it.</summary>
    public AlignedText Slice(int start, int length) =>
        start == 0 && length == Text.Length
            ? this
            : new AlignedText(
                Text.Substring(start, length),
                starts.AsSpan(start, length).ToArray(),
                ends.AsSpan(start, length).ToArray(),
                start < starts.Length ? starts[start] : End
            );

    /// <summary>The original range of a character.</summary>
    public (int Start, int End) At(int index) => (starts[index], ends[index]);

    /// <summary>The original range of some characters: from where the first begins to where the last ends.</summary>
    public (int Start, int End) Range(int start, int end) =>
        start >= end
            ? (start < starts.Length ? starts[start] : End, start < starts.Length ? starts[start] : End)
            : (starts[start], Math.Max(starts[start], ends[end - 1]));

    private int End => ends.Length > 0 ? ends[^1] : Origin;
}

/// <summary>Builds an <see cref="AlignedText"/> out of another.</summary>
internal sealed class AlignedTextBuilder(AlignedText source)
{
    private readonly StringBuilder text = new(source.Text.Length + 8);
    private readonly List<int> starts = new(source.Text.Length + 8);
    private readonly List<int> ends = new(source.Text.Length + 8);

    /// <summary>Appends characters that come from a range of the source.</summary>
    public void Append(ReadOnlySpan<char> characters, int start, int end)
    {
        var (from, to) = source.Range(start, end);
        foreach (char character in characters)
        {
            text.Append(character);
            starts.Add(from);
            ends.Add(to);
        }
    }

    /// <summary>Appends a code point that comes from a range of the source.</summary>
    public void Append(Rune rune, int start, int end)
    {
        Span<char> buffer = stackalloc char[2];
        Append(buffer[..rune.EncodeToUtf16(buffer)], start, end);
    }

    /// <summary>Appends a range of the source as it is.</summary>
    public void Copy(int start, int end)
    {
        for (int i = start; i < end; i++)
        {
            var (from, to) = source.At(i);
            text.Append(source.Text[i]);
            starts.Add(from);
            ends.Add(to);
        }
    }

    /// <summary>The result.</summary>
    public AlignedText Build() => new(text.ToString(), [.. starts], [.. ends], source.Origin);
}
