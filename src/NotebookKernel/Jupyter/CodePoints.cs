using System.Text;

namespace NotebookKernel.Jupyter;

/// <summary>Cursor positions: the protocol counts Unicode code points, .NET counts UTF-16 units.</summary>
internal static class CodePoints
{
    /// <summary>The UTF-16 position of a code point; positions outside the text are moved to its ends.</summary>
    internal static int ToUnits(string text, int position)
    {
        int units = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            if (position-- <= 0)
                break;
            units += rune.Utf16SequenceLength;
        }
        return units;
    }

    /// <summary>The number of code points before a UTF-16 position.</summary>
    internal static int FromUnits(string text, int units)
    {
        int count = 0;
        foreach (var _ in text.AsSpan(0, units).EnumerateRunes())
            count++;
        return count;
    }
}
