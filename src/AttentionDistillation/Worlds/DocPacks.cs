using System.Security.Cryptography;
using System.Text;

namespace AttentionDistillation.Worlds;

/// <summary>The reference packs of a .NET SDK, whose XML files are the corpus.</summary>
public sealed class DocPacks
{
    /// <summary>The pack that must be there.</summary>
    public const string CorePack = "Microsoft.NETCore.App.Ref";

    /// <summary>The pack that is used where it is there.</summary>
    public const string WebPack = "Microsoft.AspNetCore.App.Ref";

    private const string TargetFramework = "net10.0";
    private static readonly Version Oldest = new(10, 0, 0);
    private static readonly Version TooNew = new(10, 1, 0);

    private DocPacks(string folder, string version, IReadOnlyList<string> files)
    {
        Folder = folder;
        Version = version;
        Files = files;
    }

    /// <summary>The <c>packs</c> folder.</summary>
    public string Folder { get; }

    /// <summary>Names, versions and a fingerprint of the files: equal exactly when the corpus is the same.</summary>
    public string Version { get; }

    /// <summary>The XML files, in a fixed order: the core pack first, then by name.</summary>
    public IReadOnlyList<string> Files { get; }

    /// <summary>Finds the packs of this machine.</summary>
    /// <param name="folder">A <c>packs</c> folder, or the dotnet folder that holds one; null searches the usual places.</param>
    /// <exception cref="DirectoryNotFoundException">No pack; the message says what to install.</exception>
    public static DocPacks Find(string? folder = null) =>
        TryFind(folder)
        ?? throw new DirectoryNotFoundException(
            $"No reference documentation ({CorePack} 10.0.x) "
                + (folder is null ? "in any .NET installation of this machine. " : $"in '{folder}'. ")
                + "Install the .NET 10 SDK (https://dot.net/download; on Debian and Ubuntu 'apt-get install dotnet-sdk-10.0'), "
                + $"or give a prepared token cache: set {DotNetDocs.SourceVariable} to the file that DotNetDocs.WriteCache wrote on a machine with an SDK, "
                + $"or put it at {DotNetDocs.TravellingCache}."
        );

    /// <summary>Finds the packs of this machine, or null.</summary>
    public static DocPacks? TryFind(string? folder = null)
    {
        foreach (string candidate in folder is null ? UsualFolders() : [folder, Path.Combine(folder, "packs")])
        {
            if (Newest(candidate, CorePack) is not { } core)
                continue;
            var web = Newest(candidate, WebPack);
            string[] files = [.. XmlFiles(core.Folder), .. web is null ? [] : XmlFiles(web.Value.Folder)];
            string version = $"{CorePack} {core.Version}" + (web is null ? "" : $", {WebPack} {web.Value.Version}");
            return new DocPacks(candidate, $"{version} ({Fingerprint(files)})", files);
        }
        return null;
    }

    private static (string Folder, Version Version)? Newest(string packs, string name)
    {
        string pack = Path.Combine(packs, name);
        if (!Directory.Exists(pack))
            return null;
        return Directory
            .EnumerateDirectories(pack)
            .Select(path => (Folder: Path.Combine(path, "ref", TargetFramework), Version: ParseVersion(Path.GetFileName(path))))
            .Where(found => found.Version >= Oldest && found.Version < TooNew && XmlFiles(found.Folder).Length > 0)
            .OrderByDescending(found => found.Version)
            .Select(found => ((string, Version)?)(found.Folder, found.Version!))
            .FirstOrDefault();
    }

    private static Version? ParseVersion(string name) =>
        System.Version.TryParse(name.Split('-')[0], out var version) ? version : null;

    private static string[] XmlFiles(string folder)
    {
        if (!Directory.Exists(folder))
            return [];
        string[] files = Directory.GetFiles(folder, "*.xml");
        Array.Sort(files, StringComparer.Ordinal);
        return files;
    }

    // The whole content is hashed: 70 MB take a fraction of a second, and sizes alone would miss a corrected word.
    private static string Fingerprint(IEnumerable<string> files)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string file in files)
        {
            hash.AppendData(Encoding.UTF8.GetBytes(Path.GetFileName(file)));
            hash.AppendData(SHA256.HashData(File.ReadAllBytes(file)));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..12];
    }

    private static IEnumerable<string> UsualFolders()
    {
        var roots = new List<string?>
        {
            // shared/Microsoft.NETCore.App/10.0.x/System.Private.CoreLib.dll of the running .NET
            Path.GetDirectoryName(typeof(object).Assembly.Location)
                is { Length: > 0 } runtime
                ? Path.Combine(runtime, "..", "..", "..")
                : null,
            Environment.GetEnvironmentVariable("DOTNET_ROOT"),
        };
        string program = OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet";
        foreach (string entry in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator))
        {
            var file = new FileInfo(Path.Combine(entry, program));
            if (entry.Length > 0 && file.Exists)
                roots.Add(Path.GetDirectoryName((file.ResolveLinkTarget(returnFinalTarget: true) ?? file).FullName));
        }
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        roots.Add(Path.Combine(home, ".dotnet"));
        if (OperatingSystem.IsWindows())
            roots.Add(Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles), "dotnet"));
        else
            roots.AddRange([
                "/usr/share/dotnet",
                "/usr/lib/dotnet",
                "/usr/lib64/dotnet",
                "/usr/local/share/dotnet",
                "/opt/dotnet",
                "/snap/dotnet-sdk/current",
            ]);
        return roots
            .Where(root => !string.IsNullOrEmpty(root))
            .Select(root => Path.GetFullPath(Path.Combine(root!, "packs")))
            .Distinct();
    }
}
