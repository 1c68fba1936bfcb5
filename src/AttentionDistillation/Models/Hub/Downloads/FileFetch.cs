using System.Buffers;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;

namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>
/// Fetches one file into a staging folder: resumes what an earlier call left, checks size and hash, and gives it its name only when it is whole
/// and right.
/// </summary>
internal sealed class FileFetch(HubConnection hub, DownloadOptions options, string repository, string commit, string staging)
{
    private const int BufferBytes = 1 << 18;

    private long fetched;

    /// <summary>Bytes that came over the network, for all files together.</summary>
    public long Fetched => Interlocked.Read(ref fetched);

    /// <summary>Fetches a file.</summary>
    /// <param name="file">Which.</param>
    /// <param name="received">Told of every piece that is there: bytes found at first, then received; negative when some were thrown away.</param>
    /// <param name="cancel">Stops; what was received stays for a later call.</param>
    /// <exception cref="HubDownloadException">The hub refuses, cannot be reached, or sends something else than it listed.</exception>
    public async Task RunAsync(HubFile file, Action<long> received, CancellationToken cancel)
    {
        string path = Path.Combine(staging, file.Path.Replace('/', Path.DirectorySeparatorChar));
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        if (File.Exists(path))
        {
            received(new FileInfo(path).Length);
            return;
        }
        string part = $"{path}.{file.Identity[..Math.Min(12, file.Identity.Length)]}.part";
        var retries = new Retries(options);
        bool again = false;
        if (File.Exists(part))
            received(new FileInfo(part).Length);
        while (true)
        {
            HttpResponseMessage? response = null;
            Exception? cause = null;
            try
            {
                long had = File.Exists(part) ? new FileInfo(part).Length : 0;
                if (had > file.Size)
                {
                    received(-had);
                    Discard(part);
                    had = 0;
                }
                if (had != file.Size || had == 0)
                {
                    string? tag = File.Exists(part + ".etag")
                        ? await File.ReadAllTextAsync(part + ".etag", cancel).ConfigureAwait(false)
                        : null;
                    response = await hub.GetAsync(hub.FileAddress(repository, commit, file.Path), had, tag, cancel)
                        .ConfigureAwait(false);
                    if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable && had > 0)
                    {
                        received(-had);
                        Discard(part);
                        continue;
                    }
                    if (!response.IsSuccessStatusCode)
                    {
                        if (!Retries.IsPassing(response.StatusCode))
                            throw hub.Refusal(response, repository, commit, file.Path);
                    }
                    else
                        await ReceiveAsync(response, part, had, file, received, retries, cancel).ConfigureAwait(false);
                }
                if (response is null || response.IsSuccessStatusCode)
                {
                    long length = new FileInfo(part).Length;
                    if (file.Size is null || length == file.Size)
                    {
                        if (await FaultAsync(part, file, cancel).ConfigureAwait(false) is not { } fault)
                        {
                            File.Move(part, path, overwrite: true);
                            File.Delete(part + ".etag");
                            return;
                        }
                        received(-length);
                        Discard(part);
                        // Bytes resumed from an earlier call may be the wrong ones: once more from the start, and only once.
                        if (again)
                            throw new HubDownloadException(
                                $"'{file.Path}' of '{repository}' came with {fault}. It was thrown away twice; the hub, or something between it and here, alters it. Try again later."
                            );
                        again = true;
                        continue;
                    }
                    cause = new HubDownloadException($"The server sent {length} bytes of '{file.Path}', which has {file.Size}.");
                }
            }
            catch (Exception error) when (Retries.IsPassing(error))
            {
                cause = error;
            }
            catch
            {
                response?.Dispose();
                throw;
            }
            using (response)
                if (!await retries.WaitAsync(response, cancel).ConfigureAwait(false))
                    throw response is { IsSuccessStatusCode: false }
                        ? hub.Refusal(response, repository, commit, file.Path)
                        : new HubDownloadException(
                            $"'{file.Path}' of '{repository}' could not be fetched in {options.Attempts} tries: {cause?.Message} What came is kept; call again to go on from there.",
                            inner: cause
                        );
        }
    }

    /// <summary>What is wrong with a file's content, in words; null when it is what the hub lists.</summary>
    public static async Task<string?> FaultAsync(string path, HubFile file, CancellationToken cancel)
    {
        long length = new FileInfo(path).Length;
        if (file.Size is { } size && size != length)
            return $"{length} bytes instead of {size}";
        if ((file.Sha256 ?? file.BlobId) is not { } expected)
            return null;
        using var hash = IncrementalHash.CreateHash(file.Sha256 is null ? HashAlgorithmName.SHA1 : HashAlgorithmName.SHA256);
        // Git hashes the length with the content.
        if (file.Sha256 is null)
            hash.AppendData(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"blob {length}\0")));
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1, useAsync: true);
            await using (stream.ConfigureAwait(false))
                for (int count; (count = await stream.ReadAsync(buffer, cancel).ConfigureAwait(false)) > 0; )
                    hash.AppendData(buffer, 0, count);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
        string actual = Convert.ToHexStringLower(hash.GetHashAndReset());
        return actual == expected
            ? null
            : $"the {(file.Sha256 is null ? "Git blob hash" : "SHA-256")} {actual} instead of {expected}";
    }

    private async Task ReceiveAsync(
        HttpResponseMessage response,
        string part,
        long had,
        HubFile file,
        Action<long> received,
        Retries retries,
        CancellationToken cancel
    )
    {
        bool resumes = response.StatusCode == HttpStatusCode.PartialContent && had > 0;
        if (resumes && response.Content.Headers.ContentRange?.From is { } from && from != had)
            throw new HubDownloadException($"Asked for '{file.Path}' from byte {had}, the server sent it from byte {from}.");
        if (had > 0 && !resumes)
            received(-had);
        if (response.Headers.ETag is { IsWeak: false } tag)
            await File.WriteAllTextAsync(part + ".etag", tag.Tag, cancel).ConfigureAwait(false);
        long count = 0;
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            var output = new FileStream(
                part,
                resumes ? FileMode.Append : FileMode.Create,
                FileAccess.Write,
                FileShare.None,
                1,
                useAsync: true
            );
            await using (output.ConfigureAwait(false))
            {
                var input = await response.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false);
                await using (input.ConfigureAwait(false))
                    while (true)
                    {
                        limit.CancelAfter(hub.Silence);
                        int read = await input.ReadAsync(buffer, limit.Token).ConfigureAwait(false);
                        if (read == 0)
                            break;
                        await output.WriteAsync(buffer.AsMemory(0, read), cancel).ConfigureAwait(false);
                        count += read;
                        Interlocked.Add(ref fetched, read);
                        retries.Progressed((resumes ? had : 0) + count);
                        received(read);
                        if ((resumes ? had : 0) + count > file.Size)
                            break; // longer than listed: the check below says so
                    }
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"The connection was silent for {hub.Silence.TotalSeconds:0} seconds.");
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static void Discard(string part)
    {
        File.Delete(part);
        File.Delete(part + ".etag");
    }
}
