using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Xml;

namespace NotebookKernel.Session;

/// <summary>Finds the XML documentation of members: beside their assembly, or, for .NET's own, in the SDK's reference packs where there are any.</summary>
internal static class DocumentationFiles
{
    private static readonly ConcurrentDictionary<string, Dictionary<string, string>> Read = new(StringComparer.Ordinal);
    private static readonly Lazy<string?> ReferencePack = new(FindReferencePack);

    /// <summary>The XML inside a member's element; null where it is not documented.</summary>
    /// <param name="assembly">The assembly's file.</param>
    /// <param name="signature">The member's identity, for example <c>M:System.String.Trim</c>.</param>
    internal static string? Find(string assembly, string signature) =>
        Candidates(assembly, signature)
            .Select(file => Read.GetOrAdd(file, Load).GetValueOrDefault(signature))
            .FirstOrDefault(found => found is not null);

    private static IEnumerable<string> Candidates(string assembly, string signature)
    {
        string beside = Path.ChangeExtension(assembly, ".xml");
        if (File.Exists(beside))
            yield return beside;
        string own = Path.Combine(AppContext.BaseDirectory, Path.GetFileName(beside));
        if (own != beside && File.Exists(own))
            yield return own;
        if (ReferencePack.Value is not { } pack)
            yield break;
        // Members lie in implementation assemblies, their documentation in the files of the public ones, which are named after namespaces.
        string name = signature[(signature.IndexOf(':') + 1)..].Split('(')[0];
        for (int dot = name.LastIndexOf('.'); dot > 0; dot = name.LastIndexOf('.', dot - 1))
        {
            string file = Path.Combine(pack, name[..dot] + ".xml");
            if (File.Exists(file))
                yield return file;
        }
        string runtime = Path.Combine(pack, "System.Runtime.xml");
        if (name.StartsWith("System.", StringComparison.Ordinal) && File.Exists(runtime))
            yield return runtime;
    }

    private static Dictionary<string, string> Load(string file)
    {
        var members = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            using var reader = XmlReader.Create(file, new XmlReaderSettings { DtdProcessing = DtdProcessing.Ignore });
            reader.MoveToContent();
            while (!reader.EOF)
                if (reader.NodeType == XmlNodeType.Element && reader.Name == "member" && reader.GetAttribute("name") is { } name)
                    members[name] = reader.ReadInnerXml(); // moves on by itself
                else
                    reader.Read();
        }
        catch (Exception error) when (error is XmlException or IOException or UnauthorizedAccessException)
        {
            // A damaged file costs the documentation behind the damage, nothing else.
        }
        return members;
    }

    private static string? FindReferencePack()
    {
        string root = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));
        string packs = Path.Combine(root, "packs", "Microsoft.NETCore.App.Ref");
        string target = $"net{Environment.Version.Major}.{Environment.Version.Minor}";
        return Directory.Exists(packs)
            ? Directory
                .EnumerateDirectories(packs)
                .Select(pack => Path.Combine(pack, "ref", target))
                .Where(Directory.Exists)
                .Order(StringComparer.Ordinal)
                .LastOrDefault()
            : null;
    }
}
