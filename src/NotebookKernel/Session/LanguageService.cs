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

    // Errors of the parser that more text can mend: unexpected end of input, unmatched brackets, and ends of file in strings and comments.
    private static readonly HashSet<int> OpenEnded = [10, 58, 513, 514, 515, 516, 517, 518, 519, 520, 521, 522, 523, 583, 3100, 3524];

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
        string typed = partial.PartialIdent;
        int start = position - typed.Length;
        // A name that begins with backquotes is not cut apart by the parser above.
        if (start > 1 && code.AsSpan(0, start).EndsWith("``"))
            start -= 2;
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
        return errors.Any(error => IsOpenEnded(error, lastLine)) ? Completeness.Incomplete : Completeness.Invalid;
    }

    // The parser words an early end of the text in several ways, always at the end; in the middle the same error is one that stays.
    private static bool IsOpenEnded(FSharpDiagnostic error, int lastLine) =>
        OpenEnded.Contains(error.ErrorNumber)
        && (
            error.ErrorNumber != 10
            || error.EndLine >= lastLine
                && (
                    error.Message.Contains("end of input", StringComparison.OrdinalIgnoreCase)
                    || error.Message.Contains("at or before this point", StringComparison.Ordinal)
                )
        );

    // Clients ask at the cursor, which often stands behind the name, or behind the bracket of its arguments.
    private static SourcePlace? NameAt(SourcePlace place)
    {
        int column = Math.Min(place.Column, place.Text.Length);
        while (column > 0 && (column == place.Text.Length || !IsNamePart(place.Text[column])) && !IsNamePart(place.Text[column - 1]))
            column--;
        bool on = column < place.Text.Length && IsNamePart(place.Text[column]);
        bool behind = column > 0 && IsNamePart(place.Text[column - 1]);
        return on || behind ? place with { Column = on ? column : column - 1 } : null;
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
