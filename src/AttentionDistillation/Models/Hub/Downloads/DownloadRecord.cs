using System.Text.Json;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>What lies in a folder: written after a download, beside its files.</summary>
/// <param name="Endpoint">The hub.</param>
/// <param name="Repository">The repository.</param>
/// <param name="Revision">The revision that was asked for.</param>
/// <param name="Commit">The commit that it was.</param>
/// <param name="Allow">The patterns of the files that were taken.</param>
/// <param name="Ignore">The patterns of the files that were left out.</param>
/// <param name="Files">The files.</param>
internal sealed record DownloadRecord(
    string Endpoint,
    string Repository,
    string Revision,
    string Commit,
    IReadOnlyList<string> Allow,
    IReadOnlyList<string> Ignore,
    IReadOnlyList<HubFile> Files
)
{
    /// <summary>The record's file name.</summary>
    public const string FileName = ".download.json";

    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true };

    /// <summary>Reads a folder's record; null when there is none or it cannot be read.</summary>
    public static DownloadRecord? Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize<DownloadRecord>(File.ReadAllBytes(path)) : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>Writes it.</summary>
    public void Write(string folder) =>
        AtomicFile.Write(
            Path.Combine(folder, FileName),
            stream => JsonSerializer.Serialize(stream, this, Readable),
            soleWriter: true
        );

    /// <summary>True when every file is there with its size.</summary>
    public bool IsWhole(string folder) =>
        Files.All(file =>
            new FileInfo(Path.Combine(folder, file.Path)) is { Exists: true } info
            && (file.Size is null || info.Length == file.Size)
        );
}
