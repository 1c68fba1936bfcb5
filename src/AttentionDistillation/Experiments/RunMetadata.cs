using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Experiments;

/// <summary>What a number must carry to be traced back: when, where and with which code it was made.</summary>
/// <param name="Scale">The scale of the run.</param>
/// <param name="DeviceKind"><c>cpu</c> or <c>cuda</c>.</param>
/// <param name="Device">The device in words.</param>
/// <param name="Commit">The commit checked out, with <c>-dirty</c> behind it when tracked files differ from it; empty when unknown.</param>
/// <param name="Date">When, in UTC.</param>
/// <param name="Version">The library's version.</param>
public sealed record RunMetadata(
    Scale Scale,
    string DeviceKind,
    string Device,
    string Commit,
    DateTimeOffset Date,
    string Version
)
{
    private const string DateFormat = "yyyy-MM-ddTHH:mm:ssZ";
    private const int GitPatienceMilliseconds = 5000;

    /// <summary>The date as the result files hold it, for example <c>2026-01-31T12:00:00Z</c>.</summary>
    public string DateText => Date.UtcDateTime.ToString(DateFormat, CultureInfo.InvariantCulture);

    /// <summary>The metadata of a run that is under way.</summary>
    /// <param name="settings">Its scale and device.</param>
    /// <param name="folder">A folder of the checkout; null means the current one.</param>
    public static RunMetadata Collect(RunSettings settings, string? folder = null)
    {
        ArgumentNullException.ThrowIfNull(settings);
        folder ??= Environment.CurrentDirectory;
        string commit = GitCommit(folder) ?? "";
        return new(
            settings.Scale,
            KindOf(settings),
            Devices.Describe(settings.Device),
            commit.Length > 0 && IsDirty(folder) ? commit + "-dirty" : commit,
            DateTimeOffset.UtcNow,
            LibraryVersion
        );
    }

    /// <summary>The library's version, without the build's metadata.</summary>
    public static string LibraryVersion { get; } =
        typeof(RunMetadata)
            .Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
            ?.InformationalVersion.Split('+')[0]
        ?? typeof(RunMetadata).Assembly.GetName().Version?.ToString()
        ?? "";

    /// <summary>The name of a scale in files: <c>smoke</c>, <c>small</c>, <c>large</c>.</summary>
    internal static string NameOf(Scale scale) => scale.ToString().ToLowerInvariant();

    internal static string KindOf(RunSettings settings) => settings.Device.type.ToString().ToLowerInvariant();

    /// <summary>The commit checked out in a folder or above it, read from <c>.git</c>; null when there is none.</summary>
    public static string? GitCommit(string folder)
    {
        try
        {
            for (var here = new DirectoryInfo(Path.GetFullPath(folder)); here is not null; here = here.Parent)
            {
                string git = Path.Combine(here.FullName, ".git");
                if (Directory.Exists(git))
                    return HeadOf(git);
                if (File.Exists(git)) // a worktree or submodule: "gitdir: <path>"
                    return HeadOf(Path.GetFullPath(AfterColon(File.ReadAllText(git)), here.FullName));
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null; // A commit that cannot be read is unknown; it must not stop a run.
        }
        return null;
    }

    private static string? HeadOf(string git)
    {
        string head = File.ReadAllText(Path.Combine(git, "HEAD")).Trim();
        if (!head.StartsWith("ref:", StringComparison.Ordinal))
            return head;
        string reference = AfterColon(head),
            commonFile = Path.Combine(git, "commondir");
        string common = File.Exists(commonFile) ? Path.GetFullPath(File.ReadAllText(commonFile).Trim(), git) : git;
        foreach (string root in (string[])[git, common])
            if (File.Exists(Path.Combine(root, reference)))
                return File.ReadAllText(Path.Combine(root, reference)).Trim();
        string packed = Path.Combine(common, "packed-refs");
        return File.Exists(packed)
            ? File.ReadLines(packed)
                .FirstOrDefault(line => line.EndsWith(" " + reference, StringComparison.Ordinal))
                ?.Split(' ')[0]
            : null;
    }

    private static string AfterColon(string line) => line[(line.IndexOf(':') + 1)..].Trim();

    // Only git itself can tell; where it is not installed the commit goes without the mark.
    private static bool IsDirty(string folder)
    {
        try
        {
            var start = new ProcessStartInfo("git", ["status", "--porcelain", "--untracked-files=no"])
            {
                WorkingDirectory = folder,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            using var git = Process.Start(start);
            if (git is null)
                return false;
            _ = git.StandardError.ReadToEndAsync();
            var output = git.StandardOutput.ReadToEndAsync();
            if (git.WaitForExit(GitPatienceMilliseconds))
                return git.ExitCode == 0 && output.Result.Trim().Length > 0;
            git.Kill();
            return false;
        }
        catch (Exception error) when (error is System.ComponentModel.Win32Exception or IOException)
        {
            return false;
        }
    }
}
