namespace AttentionDistillation.Worlds;

/// <summary>The areas of the class library that the namespace task tells apart.</summary>
public static class NamespaceAreas
{
    /// <summary>The area number of a member that is in none of the areas.</summary>
    public const byte None = byte.MaxValue;

    /// <summary>The areas: a namespace and all below it, none inside another.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "System.Collections",
        "System.IO",
        "System.Net",
        "System.Text",
        "System.Threading",
        "System.Security",
        "System.Reflection",
        "System.Xml",
        "System.Data",
        "System.Diagnostics",
        "System.Numerics",
        "Microsoft.AspNetCore",
    ];

    /// <summary>The area of a namespace, or <see cref="None"/>.</summary>
    public static byte Of(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        for (int area = 0; area < Names.Count; area++)
            if (name == Names[area] || name.StartsWith(Names[area] + ".", StringComparison.Ordinal))
                return (byte)area;
        return None;
    }
}
