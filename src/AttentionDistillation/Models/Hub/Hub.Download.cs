using System.Text.RegularExpressions;
using AttentionDistillation.Models.Hub.Downloads;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Models.Hub;

public static partial class Hub
{
    /// <summary>The revision that is downloaded unless another is named.</summary>
    public const string DefaultRevision = "main";

    /// <summary>Downloads a model from a hub, for <see cref="Load(string, TorchSharp.torch.Device?, TorchSharp.torch.ScalarType?)"/>.</summary>
    /// <remarks>
    /// Speaks the hub's documented addresses (<c>/api/models/REPO/revision/REVISION</c>, <c>/REPO/resolve/COMMIT/FILE</c>). Every file is checked
    /// against the size and hash that the hub lists. What was interrupted goes on where it stopped; files take their places only when all are there,
    /// so the folder holds one commit, never two. Files that are there already are not fetched again. The commit is recorded in
    /// <c>.download.json</c>. Environment: <c>HF_ENDPOINT</c>, <c>HF_TOKEN</c>, <c>HF_HUB_OFFLINE</c>, as huggingface_hub has them.
    /// </remarks>
    /// <param name="repository">The repository, <c>owner/name</c> (or a bare <c>name</c>).</param>
    /// <param name="revision">A branch, tag or commit; null means <see cref="DefaultRevision"/>.</param>
    /// <param name="folder">Where to; null means a folder of the repository's name in <see cref="ResearchCache"/>.</param>
    /// <param name="options">Which files, how many tries, which hub; null for the defaults.</param>
    /// <param name="cancel">Stops; what came is kept for a later call.</param>
    /// <exception cref="HubDownloadException">The hub refuses, cannot be reached, or sends something else than it lists; the message says what to do.</exception>
    /// <exception cref="ArgumentException">The repository's name is none.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static async Task<DownloadResult> DownloadAsync(
        string repository,
        string? revision = null,
        string? folder = null,
        DownloadOptions? options = null,
        CancellationToken cancel = default
    )
    {
        ArgumentNullException.ThrowIfNull(repository);
        options ??= new DownloadOptions();
        options.Validate();
        if (!RepositoryName().IsMatch(repository) || repository.Contains("..", StringComparison.Ordinal))
            throw new ArgumentException(
                $"'{repository}' is no repository: expected 'owner/name' of letters, digits, '.', '-' and '_', for example 'google-bert/bert-base-uncased'.",
                nameof(repository)
            );
        folder ??= ResearchCache.At("models", repository.Replace("/", "--", StringComparison.Ordinal));
        string wanted = string.IsNullOrWhiteSpace(revision) ? DefaultRevision : revision;
        return await new Downloader(repository, wanted, Path.GetFullPath(folder), options).RunAsync(cancel).ConfigureAwait(false);
    }

    /// <inheritdoc cref="DownloadAsync"/>
    public static DownloadResult Download(
        string repository,
        string? revision = null,
        string? folder = null,
        DownloadOptions? options = null,
        CancellationToken cancel = default
    ) =>
        // On a thread of the pool: a notebook's own context must not be waited on by itself.
        Task.Run(() => DownloadAsync(repository, revision, folder, options, cancel), CancellationToken.None)
            .GetAwaiter()
            .GetResult();

    [GeneratedRegex(@"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?$", RegexOptions.ECMAScript)]
    private static partial Regex RepositoryName();
}
