using System.Text;
using System.Text.RegularExpressions;

namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>File-name patterns as shells and huggingface_hub have them (Python's <c>fnmatch</c>).</summary>
internal static class FilePatterns
{
    /// <summary>True when a file is taken: one of <paramref name="allow"/> matches (or there is none) and none of <paramref name="ignore"/>.</summary>
    public static bool Takes(string file, IReadOnlyList<string> allow, IReadOnlyList<string> ignore) =>
        (allow.Count == 0 || allow.Any(pattern => Matches(file, pattern))) && !ignore.Any(pattern => Matches(file, pattern));

    /// <summary>True when a pattern matches a whole path.</summary>
    public static bool Matches(string file, string pattern)
    {
        if (pattern.EndsWith('/'))
            pattern += "*";
        return Regex.IsMatch(file, Translate(pattern), RegexOptions.Singleline | RegexOptions.CultureInvariant);
    }

    private static string Translate(string pattern)
    {
        var regex = new StringBuilder(@"\A");
        for (int i = 0; i < pattern.Length; i++)
        {
            char c = pattern[i];
            int close = c == '[' ? Close(pattern, i) : -1;
            if (c == '*')
                regex.Append(".*");
            else if (c == '?')
                regex.Append('.');
            else if (close > 0)
            {
                string set = pattern[(i + 1)..close].Replace(@"\", @"\\", StringComparison.Ordinal);
                set = set.Replace("[", @"\[", StringComparison.Ordinal);
                regex
                    .Append('[')
                    .Append(
                        set[0] == '!' ? "^" + set[1..]
                        : set[0] == '^' ? @"\" + set
                        : set
                    )
                    .Append(']');
                i = close;
            }
            else
                regex.Append(Regex.Escape(c.ToString()));
        }
        return regex.Append(@"\z").ToString();
    }

    /// <summary>Where the set that opens at <paramref name="open"/> closes; its first character may be a bracket. -1 when it does not.</summary>
    private static int Close(string pattern, int open)
    {
        int first = open + 1 < pattern.Length && pattern[open + 1] == '!' ? open + 2 : open + 1;
        int close = first < pattern.Length ? pattern.IndexOf(']', first + 1) : -1;
        return close;
    }
}
