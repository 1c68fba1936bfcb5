using System.Net;
using System.Text;
using System.Text.RegularExpressions;

namespace NotebookKernel.Html;

/// <summary>F# code with its comments, strings, keywords and numbers marked for a style sheet.</summary>
internal static partial class FSharpHtml
{
    /// <summary>Encodes and marks code.</summary>
    internal static string Highlight(string code)
    {
        var html = new StringBuilder();
        int at = 0;
        foreach (Match match in Tokens().Matches(code))
        {
            html.Append(WebUtility.HtmlEncode(code[at..match.Index]));
            string kind = match.Groups.Values.Skip(1).First(group => group.Success).Name;
            html.Append($"<span class=\"{kind}\">{WebUtility.HtmlEncode(match.Value)}</span>");
            at = match.Index + match.Length;
        }
        return html.Append(WebUtility.HtmlEncode(code[at..])).ToString();
    }

    // Groups are named by the style classes: c comment, s string, d directive, k keyword, n number. Backtracking is bounded by design:
    // no group repeats a repetition.
    [GeneratedRegex(
        """"
            (?<c>//[^\n]*|\(\*(?!\))[\s\S]*?\*\))
            |(?<s>\$*"""[\s\S]*?"""|\$?@"(?:[^"]|"")*"|\$?"(?:[^"\\]|\\.)*"|'(?:[^'\\\n]|\\.)'(?!\w))
            |(?<d>^[ \t]*\#\w+)
            |\b(?<k>abstract|and|as|assert|async|base|begin|class|default|delegate|do|done|downto|elif|else|end|exception|extern|false|finally
            |fixed|for|fun|function|global|if|in|inherit|inline|interface|internal|lazy|let|match|member|module|mutable|namespace|new|not|null
            |of|open|or|override|private|public|rec|return|seq|static|struct|task|then|to|true|try|type|upcast|use|val|void|when|while|with
            |yield)\b
            |\b(?<n>0[xob][\da-fA-F_]+\w*|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?\w*)
            """",
        RegexOptions.IgnorePatternWhitespace | RegexOptions.Multiline | RegexOptions.ExplicitCapture
    )]
    private static partial Regex Tokens();
}
