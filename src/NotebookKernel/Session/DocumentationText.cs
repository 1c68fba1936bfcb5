using System.Text;
using System.Text.RegularExpressions;
using System.Xml;
using System.Xml.Linq;

namespace NotebookKernel.Session;

/// <summary>Turns XML documentation into text to read.</summary>
internal static partial class DocumentationText
{
    /// <summary>Summary, parameters and result; on request remarks, errors and examples as well.</summary>
    /// <param name="xml">The XML inside a member's element.</param>
    /// <param name="remarks">Whether everything is wanted.</param>
    internal static string Of(string xml, bool remarks)
    {
        XElement member;
        try
        {
            member = XElement.Parse($"<member>{xml}</member>", LoadOptions.PreserveWhitespace);
        }
        catch (XmlException)
        {
            return Tidy(xml);
        }
        // A comment that holds bare text has no elements.
        if (!member.Elements().Any())
            return Tidy(member.Value);
        if (member.Element("member") is { } inner)
            member = inner;
        var sections = new List<string>();
        AddAll("summary", _ => "");
        AddAll("param", each => $"{each.Attribute("name")?.Value}: ");
        AddAll("returns", _ => "Returns: ");
        AddAll("value", _ => "Value: ");
        if (remarks)
        {
            AddAll("exception", each => $"Throws {ShortName(each.Attribute("cref")?.Value)}: ");
            AddAll("remarks", _ => "");
            AddAll("example", _ => "Example: ");
        }
        return string.Join('\n', sections);

        void AddAll(string name, Func<XElement, string> prefix)
        {
            foreach (var element in member.Elements(name))
            {
                var text = new StringBuilder();
                Write(element, text);
                string tidy = Tidy(text.ToString());
                if (tidy.Length > 0)
                    sections.Add(prefix(element) + tidy);
            }
        }
    }

    private static void Write(XElement from, StringBuilder to)
    {
        foreach (var node in from.Nodes())
            switch (node)
            {
                case XText text:
                    to.Append(text.Value);
                    break;
                case XElement { Name.LocalName: "see" or "seealso" or "paramref" or "typeparamref", IsEmpty: true } link:
                    var target =
                        link.Attribute("cref") ?? link.Attribute("langword") ?? link.Attribute("name") ?? link.Attribute("href");
                    to.Append(ShortName(target?.Value));
                    break;
                case XElement { Name.LocalName: "para" or "br" or "item" or "code" } block:
                    to.Append("\n\n");
                    Write(block, to);
                    to.Append("\n\n");
                    break;
                case XElement element:
                    Write(element, to);
                    break;
            }
    }

    // T:System.String, M:A.B.C(System.Int32) and plain names, as one says them.
    private static string ShortName(string? reference)
    {
        if (reference is null)
            return "";
        string name = (reference.Length > 1 && reference[1] == ':' ? reference[2..] : reference).Split('(')[0];
        return Arity().Replace(name.Contains("://", StringComparison.Ordinal) ? name : name[(name.LastIndexOf('.') + 1)..], "");
    }

    // Lines of a paragraph are joined, paragraphs kept apart.
    private static string Tidy(string text) =>
        string.Join(
            '\n',
            Paragraphs()
                .Split(text.ReplaceLineEndings("\n"))
                .Select(paragraph => Spaces().Replace(paragraph, " ").Trim())
                .Where(paragraph => paragraph.Length > 0)
        );

    [GeneratedRegex(@"`\d+")]
    private static partial Regex Arity();

    [GeneratedRegex(@"\n[ \t]*\n")]
    private static partial Regex Paragraphs();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();
}
