using System.Net;
using AttentionDistillation.Models.Hub.Downloads;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Support;

namespace AttentionDistillation.Tests.Models.Downloads;

/// <summary>Downloads from a hub on this machine that breaks connections, lies, refuses and redirects.</summary>
public sealed class DownloadTests : IDisposable
{
    private const string Weights = "model.safetensors";
    private const string Token = "hf_secret";

    private readonly TemporaryFolder temporary = new();
    private readonly HubServer server = new();
    private readonly byte[] weights = new byte[700_000];

    public DownloadTests()
    {
        new Random(1).NextBytes(weights);
        server.Files["config.json"] = "{}"u8.ToArray();
        server.Files["1_Pooling/config.json"] = "{\"a\": 1}"u8.ToArray();
        server.Files["empty.txt"] = [];
        server.Files["a name with spaces & 100%.json"] = "[]"u8.ToArray();
        server.Files[Weights] = weights;
        server.Files["pytorch_model.bin"] = [1, 2, 3];
        server.Files["onnx/config.json"] = "{}"u8.ToArray();
        server.Large.Add(Weights);
    }

    private string Folder => temporary.At("model");

    private DownloadOptions Options =>
        new()
        {
            Endpoint = server.Address,
            Token = Token,
            Offline = false,
            FirstWait = TimeSpan.FromMilliseconds(1),
            LongestWait = TimeSpan.FromSeconds(3),
        };

    public void Dispose()
    {
        server.Dispose();
        temporary.Dispose();
    }

    [Fact]
    public async Task WhatModelsAreLoadedFromComesWithItsCommitAndIsNotFetchedTwice()
    {
        var result = await Get();
        Assert.Equal(HubServer.Commit, result.Commit);
        Assert.Equal(
            ["1_Pooling/config.json", "a name with spaces & 100%.json", "config.json", "empty.txt", Weights],
            result.Files
        );
        Check();
        Assert.True(result.BytesFetched > weights.Length);
        Assert.All(server.Requests, request => Assert.Equal("Bearer " + Token, request.Header("Authorization")));
        int before = server.Requests.Count;
        Assert.Equal(0, (await Get()).BytesFetched);
        Assert.Equal(before + 1, server.Requests.Count);
        Assert.False(File.Exists(Path.Combine(Folder, "pytorch_model.bin")));
        var all = await Get(Options with { Allow = [], Ignore = ["*.bin"] });
        Assert.Contains("onnx/config.json", all.Files);
        Assert.DoesNotContain("pytorch_model.bin", all.Files);
    }

    [Fact]
    public async Task AChangedFileIsFetchedAgainAndAFileThatIsGoneGoes()
    {
        await Get();
        File.WriteAllText(Path.Combine(Folder, "mine.md"), "kept");
        server.CurrentCommit = new string('f', 40);
        server.Files["config.json"] = "{\"new\": 1}"u8.ToArray();
        server.Files.Remove("empty.txt");
        var result = await Get();
        Assert.Equal(server.CurrentCommit, result.Commit);
        Assert.Equal(server.Files["config.json"].Length, result.BytesFetched);
        Assert.False(File.Exists(Path.Combine(Folder, "empty.txt")));
        Assert.True(File.Exists(Path.Combine(Folder, "mine.md")));
        Check();
    }

    [Fact]
    public async Task ABrokenConnectionGoesOnWhereItStopped()
    {
        server.Fault = request =>
            IsWeights(request) && server.Count(Weights) <= 3
                ? server.Content(request, weights) with
                {
                    CutAfter = 100_000,
                }
                : null;
        var result = await Get();
        Check();
        Assert.Equal(4, server.Count(Weights));
        Assert.Equal(
            [null, "bytes=100000-", "bytes=200000-", "bytes=300000-"],
            server.Requests.Where(IsWeights).Select(request => request.Header("Range"))
        );
        Assert.All(server.Requests.Where(IsWeights).Skip(1), request => Assert.NotNull(request.Header("If-Range")));
        Assert.Equal(weights.Length, result.BytesFetched - server.Files.Where(Small).Sum(file => file.Value.Length));
    }

    [Fact]
    public async Task AServerThatIgnoresRangesIsStillServed()
    {
        server.IgnoresRanges = true;
        server.Fault = request =>
            IsWeights(request) && server.Count(Weights) <= 2 ? new HubServer.Answer(200, weights) { CutAfter = 250_000 } : null;
        await Get();
        Check();
    }

    [Fact]
    public async Task AServerThatNeverGetsFurtherIsGivenUp()
    {
        server.IgnoresRanges = true;
        server.Fault = request => IsWeights(request) ? new HubServer.Answer(200, weights) { CutAfter = 1000 } : null;
        var error = await Assert.ThrowsAsync<HubDownloadException>(() => Get());
        Assert.Contains(Weights, error.Message);
        Assert.InRange(server.Count(Weights), 6, 8);
        Nothing();
    }

    [Fact]
    public async Task ACancelledDownloadLeavesNothingHalfWrittenAndGoesOnLater()
    {
        using var cancel = new CancellationTokenSource();
        server.Fault = request =>
        {
            if (!IsWeights(request))
                return null;
            cancel.CancelAfter(TimeSpan.FromMilliseconds(300));
            return new HubServer.Answer(200, weights, ("ETag", "\"a\"")) { Pause = TimeSpan.FromSeconds(20) };
        };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            Hub.DownloadAsync(HubServer.Repository, null, Folder, Options, cancel.Token)
        );
        Nothing();
        server.Fault = null;
        int before = server.Count("config.json");
        await Get();
        Check();
        Assert.Equal(before, server.Count("config.json"));
    }

    [Fact]
    public async Task WhatAKilledProcessLeftIsUsed()
    {
        string staging = Path.Combine(Folder, ".download-" + HubServer.Commit);
        Directory.CreateDirectory(staging);
        string hash = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(weights));
        File.WriteAllBytes(Path.Combine(staging, $"{Weights}.{hash[..12]}.part"), weights[..600_000]);
        await Get();
        Check();
        Assert.Equal("bytes=600000-", Assert.Single(server.Requests, IsWeights).Header("Range"));
    }

    [Fact]
    public async Task WrongBytesThatAKilledProcessLeftAreThrownAway()
    {
        string staging = Path.Combine(Folder, ".download-" + HubServer.Commit);
        Directory.CreateDirectory(staging);
        string hash = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(weights));
        File.WriteAllBytes(Path.Combine(staging, $"{Weights}.{hash[..12]}.part"), new byte[600_000]);
        await Get();
        Check();
        Assert.Equal(2, server.Count(Weights));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AlteredContentIsRefused(bool large)
    {
        string name = large ? Weights : "config.json";
        byte[] altered = [.. server.Files[name]];
        altered[1] ^= 1;
        server.Fault = request => request.Path.EndsWith("/" + name, StringComparison.Ordinal) ? new(200, altered) : null;
        var error = await Assert.ThrowsAsync<HubDownloadException>(() => Get());
        Assert.Contains(large ? "SHA-256" : "Git blob hash", error.Message);
        Nothing();
    }

    [Fact]
    public async Task ALongerFileThanListedIsRefused()
    {
        server.Fault = request => IsWeights(request) ? new(200, [.. weights, 1]) : null;
        await Assert.ThrowsAsync<HubDownloadException>(() => Get());
        Nothing();
    }

    [Theory]
    [InlineData(503)]
    [InlineData(429)]
    [InlineData(500)]
    public async Task ABusyServerIsAskedAgain(int status)
    {
        int failures = 0;
        server.Fault = request => Interlocked.Increment(ref failures) <= 3 ? HubServer.Json(status) : null;
        await Get();
        Check();
    }

    [Fact]
    public async Task RetryAfterIsHonoured()
    {
        int asked = 0;
        server.Fault = _ => Interlocked.Increment(ref asked) == 1 ? new(429, [], ("Retry-After", "1")) : null;
        var clock = System.Diagnostics.Stopwatch.StartNew();
        await Get();
        Assert.InRange(clock.Elapsed.TotalSeconds, 0.95, 30);
    }

    [Fact]
    public async Task AServerThatStaysBusyIsGivenUpWithItsAnswer()
    {
        server.Fault = _ => HubServer.Json(503);
        var error = await Assert.ThrowsAsync<HubDownloadException>(() => Get());
        Assert.Equal(HttpStatusCode.ServiceUnavailable, error.Status);
        Assert.Equal(6, server.Requests.Count);
        Assert.False(Directory.Exists(Folder));
    }

    [Fact]
    public async Task TheTokenDoesNotFollowARedirectToAnotherServer()
    {
        using var other = new HubServer();
        other.Fault = request => other.Content(request, weights);
        server.Fault = request =>
            IsWeights(request) ? new(302, [], ("Location", new Uri(other.Address, "/signed?key=1").ToString())) : null;
        await Get();
        Check();
        Assert.Null(Assert.Single(other.Requests).Header("Authorization"));
        Assert.NotNull(server.Requests.First(IsWeights).Header("Authorization"));
    }

    [Fact]
    public async Task TheTokenFollowsARelativeRedirectOfTheHub()
    {
        server.Fault = request =>
            IsWeights(request) ? new(307, [], ("Location", "/moved"))
            : request.Path == "/moved" ? server.Content(request, weights)
            : null;
        await Get();
        Check();
        Assert.NotNull(server.Requests.Single(request => request.Path == "/moved").Header("Authorization"));
    }

    [Theory]
    [InlineData(404, "", "owner/name")]
    [InlineData(404, "RevisionNotFound", "revision 'main'")]
    [InlineData(401, "", "HF_TOKEN")]
    [InlineData(401, "GatedRepo", "terms")]
    [InlineData(403, "GatedRepo", "terms")]
    [InlineData(403, "", "access")]
    public async Task ARefusalSaysWhatToDo(int status, string code, string says)
    {
        server.Fault = _ => HubServer.Json(status, code);
        var error = await Assert.ThrowsAsync<HubDownloadException>(() => Get());
        Assert.Contains(says, error.Message);
        Assert.DoesNotContain(Token, error.ToString());
        Assert.Equal(status, (int)error.Status!);
        Assert.Single(server.Requests);
        Assert.False(Directory.Exists(Folder));
    }

    [Fact]
    public async Task AListedFileThatIsMissingFailsAndTheFolderStaysAsItWas()
    {
        await Get();
        server.CurrentCommit = new string('e', 40);
        server.Files["config.json"] = "{\"changed\": true}"u8.ToArray();
        server.Files["other.json"] = "{}"u8.ToArray();
        server.Fault = request => request.Path.EndsWith("/other.json", StringComparison.Ordinal) ? HubServer.Json(404) : null;
        await Assert.ThrowsAsync<HubDownloadException>(() => Get());
        Assert.Equal("{}", File.ReadAllText(Path.Combine(Folder, "config.json")));
        Assert.Equal(HubServer.Commit, (await Get(Options with { Offline = true })).Commit);
    }

    [Fact]
    public async Task OfflineUsesWhatIsThereAndAsksNobody()
    {
        var offline = Options with { Offline = true };
        Assert.Contains("HF_HUB_OFFLINE", (await Assert.ThrowsAsync<HubDownloadException>(() => Get(offline))).Message);
        await Get();
        int before = server.Requests.Count;
        Assert.Equal(HubServer.Commit, (await Get(offline)).Commit);
        Assert.Equal(before, server.Requests.Count);
        await Assert.ThrowsAsync<HubDownloadException>(() => Get(offline, name: "owner/other"));
        await Assert.ThrowsAsync<HubDownloadException>(() => Get(offline, "v2"));
        File.Delete(Path.Combine(Folder, Weights));
        Assert.Contains("missing", (await Assert.ThrowsAsync<HubDownloadException>(() => Get(offline))).Message);
    }

    [Fact]
    public async Task ARevisionWithSlashesIsOneSegment()
    {
        await Get(revision: "refs/pr/1");
        Assert.Contains("/revision/refs%2Fpr%2F1?", server.Requests[0].Path);
        Check();
    }

    [Theory]
    [InlineData("../outside.json")]
    [InlineData("/etc/passwd.json")]
    [InlineData("a\\b.json")]
    [InlineData("C:b.json")]
    public async Task APathOutOfTheFolderIsRefused(string path)
    {
        server.Files[path] = "{}"u8.ToArray();
        Assert.Contains("no path", (await Assert.ThrowsAsync<HubDownloadException>(() => Get())).Message);
        Assert.False(Directory.Exists(Folder));
    }

    [Theory]
    [InlineData("")]
    [InlineData("a/b/c")]
    [InlineData("../x")]
    [InlineData("https://huggingface.co/owner/name")]
    public async Task WhatIsNoRepositoryIsRefused(string name) =>
        await Assert.ThrowsAsync<ArgumentException>(() => Get(name: name));

    [Fact]
    public async Task AServerThatIsNoHubIsNamed()
    {
        server.Fault = _ => new(200, "<html>"u8.ToArray());
        Assert.Contains("HF_ENDPOINT", (await Assert.ThrowsAsync<HubDownloadException>(() => Get())).Message);
        server.Dispose();
        Assert.Contains("cannot be reached", (await Assert.ThrowsAsync<HubDownloadException>(() => Get())).Message);
    }

    [Fact]
    public async Task PatternsThatMatchNothingListWhatThereIs() =>
        Assert.Contains(
            "pytorch_model.bin",
            (await Assert.ThrowsAsync<HubDownloadException>(() => Get(Options with { Allow = ["*.gguf"] }))).Message
        );

    [Theory]
    [InlineData("a/b.json", "*.json", true)]
    [InlineData("a/b.json", "a/", true)]
    [InlineData("ab.json", "a/", false)]
    [InlineData("a.json", "?.json", true)]
    [InlineData("model-00001.bin", "model-[0-9]*.bin", true)]
    [InlineData("model-x.bin", "model-[!0-9]*", true)]
    [InlineData("a+b", "a+b", true)]
    [InlineData("aab", "a+b", false)]
    [InlineData("x.jsonl", "*.json", false)]
    [InlineData("a[b", "a[b", true)]
    public void PatternsAreThoseOfShells(string file, string pattern, bool matches) =>
        Assert.Equal(matches, FilePatterns.Matches(file, pattern));

    [Fact]
    public async Task ProgressCountsEveryByteOnce()
    {
        var sink = new Sink();
        Progress.Sink = sink;
        try
        {
            server.Fault = request =>
                IsWeights(request) && server.Count(Weights) == 1
                    ? server.Content(request, weights) with
                    {
                        CutAfter = 100_000,
                    }
                    : null;
            await Get();
        }
        finally
        {
            Progress.Sink = null;
        }
        var last = sink.States.Last();
        Assert.True(last.Finished);
        Assert.Equal(last.Total, last.Done);
        Assert.Equal(server.Files.Where(file => Small(file) || file.Key == Weights).Sum(file => file.Value.Length), last.Total);
    }

    private sealed class Sink : IProgressSink
    {
        public List<ProgressState> States { get; } = [];

        public void Report(ProgressState state)
        {
            lock (States)
                States.Add(state);
        }
    }

    private static bool IsWeights(HubServer.Request request) => request.Path.EndsWith("/" + Weights, StringComparison.Ordinal);

    private static bool Small(KeyValuePair<string, byte[]> file) =>
        file.Key is not (Weights or "pytorch_model.bin" or "onnx/config.json");

    private Task<DownloadResult> Get(
        DownloadOptions? options = null,
        string? revision = null,
        string name = HubServer.Repository
    ) => Hub.DownloadAsync(name, revision, Folder, options ?? Options, TestContext.Current.CancellationToken);

    /// <summary>The folder holds what the hub has, and no leavings.</summary>
    private void Check()
    {
        foreach (var (name, content) in server.Files.Where(file => Small(file) || file.Key == Weights))
            Assert.Equal(content, File.ReadAllBytes(Path.Combine(Folder, name)));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Folder, ".download-*"));
        Assert.Empty(Directory.EnumerateFiles(Folder, "*.part", SearchOption.AllDirectories));
    }

    /// <summary>Of a download that failed, no file has its name.</summary>
    private void Nothing() => Assert.Empty(Directory.Exists(Folder) ? Directory.EnumerateFiles(Folder) : []);
}
