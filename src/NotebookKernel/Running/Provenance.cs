using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using AttentionDistillation.Runtime;

namespace NotebookKernel.Running;

/// <summary>Where the numbers in a notebook come from: scale, device, date, commit, libtorch.</summary>
/// <param name="Scale">The scale's name, in lower case.</param>
/// <param name="Device">The device.</param>
/// <param name="LibTorch">libtorch's version.</param>
/// <param name="Date">When the run began, in UTC.</param>
/// <param name="Commit">The repository's commit, with <c>+changes</c> where files differ from it; null outside a repository.</param>
public sealed record Provenance(string Scale, string Device, string LibTorch, DateTime Date, string? Commit)
{
    private static readonly TimeSpan GitPatience = TimeSpan.FromSeconds(5);
    private const int ShownCommitLength = 12;

    /// <summary>Gathers it for a run in a folder.</summary>
    public static Provenance Of(RunSettings settings, string folder) =>
        new(
            settings.Scale.ToString().ToLowerInvariant(),
            settings.Device.ToString(),
            TorchRuntime.Version,
            DateTime.UtcNow,
            CommitOf(folder)
        );

    /// <summary>As the notebook's metadata hold it.</summary>
    /// <param name="duration">How long the run took.</param>
    public JsonObject ToJson(TimeSpan duration) =>
        new()
        {
            ["commit"] = Commit,
            ["date"] = Date.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture),
            ["device"] = Device,
            ["duration_seconds"] = Math.Round(duration.TotalSeconds, 1),
            ["libtorch"] = LibTorch,
            ["scale"] = Scale,
        };

    private static string? CommitOf(string folder)
    {
        if (Git(folder, "rev-parse", "HEAD") is not { Length: >= ShownCommitLength } commit)
            return null;
        string changes = Git(folder, "status", "--porcelain", "--untracked-files=no") is { Length: > 0 } ? "+changes" : "";
        return commit[..ShownCommitLength] + changes;
    }

    private static string? Git(string folder, params string[] arguments)
    {
        try
        {
            var start = new ProcessStartInfo("git", arguments)
            {
                WorkingDirectory = folder,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                RedirectStandardInput = true,
                UseShellExecute = false,
            };
            using var git = Process.Start(start);
            if (git is null)
                return null;
            git.StandardInput.Close();
            git.ErrorDataReceived += (_, _) => { };
            git.BeginErrorReadLine();
            var output = git.StandardOutput.ReadToEndAsync();
            if (git.WaitForExit(GitPatience) && git.ExitCode == 0)
                return output.GetAwaiter().GetResult().Trim();
            if (!git.HasExited)
                git.Kill();
            return null;
        }
        catch (Exception error) when (error is System.ComponentModel.Win32Exception or IOException or InvalidOperationException)
        {
            return null; // no git: the commit stays unknown
        }
    }
}
