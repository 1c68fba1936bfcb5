using FSharp.Compiler.Tokenization;
using Microsoft.FSharp.Collections;

namespace NotebookKernel.Session;

/// <summary>
/// Cuts a cell at its <c>;;</c>, where the compiler's interactive session stops reading: code written for a console would otherwise
/// silently end there.
/// </summary>
internal static class Interactions
{
    private const string Terminator = ";;";
    private const string TokenName = "SEMICOLON_SEMICOLON";

    /// <summary>The parts, in order. Each keeps its lines and columns: what was cut off before it is blank.</summary>
    internal static IReadOnlyList<string> Split(string code)
    {
        if (!code.Contains(Terminator, StringComparison.Ordinal))
            return [code];
        var cuts = Terminators(code);
        var parts = new List<string>();
        int start = 0;
        foreach (int cut in (int[])[.. cuts, code.Length])
        {
            if (!string.IsNullOrWhiteSpace(code[start..cut]))
                parts.Add(Blank(code[..start]) + code[start..cut]);
            start = Math.Min(code.Length, cut + Terminator.Length);
        }
        return parts;
    }

    // Those that are no part of a string or a comment.
    private static List<int> Terminators(string code)
    {
        var cuts = new List<int>();
        var tokenizer = new FSharpSourceTokenizer(FSharpList<string>.Empty, null, null, null);
        var state = FSharpTokenizerLexState.Initial;
        int offset = 0;
        foreach (string line in code.Split('\n'))
        {
            var scanner = tokenizer.CreateLineTokenizer(line);
            while (true)
            {
                var (token, next) = scanner.ScanToken(state);
                state = next;
                if (token is null)
                    break;
                if (token.Value.TokenName == TokenName)
                    cuts.Add(offset + token.Value.LeftColumn);
            }
            offset += line.Length + 1;
        }
        return cuts;
    }

    private static string Blank(string text) =>
        string.Create(
            text.Length,
            text,
            static (to, from) =>
            {
                for (int index = 0; index < from.Length; index++)
                    to[index] = from[index] == '\n' ? '\n' : ' ';
            }
        );
}
