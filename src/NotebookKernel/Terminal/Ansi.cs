using System.Globalization;

namespace NotebookKernel.Terminal;

/// <summary>Colours and words for the terminal. Without a terminal, or with <c>NO_COLOR</c> set, text stays plain.</summary>
internal sealed class Ansi(bool colours)
{
    internal static Ansi For(bool redirected) =>
        new(!redirected && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")));

    internal string Bold(string text) => Coded("1", text);

    internal string Dim(string text) => Coded("2", text);

    internal string Red(string text) => Coded("31", text);

    internal string Green(string text) => Coded("32", text);

    internal string Yellow(string text) => Coded("33", text);

    internal string Cyan(string text) => Coded("36", text);

    private string Coded(string code, string text) => colours ? $"\x1b[{code}m{text}\x1b[0m" : text;

    /// <summary>A time in the shortest readable form.</summary>
    internal static string Duration(TimeSpan time) =>
        time.TotalMinutes < 1 ? time.TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture) + " s"
        : time.TotalHours < 1 ? $"{(int)time.TotalMinutes}:{time.Seconds:00} min"
        : $"{(int)time.TotalHours}:{time.Minutes:00} h";

    /// <summary>A number of things.</summary>
    internal static string Count(int number, string thing) => number == 1 ? $"1 {thing}" : $"{number} {thing}s";

    /// <summary>Text cut to a width, on one line, free of control characters.</summary>
    internal static string Fit(string text, int width)
    {
        string line = string.Concat(text.Select(c => c == '\t' ? ' ' : c).Where(c => !char.IsControl(c))).Trim();
        return line.Length <= width ? line
            : width < 2 ? ""
            : line[..(width - 1)] + "…";
    }

    /// <summary>The last line of text that says something.</summary>
    internal static string? LastLine(string text)
    {
        var rest = text.AsSpan().TrimEnd();
        if (rest.IsEmpty)
            return null;
        int start = rest.LastIndexOfAny('\n', '\r') + 1;
        return rest[start..].ToString();
    }
}
