namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>What to download from a hub and how.</summary>
public sealed record DownloadOptions
{
    /// <summary>What models, tokenizers and sentence encoders are loaded from here: configurations, safetensors, vocabularies, model cards.</summary>
    public static IReadOnlyList<string> WhatLoads { get; } = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.md"];

    /// <summary>Folders of exports for other programs, which hold copies of the same configurations.</summary>
    public static IReadOnlyList<string> OtherExports { get; } = ["onnx/*", "openvino/*", "coreml/*", "original/*"];

    /// <summary>
    /// Files to take: patterns over the path in the repository, where <c>*</c> stands for any characters (also <c>/</c>), <c>?</c> for one and
    /// <c>[...]</c> for one of several; a pattern that ends in <c>/</c> means the whole folder. An empty list takes every file.
    /// </summary>
    public IReadOnlyList<string> Allow { get; init; } = WhatLoads;

    /// <summary>Files to leave out, in the same notation; wins over <see cref="Allow"/>.</summary>
    public IReadOnlyList<string> Ignore { get; init; } = OtherExports;

    /// <summary>Files fetched at the same time.</summary>
    public int Parallel { get; init; } = 4;

    /// <summary>Most tries in a row that bring nothing, before a file is given up. Servers that are busy (429, 5xx) and broken connections are tried again.</summary>
    public int Attempts { get; init; } = 6;

    /// <summary>The wait after a first failure; it doubles with every further one, unless the server says how long (<c>Retry-After</c>).</summary>
    public TimeSpan FirstWait { get; init; } = TimeSpan.FromSeconds(0.5);

    /// <summary>Longest wait between two tries, whatever the server says.</summary>
    public TimeSpan LongestWait { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>A connection that is silent for this long counts as broken.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The hub; null means <c>HF_ENDPOINT</c>, else https://huggingface.co.</summary>
    public Uri? Endpoint { get; init; }

    /// <summary>The access token; null means <c>HF_TOKEN</c>, else none. It goes to the hub only, never where the hub redirects to.</summary>
    public string? Token { get; init; }

    /// <summary>True to use what is there and ask nobody; null means <c>HF_HUB_OFFLINE</c>.</summary>
    public bool? Offline { get; init; }

    internal void Validate()
    {
        ArgumentNullException.ThrowIfNull(Allow);
        ArgumentNullException.ThrowIfNull(Ignore);
        ArgumentOutOfRangeException.ThrowIfLessThan(Parallel, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(Attempts, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(FirstWait, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(LongestWait, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(Silence, TimeSpan.Zero);
    }
}

/// <summary>What a download brought.</summary>
/// <param name="Folder">Where the files lie.</param>
/// <param name="Repository">The repository, <c>owner/name</c>.</param>
/// <param name="Revision">The revision that was asked for: a branch, tag or commit.</param>
/// <param name="Commit">The commit that it was.</param>
/// <param name="Files">The files, by their paths in the repository.</param>
/// <param name="BytesFetched">Bytes that came over the network in this call; 0 when everything was there.</param>
public sealed record DownloadResult(
    string Folder,
    string Repository,
    string Revision,
    string Commit,
    IReadOnlyList<string> Files,
    long BytesFetched
);
