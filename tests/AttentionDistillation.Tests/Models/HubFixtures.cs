using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;

namespace AttentionDistillation.Tests.Models;

/// <summary>The checkpoint folders that interop tests run over.</summary>
public static class HubFixtures
{
    public const string Variable = "HUB_FIXTURES";

    public static string Root { get; } =
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } folder ? folder : Default();

    public static IEnumerable<string> Folders =>
        Directory.EnumerateDirectories(Root).Where(folder => File.Exists(Path.Combine(folder, "config.json"))).Order();

    public static IEnumerable<string> Supported => Folders.Where(folder => Hub.SupportedFamilies.Contains(FamilyOf(folder)));

    public static IEnumerable<string> Pending => Folders.Where(folder => !Hub.SupportedFamilies.Contains(FamilyOf(folder)));

    public static TheoryData<string> SupportedNames() => [.. Supported.Select(folder => Path.GetFileName(folder)!)];

    public static string FamilyOf(string folder) =>
        JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!["model_type"]?.ToString() ?? "unnamed";

    public static string Folder(string name) => Path.Combine(Root, name);

    private static string Default([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "..", "Fixtures", "hub");
}
