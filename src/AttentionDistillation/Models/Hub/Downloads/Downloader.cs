using System.Globalization;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>Downloads a repository's files into a folder: all of them, or the folder stays as it was.</summary>
internal sealed class Downloader(string repository, string revision, string folder, DownloadOptions options)
{
    /// <summary>Where files wait until the last is there.</summary>
    private const string StagingPrefix = ".download-";

    private const double Megabyte = 1e6;

    private readonly Uri endpoint = FindEndpoint(options);
    private readonly bool offline = options.Offline ?? IsSet("HF_HUB_OFFLINE");

    /// <summary>Runs it.</summary>
    public async Task<DownloadResult> RunAsync(CancellationToken cancel)
    {
        var record = DownloadRecord.Read(folder);
        if (offline)
            return Offline(record);
        using var hub = new HubConnection(
            endpoint,
            options.Token ?? Environment.GetEnvironmentVariable("HF_TOKEN"),
            options.Silence
        );
        var listing = await ListAsync(hub, cancel).ConfigureAwait(false);
        HubFile[] files = [.. listing.Files.Where(file => FilePatterns.Takes(file.Path, options.Allow, options.Ignore))];
        if (files.Length == 0)
            throw new HubDownloadException(
                $"None of the {listing.Files.Count} files of '{repository}' matches the patterns ({string.Join(", ", options.Allow)}, "
                    + $"without {string.Join(", ", options.Ignore.DefaultIfEmpty("none"))}). It has: {string.Join(", ", listing.Files.Take(20).Select(file => file.Path))}."
            );
        Directory.CreateDirectory(folder);
        string staging = Path.Combine(folder, StagingPrefix + listing.Commit);
        var needed = await MissingAsync(files, record, listing.Commit, cancel).ConfigureAwait(false);
        long fetched = await FetchAsync(hub, listing.Commit, needed, staging, cancel).ConfigureAwait(false);
        Place(needed, staging, files, record);
        new DownloadRecord(endpoint.ToString(), repository, revision, listing.Commit, options.Allow, options.Ignore, files).Write(
            folder
        );
        // What interrupted downloads of other commits left is of no more use.
        foreach (string other in Directory.EnumerateDirectories(folder, StagingPrefix + "*"))
            Directory.Delete(other, recursive: true);
        return Result(listing.Commit, files, fetched);
    }

    private DownloadResult Result(string commit, IEnumerable<HubFile> files, long fetched) =>
        new(folder, repository, revision, commit, [.. files.Select(file => file.Path).Order(StringComparer.Ordinal)], fetched);

    private DownloadResult Offline(DownloadRecord? record)
    {
        string remedy = $"Unset HF_HUB_OFFLINE to download it, or name a folder that holds it.";
        if (record is null)
            throw new HubDownloadException($"Offline, and '{folder}' holds no earlier download of '{repository}'. {remedy}");
        if (record.Repository != repository || (record.Revision != revision && record.Commit != revision))
            throw new HubDownloadException(
                $"Offline, and '{folder}' holds '{record.Repository}' at revision '{record.Revision}' (commit {record.Commit}), not '{repository}' at '{revision}'. {remedy}"
            );
        if (!record.IsWhole(folder))
            throw new HubDownloadException(
                $"Offline, and files of the earlier download in '{folder}' are missing or changed. {remedy}"
            );
        return Result(record.Commit, record.Files, 0);
    }

    private async Task<HubListing> ListAsync(HubConnection hub, CancellationToken cancel)
    {
        var address = hub.ListingAddress(repository, revision);
        var retries = new Retries(options);
        while (true)
        {
            HttpResponseMessage? response = null;
            Exception? cause = null;
            try
            {
                response = await hub.GetAsync(address, 0, null, cancel).ConfigureAwait(false);
                if (response.IsSuccessStatusCode)
                    using (response)
                        return HubListing.Parse(
                            await response
                                .Content.ReadAsByteArrayAsync(cancel)
                                .WaitAsync(options.Silence, cancel)
                                .ConfigureAwait(false),
                            address
                        );
                if (!Retries.IsPassing(response.StatusCode))
                    using (response)
                        throw hub.Refusal(response, repository, revision, null);
            }
            catch (Exception error) when (Retries.IsPassing(error))
            {
                cause = error;
            }
            using (response)
                if (!await retries.WaitAsync(response, cancel).ConfigureAwait(false))
                    throw response is { IsSuccessStatusCode: false }
                        ? hub.Refusal(response, repository, revision, null)
                        : new HubDownloadException(
                            $"{endpoint} cannot be reached: {cause?.Message} Check the network or HF_ENDPOINT; HF_HUB_OFFLINE=1 uses what was downloaded before.",
                            inner: cause
                        );
        }
    }

    /// <summary>The files that are not there yet. One that the record has with the same content is trusted by its size, any other is hashed.</summary>
    private async Task<List<HubFile>> MissingAsync(
        HubFile[] files,
        DownloadRecord? record,
        string commit,
        CancellationToken cancel
    )
    {
        var known = record?.Files.ToDictionary(file => file.Path, StringComparer.Ordinal) ?? [];
        var missing = new List<HubFile>();
        foreach (var file in files)
        {
            string path = Path.Combine(folder, file.Path);
            bool recorded =
                known.TryGetValue(file.Path, out var before)
                && (file.Sha256 ?? file.BlobId) is { } content
                && (before.Sha256 ?? before.BlobId) == content;
            bool there = File.Exists(path);
            if (there && recorded)
                there = new FileInfo(path).Length == file.Size;
            else if (there)
                there = (file.Sha256 ?? file.BlobId) is not null
                    ? await FileFetch.FaultAsync(path, file, cancel).ConfigureAwait(false) is null
                    : record?.Commit == commit && new FileInfo(path).Length == file.Size;
            if (!there)
                missing.Add(file);
        }
        return missing;
    }

    private async Task<long> FetchAsync(
        HubConnection hub,
        string commit,
        List<HubFile> files,
        string staging,
        CancellationToken cancel
    )
    {
        if (files.Count == 0)
            return 0;
        var fetch = new FileFetch(hub, options, repository, commit, staging);
        long total = files.Sum(file => file.Size ?? 0);
        using var progress = Progress.Start($"download {repository}", total, "byte");
        var gate = new Lock();
        long done = 0;
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = options.Parallel, CancellationToken = cancel };
        // The largest first: the whole takes as long as they do.
        await Parallel
            .ForEachAsync(
                files.OrderByDescending(file => file.Size),
                parallel,
                async (file, stop) => await fetch.RunAsync(file, count => Report(file, count), stop).ConfigureAwait(false)
            )
            .ConfigureAwait(false);
        return fetch.Fetched;

        void Report(HubFile file, long count)
        {
            lock (gate)
            {
                done += count;
                progress.Report(
                    done,
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{done / Megabyte:0.0} of {total / Megabyte:0.0} MB · {file.Path}"
                    )
                );
            }
            Interruption.ThrowIfRequested();
        }
    }

    /// <summary>Gives the files their places, and removes those of an earlier download that the commit no longer has. Renames only.</summary>
    private void Place(List<HubFile> fetched, string staging, HubFile[] files, DownloadRecord? record)
    {
        // Without its record a folder that is half old, half new is not taken for whole.
        File.Delete(Path.Combine(folder, DownloadRecord.FileName));
        if (record?.Repository == repository)
            foreach (var old in record.Files.Where(old => files.All(file => file.Path != old.Path)))
                File.Delete(Path.Combine(folder, old.Path));
        foreach (var file in fetched)
        {
            string target = Path.Combine(folder, file.Path);
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Move(Path.Combine(staging, file.Path), target, overwrite: true);
        }
    }

    private static Uri FindEndpoint(DownloadOptions options)
    {
        if (options.Endpoint is { } given)
            return given;
        string? text = Environment.GetEnvironmentVariable("HF_ENDPOINT");
        if (string.IsNullOrWhiteSpace(text))
            return new Uri(HubConnection.PublicHub);
        return Uri.TryCreate(text.Trim(), UriKind.Absolute, out var address) && address.Scheme is "http" or "https"
            ? address
            : throw new ArgumentException($"HF_ENDPOINT is '{text}', expected an address such as {HubConnection.PublicHub}.");
    }

    /// <summary>huggingface_hub's rule for switches in the environment.</summary>
    private static bool IsSet(string variable) =>
        Environment.GetEnvironmentVariable(variable)?.ToUpperInvariant() is "1" or "ON" or "YES" or "TRUE";
}
