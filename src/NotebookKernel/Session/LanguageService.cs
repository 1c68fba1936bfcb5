using FSharp.Compiler.CodeAnalysis;
using FSharp.Compiler.Diagnostics;
using FSharp.Compiler.EditorServices;
using FSharp.Compiler.Interactive;
using FSharp.Compiler.Symbols;
using FSharp.Compiler.Text;
using FSharp.Compiler.Tokenization;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace NotebookKernel.Session;

/// <summary>A name that could stand at the cursor.</summary>
/// <param name="Code">What to insert, with backquotes where the name needs them.</param>
/// <param name="Kind">What it is: method, property, function, ...</param>
internal sealed record Completion(string Code, string Kind);

/// <summary>The names that could stand at the cursor, and the part of the text they would replace.</summary>
/// <param name="Start">UTF-16 position where the replaced part begins.</param>
/// <param name="End">UTF-16 position where it ends.</param>
/// <param name="Items">The names, best first.</param>
internal sealed record Completions(int Start, int End, IReadOnlyList<Completion> Items);

/// <summary>Whether code could be run as it stands.</summary>
internal enum Completeness
{
    /// <summary>It parses.</summary>
    Complete,

    /// <summary>More must follow: a block, a bracket or a string is open.</summary>
    Incomplete,

    /// <summary>Nothing that follows could mend it.</summary>
    Invalid,
}

/// <summary>Questions to the F# compiler about code that continues a session: completions, meanings of names, completeness.</summary>
internal static class LanguageService
{
    // A client filters as the user types on; more names than this no reader looks through.
    private const int MostItems = 1000;

    // What the parser says of brackets, strings, comments and blocks that are not closed, wherever it notices.
    private static readonly HashSet<int> Unclosed =
    [
        .. Enumerable.Range(513, 11), // end of file in a string or comment
        583, // unmatched (
        588, // a block that ends in let
        598, // unmatched [
        603, // unmatched [|
        604, // unmatched {
        1232, // end of file in a triple-quoted string
        .. Enumerable.Range(3100, 21), // end of input in try, match, a type, a definition, ...
    ];

    // What it says of an expression that wants more, where it stands at the end; earlier in the text, more at the end cannot mend it.
    private static readonly HashSet<int> Unfinished =
    [
        58, // offside
        611, // missing function body
        882, // a field without a name
        3156, // an operator without its right side
        3524, // expression expected
    ];

    private const int UnexpectedToken = 10;

    /// <summary>What could stand at a position.</summary>
    /// <param name="session">The session that the code continues.</param>
    /// <param name="code">The cell.</param>
    /// <param name="position">UTF-16 position of the cursor.</param>
    internal static Completions Complete(Shell.FsiEvaluationSession session, string code, int position)
    {
        var place = SourcePlace.Of(code, position);
        var partial = QuickParse.GetPartialLongNameEx(place.Text, place.Column - 1);
        var (parsed, meant, _) = session.ParseAndCheckInteraction(code, null);
        var found = meant.GetDeclarationListInfo(
            FSharpOption<FSharpParseFileResults>.Some(parsed),
            place.Line,
            place.Text,
            partial,
            null,
            null,
            null
        );
        int start = position;
        while (start > 0 && IsNamePart(code[start - 1]))
            start--;
        string typed = code[start..position].Trim('`');
        var items = found
            .Items.Where(item => item.NameInList.Contains(typed, StringComparison.OrdinalIgnoreCase))
            .OrderByDescending(item => item.NameInList.StartsWith(typed, StringComparison.Ordinal))
            .ThenByDescending(item => item.NameInList.StartsWith(typed, StringComparison.OrdinalIgnoreCase))
            .ThenBy(item => item.NameInList, StringComparer.OrdinalIgnoreCase)
            .Take(MostItems)
            .Select(item => new Completion(item.NameInCode, Kind(item.Glyph)))
            .DistinctBy(item => item.Code);
        return new Completions(start, position, [.. items]);
    }

    /// <summary>What the name at a position means: signatures with their documentation; none for nothing known.</summary>
    /// <param name="session">The session that the code continues.</param>
    /// <param name="code">The cell.</param>
    /// <param name="position">UTF-16 position of the cursor.</param>
    /// <param name="remarks">Whether remarks, examples and errors are wanted too.</param>
    internal static IReadOnlyList<(string Signature, string Documentation)> Inspect(
        Shell.FsiEvaluationSession session,
        string code,
        int position,
        bool remarks
    )
    {
        var place = NameAt(SourcePlace.Of(code, position));
        if (place is not { } at)
            return [];
        var island = QuickParse.GetCompleteIdentifierIsland(false, at.Text, at.Column);
        if (island is null)
            return [];
        var (name, end, _) = island.Value;
        var (_, meant, _) = session.ParseAndCheckInteraction(code, null);
        var tip = meant.GetToolTip(
            at.Line,
            end,
            at.Text,
            ListModule.OfSeq(name.Split('.').Select(part => part.Trim('`'))),
            FSharpTokenTag.Identifier,
            null
        );
        return
        [
            .. tip
                .Item.OfType<ToolTipElement.Group>()
                .SelectMany(group => group.elements)
                .Select(element => (TextOf(element.MainDescription), DocumentationOf(element.XmlDoc, remarks)))
                .Where(entry => entry.Item1.Length > 0),
        ];
    }

    /// <summary>Whether code could be run as it stands.</summary>
    internal static Completeness Check(Shell.FsiEvaluationSession session, string code)
    {
        if (string.IsNullOrWhiteSpace(code))
            return Completeness.Complete;
        var (parsed, _, _) = session.ParseAndCheckInteraction(code, null);
        var errors = parsed.Diagnostics.Where(each => each.Severity.IsError).ToList();
        if (errors.Count == 0)
            return Completeness.Complete;
        int lastLine = 1 + code.TrimEnd().AsSpan().Count('\n');
        return errors.TrueForAll(error => IsMendable(error, lastLine)) ? Completeness.Incomplete : Completeness.Invalid;
    }

    private static bool IsMendable(FSharpDiagnostic error, int lastLine) =>
        Unclosed.Contains(error.ErrorNumber)
        || error.EndLine >= lastLine
            && (
                Unfinished.Contains(error.ErrorNumber)
                || error.ErrorNumber == UnexpectedToken
                    && (
                        error.Message.Contains("end of input", StringComparison.OrdinalIgnoreCase)
                        || error.Message.Contains("at or before this point", StringComparison.Ordinal)
                    )
            );

    // Clients ask at the cursor, which may stand behind the name or among its arguments: then the nearest name to the left is meant.
    private static SourcePlace? NameAt(SourcePlace place)
    {
        string text = place.Text;
        int column = Math.Min(place.Column, text.Length);
        if (column == text.Length || !IsNamePart(text[column]))
            column--;
        while (column >= 0)
        {
            if (!IsNamePart(text[column]))
            {
                column--;
                continue;
            }
            int start = column;
            while (start > 0 && IsNamePart(text[start - 1]))
                start--;
            if (!char.IsDigit(text[start]))
                return place with { Column = column };
            column = start - 1; // a number
        }
        return null;
    }

    private static bool IsNamePart(char letter) => char.IsLetterOrDigit(letter) || letter is '_' or '\'' or '`';

    private static string TextOf(IEnumerable<TaggedText> text) => string.Concat(text.Select(part => part.Text)).Trim();

    private static string DocumentationOf(FSharpXmlDoc documentation, bool remarks) =>
        documentation switch
        {
            FSharpXmlDoc.FromXmlText { Item: var text } => DocumentationText.Of(text.GetXmlText(), remarks),
            FSharpXmlDoc.FromXmlFile file => DocumentationFiles.Find(file.dllName, file.xmlSig) is { } found
                ? DocumentationText.Of(found, remarks)
                : "",
            _ => "",
        };

    // The words that clients have icons for.
    private static string Kind(FSharpGlyph glyph) =>
        glyph.Tag switch
        {
            FSharpGlyph.Tags.Class or FSharpGlyph.Tags.Exception or FSharpGlyph.Tags.Typedef => "class",
            FSharpGlyph.Tags.Struct or FSharpGlyph.Tags.Type or FSharpGlyph.Tags.Union => "struct",
            FSharpGlyph.Tags.Interface => "interface",
            FSharpGlyph.Tags.Delegate => "function",
            FSharpGlyph.Tags.Enum => "enum",
            FSharpGlyph.Tags.EnumMember => "enumMember",
            FSharpGlyph.Tags.Event => "event",
            FSharpGlyph.Tags.Field => "field",
            FSharpGlyph.Tags.Property => "property",
            FSharpGlyph.Tags.Method or FSharpGlyph.Tags.OverridenMethod or FSharpGlyph.Tags.ExtensionMethod => "method",
            FSharpGlyph.Tags.Module or FSharpGlyph.Tags.NameSpace => "module",
            FSharpGlyph.Tags.Constant => "constant",
            FSharpGlyph.Tags.TypeParameter => "typeParameter",
            _ => "variable",
        };
}
