using System.Text;

namespace NotebookKernel.Terminal;

/// <summary>Some lines at the bottom of the terminal that are redrawn in place, under text that scrolls by.</summary>
internal sealed class LiveBlock(TextWriter terminal)
{
    private int shown;

    /// <summary>The terminal's width in characters.</summary>
    internal static int Width
    {
        get
        {
            const int Usual = 100;
            try
            {
                return Console.WindowWidth > 0 ? Console.WindowWidth : Usual;
            }
            catch (IOException)
            {
                return Usual;
            }
        }
    }

    /// <summary>Prints lines above the block and redraws it, in one write, so that nothing flickers.</summary>
    internal void Draw(IEnumerable<string> above, IReadOnlyList<string> block)
    {
        var text = new StringBuilder();
        if (shown > 0)
            text.Append($"\x1b[{shown}A");
        text.Append("\r\x1b[J");
        foreach (string line in above)
            text.Append(line).Append('\n');
        foreach (string line in block)
            text.Append(line).Append('\n');
        shown = block.Count;
        terminal.Write(text);
        terminal.Flush();
    }
}
