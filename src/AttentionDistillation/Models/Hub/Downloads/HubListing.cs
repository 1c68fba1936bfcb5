using System.Text.Json;

namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>One file of a repository, as the hub lists it.</summary>
/// <param name="Path">Its path in the repository, with <c>/</c>.</param>
/// <param name="Size">Bytes; null when the hub does not say.</param>
/// <param name="Sha256">SHA-256 of a large file (Git LFS), lower-case hexadecimal.</param>
/// <param name="BlobId">Git's SHA-1 of any other file, lower-case hexadecimal.</param>
internal sealed record HubFile(string Path, long? Size, string? Sha256, string? BlobId)
{
    /// <summary>What identifies the content, for names of partial files.</summary>
    public string Identity => Sha256 ?? BlobId ?? "unknown";
}

/// <summary>What a repository holds at one commit (<c>GET /api/models/{repo}/revision/{revision}?blobs=true</c>).</summary>
/// <param name="Commit">The commit's hash.</param>
/// <param name="Files">Its files.</param>
internal sealed record HubListing(string Commit, IReadOnlyList<HubFile> Files)
{
    /// <summary>Reads the hub's answer.</summary>
    /// <exception cref="HubDownloadException">It is not what the hub's documentation describes.</exception>
    public static HubListing Parse(byte[] answer, Uri address)
    {
        try
        {
            using var document = JsonDocument.Parse(answer);
            var root = document.RootElement;
            string commit = root.GetProperty("sha").GetString() ?? throw new FormatException("'sha' is null");
            if (commit.Length == 0 || !commit.All(char.IsAsciiLetterOrDigit))
                throw new FormatException($"'sha' is '{commit}'");
            return new HubListing(commit, [.. root.GetProperty("siblings").EnumerateArray().Select(File)]);
        }
        catch (Exception error)
            when (error is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new HubDownloadException(
                $"{address} did not answer with a repository's list of files ({error.Message}). Is this a hub? Check HF_ENDPOINT.",
                inner: error
            );
        }
    }

    private static HubFile File(JsonElement item)
    {
        string path = item.GetProperty("rfilename").GetString() ?? throw new FormatException("a file has no name");
        // The list comes from elsewhere: it must not write outside the folder.
        if (
            path.Length == 0
            || path.Contains('\\')
            || path.Contains(':')
            || path.Any(char.IsControl)
            || path.Split('/').Any(part => part is "" or "." or "..")
        )
            throw new FormatException($"'{path}' is no path inside a repository");
        bool large = item.TryGetProperty("lfs", out var lfs) && lfs.ValueKind == JsonValueKind.Object;
        return new HubFile(
            path,
            large && Number(lfs, "size") is { } size ? size : Number(item, "size"),
            large ? Text(lfs, "sha256") : null,
            large ? null : Text(item, "blobId")
        );
    }

    private static string? Text(JsonElement item, string name) =>
        item.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString()!.ToLowerInvariant()
            : null;

    private static long? Number(JsonElement item, string name) =>
        item.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetInt64() : null;
}
