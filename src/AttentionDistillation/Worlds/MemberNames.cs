using System.Text;
using System.Text.RegularExpressions;

namespace AttentionDistillation.Worlds;

/// <summary>Names that a person would write, from documentation ids.</summary>
internal static partial class MemberNames
{
    /// <summary>The short name of an id: <c>FileStream</c>, <c>File.Open</c>.</summary>
    public static string Short(string id)
    {
        string name = WithoutParameters(id);
        string[] parts = Arity().Replace(name, "").Split('.');
        bool isType = !(id.Length > 1 && id[1] == ':' && id[0] != 'T');
        if (isType || parts.Length < 2)
            return parts[^1];
        return parts[^1] is "#ctor" or "#cctor" ? parts[^2] : $"{parts[^2]}.{parts[^1].Replace('#', '.')}";
    }

    /// <summary>
    /// The signature as text with compound names broken into words: <c>File.Open(System.String,System.IO.FileMode)</c> is
    /// <c>File . Open ( String , File Mode )</c>.
    /// </summary>
    public static string Signature(string id)
    {
        var text = new StringBuilder(Short(id));
        int open = id.IndexOf('(');
        if (open >= 0)
            text.Append(Parameter().Replace(Arity().Replace(id[open..].Split('~')[0], ""), "").Replace(",", ", "));
        return WordBoundary().Replace(text.ToString(), " ");
    }

    /// <summary>The namespace of a member.</summary>
    /// <param name="id">The member's id.</param>
    /// <param name="types">The full names of all types, which tell a nested type from a namespace.</param>
    public static string Namespace(string id, IReadOnlySet<string> types)
    {
        string name = WithoutParameters(id);
        string type = id[0] == 'T' ? name : Parent(name);
        while (types.Contains(Parent(type)))
            type = Parent(type);
        return Parent(type);
    }

    /// <summary>The id without its letter and its parameters.</summary>
    public static string WithoutParameters(string id)
    {
        int start = id.Length > 1 && id[1] == ':' ? 2 : 0;
        int open = id.IndexOf('(');
        return open < 0 ? id[start..] : id[start..open];
    }

    private static string Parent(string name) => name.LastIndexOf('.') is var dot and > 0 ? name[..dot] : "";

    [GeneratedRegex(@"`+\d+|\{[^}]*\}")]
    private static partial Regex Arity();

    // The namespace part of a parameter's type.
    [GeneratedRegex(@"(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")]
    private static partial Regex Parameter();

    [GeneratedRegex(@"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")]
    private static partial Regex WordBoundary();
}
