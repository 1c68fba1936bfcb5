namespace NotebookKernel.Session;

/// <summary>A place in code, as the compiler names it.</summary>
/// <param name="Line">The line, counted from 1.</param>
/// <param name="Column">UTF-16 units before it in the line.</param>
/// <param name="Text">The line's text.</param>
internal readonly record struct SourcePlace(int Line, int Column, string Text)
{
    /// <summary>The place of a UTF-16 position.</summary>
    internal static SourcePlace Of(string code, int position)
    {
        int start = position == 0 ? 0 : code.LastIndexOf('\n', position - 1) + 1;
        int end = code.IndexOf('\n', position);
        int line = 1 + code.AsSpan(0, start).Count('\n');
        return new SourcePlace(line, position - start, (end < 0 ? code[start..] : code[start..end]).TrimEnd('\r'));
    }
}
