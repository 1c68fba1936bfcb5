using System.Text;
using System.Text.Json.Nodes;

namespace NotebookKernel.Documents;

/// <summary>Text as notebooks store it: a list of lines, each with its line end; and text as a terminal would leave it.</summary>
internal static class MultilineText
{
    /// <summary>Splits text into the lines of the format.</summary>
    internal static JsonArray ToLines(string text)
    {
        var lines = new JsonArray();
        for (int start = 0; start < text.Length; )
        {
            int end = text.IndexOf('\n', start);
            end = end < 0 ? text.Length : end + 1;
            lines.Add((JsonNode)text[start..end]);
            start = end;
        }
        return lines;
    }

    /// <summary>Text of the format, a string or a list of lines, as one string.</summary>
    internal static string FromLines(JsonNode? node) =>
        node is JsonArray lines ? string.Concat(lines.Select(NotebookDocument.Text)) : NotebookDocument.Text(node) ?? "";

    /// <summary>
    /// Appends text to a screen of lines: a carriage return that ends no line starts the line anew, as a progress counter expects, and a
    /// later chunk may do so to the line that an earlier one left.
    /// </summary>
    internal static void AppendAsTerminal(StringBuilder screen, string text)
    {
        foreach (char c in text)
        {
            bool returned = screen.Length > 0 && screen[^1] == '\r';
            if (returned && c == '\n')
                screen.Length--;
            else if (returned && c != '\r')
                screen.Length = LineStart(screen);
            if (c != '\r' || !returned)
                screen.Append(c);
        }
    }

    private static int LineStart(StringBuilder screen)
    {
        int at = screen.Length;
        while (at > 0 && screen[at - 1] != '\n')
            at--;
        return at;
    }
}
