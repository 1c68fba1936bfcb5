using System.Text;
using System.Text.RegularExpressions;
using System.Xml;

namespace AttentionDistillation.Worlds;

/// <summary>Reads the members of an XML documentation file in one pass, and cleans their texts.</summary>
internal static partial class DocReader
{
    // Private-use characters around the names that came from cross-references, so that a template can leave them out.
    private const char NameStart = '\uE000';
    private const char NameEnd = '\uE001';

    /// <summary>What stands for a cross-reference in a template.</summary>
    public const string Placeholder = "@";

    /// <summary>The members of a file, in its order; those without a summary are left out.</summary>
    /// <exception cref="InvalidDataException">The file is not well-formed XML; the message names it and the place.</exception>
    public static List<DocMember> Read(string file)
    {
        try
        {
            using var stream = File.OpenRead(file);
            using var reader = XmlReader.Create(stream, new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit });
            var members = new List<DocMember>();
            while (reader.ReadToFollowing("member"))
                if (ReadMember(reader) is { } member)
                    members.Add(member);
            return members;
        }
        catch (XmlException error)
        {
            throw new InvalidDataException(
                $"'{file}' is not well-formed XML documentation: {error.Message} Repair the .NET SDK installation, or name another packs folder.",
                error
            );
        }
    }

    private static DocMember? ReadMember(XmlReader reader)
    {
        string id = reader.GetAttribute("name") ?? "";
        MemberKind? kind = id.Length < 3 || id[1] != ':' ? null : KindOf(id[0]);
        if (reader.IsEmptyElement)
            return null;
        int depth = reader.Depth;
        string summary = "";
        var passages = new List<string>();
        reader.Read();
        while (reader.Depth > depth)
        {
            if (
                reader.NodeType == XmlNodeType.Element
                && reader.Name is "summary" or "remarks" or "param" or "returns" or "value"
            )
            {
                bool isSummary = reader.Name == "summary";
                string text = Squeeze(ReadText(reader));
                if (isSummary)
                    summary = text;
                else if (text.Length > 0)
                    passages.Add(Plain(text));
            }
            else if (reader.NodeType == XmlNodeType.Element)
                reader.Skip();
            else
                reader.Read();
        }
        if (kind is null || summary.Length == 0)
            return null;
        return new DocMember(id, kind.Value, Plain(summary), Names().Replace(summary, Placeholder), passages);
    }

    private static MemberKind? KindOf(char letter) =>
        letter switch
        {
            'T' => MemberKind.Type,
            'M' => MemberKind.Method,
            'P' => MemberKind.Property,
            'F' => MemberKind.Field,
            'E' => MemberKind.Event,
            _ => null,
        };

    /// <summary>Reads an element's text and moves past it.</summary>
    private static string ReadText(XmlReader reader)
    {
        var text = new StringBuilder();
        int depth = reader.Depth;
        bool empty = reader.IsEmptyElement;
        reader.Read();
        while (!empty && reader.Depth > depth)
        {
            if (
                reader.NodeType
                is XmlNodeType.Text
                    or XmlNodeType.CDATA
                    or XmlNodeType.SignificantWhitespace
                    or XmlNodeType.Whitespace
            )
                text.Append(reader.Value);
            else if (reader.NodeType == XmlNodeType.Element)
            {
                // A program listing is no prose; its end and the next text are found by the same loop.
                if (reader.Name is "code" or "example")
                {
                    reader.Skip();
                    text.Append(' ');
                    continue;
                }
                AppendElement(reader, text);
            }
            else if (
                reader.NodeType == XmlNodeType.EndElement
                && reader.Name is "para" or "item" or "term" or "description" or "p" or "li"
            )
                text.Append(' ');
            reader.Read();
        }
        if (!empty)
            reader.Read();
        return text.ToString();
    }

    private static void AppendElement(XmlReader reader, StringBuilder text)
    {
        switch (reader.Name)
        {
            case "see" or "seealso" when reader.IsEmptyElement && reader.GetAttribute("cref") is { } reference:
                text.Append(NameStart).Append(MemberNames.Short(reference)).Append(NameEnd);
                break;
            case "see" when reader.GetAttribute("langword") is { } word:
                text.Append(word);
                break;
            case "paramref" or "typeparamref" when reader.GetAttribute("name") is { } name:
                text.Append(name);
                break;
            case "para" or "br" or "item" or "list" or "term" or "description" or "p" or "li":
                text.Append(' ');
                break;
        }
    }

    private static string Squeeze(string text) => Spaces().Replace(text, " ").Trim();

    private static string Plain(string text) => text.Replace(NameStart.ToString(), "").Replace(NameEnd.ToString(), "");

    [GeneratedRegex(@"[\s\u00A0\u200B\uFEFF]+")]
    private static partial Regex Spaces();

    [GeneratedRegex("\uE000[^\uE001]*\uE001")]
    private static partial Regex Names();
}
