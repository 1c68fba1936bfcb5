namespace AttentionDistillation.Runtime;

/// <summary>
/// The one folder for what can be computed again: ablation cells, tokenised corpora, trained models. Deleting it costs time and nothing else.
/// </summary>
/// <remarks>
/// It is what <see cref="Variable"/> names; else <c>attention-distillation</c> in the user's cache folder: <c>LocalApplicationData</c> on Windows,
/// elsewhere <c>XDG_CACHE_HOME</c> (XDG Base Directory Specification: used if absolute) or <c>~/.cache</c>; else, for a user without a home, in
/// the system's temporary folder. Nothing here creates a folder; who writes does.
/// </remarks>
public static class ResearchCache
{
    /// <summary>The environment variable that names the folder.</summary>
    public const string Variable = "RESEARCH_CACHE";

    private const string Name = "attention-distillation";

    /// <summary>The folder's full path. The environment is asked each time.</summary>
    public static string Folder =>
        Resolve(
            Environment.GetEnvironmentVariable,
            OperatingSystem.IsWindows(),
            Environment.GetFolderPath(
                OperatingSystem.IsWindows()
                    ? Environment.SpecialFolder.LocalApplicationData
                    : Environment.SpecialFolder.UserProfile
            )
        );

    /// <summary>A path below the folder, for example <c>At("cells", "01-minilm")</c>.</summary>
    public static string At(params string[] parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        return Path.Combine([Folder, .. parts]);
    }

    /// <summary>The rule itself: <paramref name="home"/> is the local application data on Windows and the home folder elsewhere.</summary>
    internal static string Resolve(Func<string, string?> variable, bool windows, string home)
    {
        if (variable(Variable) is { } named && !string.IsNullOrWhiteSpace(named))
            return Path.GetFullPath(named);
        if (!windows && variable("XDG_CACHE_HOME") is { Length: > 0 } caches && Path.IsPathFullyQualified(caches))
            return Path.Combine(caches, Name);
        return home.Length == 0 ? Path.Combine(Path.GetTempPath(), Name)
            : windows ? Path.Combine(home, Name)
            : Path.Combine(home, ".cache", Name);
    }
}
