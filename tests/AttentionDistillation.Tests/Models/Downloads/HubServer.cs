using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace AttentionDistillation.Tests.Models.Downloads;

/// <summary>A hub on this machine that does what the real one's documentation says, and whatever faults a test asks for.</summary>
internal sealed class HubServer : IDisposable
{
    public const string Commit = "0123456789abcdef0123456789abcdef01234567";
    public const string Repository = "owner/name";

    private readonly TcpListener listener = new(IPAddress.Loopback, 0);
    private readonly List<Request> requests = [];
    private readonly CancellationTokenSource stop = new();

    public HubServer()
    {
        listener.Start();
        _ = AcceptAsync();
    }

    public sealed record Request(string Path, IReadOnlyDictionary<string, string> Headers)
    {
        public string? Header(string name) => Headers.GetValueOrDefault(name.ToLowerInvariant());
    }

    /// <summary>An answer; with <see cref="CutAfter"/> the connection ends after so many bytes of the body.</summary>
    public sealed record Answer(int Status, byte[] Body, params (string Name, string Value)[] Headers)
    {
        public int? CutAfter { get; init; }

        public TimeSpan Pause { get; init; }
    }

    public Uri Address => new($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}");

    /// <summary>The repository's files; a large one (<see cref="Large"/>) is listed with its SHA-256, others with Git's hash.</summary>
    public Dictionary<string, byte[]> Files { get; } = new(StringComparer.Ordinal);

    public HashSet<string> Large { get; } = [];

    public string CurrentCommit { get; set; } = Commit;

    /// <summary>Answers instead of the hub; null lets it answer itself.</summary>
    public Func<Request, Answer?>? Fault { get; set; }

    public bool IgnoresRanges { get; set; }

    public IReadOnlyList<Request> Requests
    {
        get
        {
            lock (requests)
                return [.. requests];
        }
    }

    public int Count(string file) => Requests.Count(request => request.Path.EndsWith("/" + file, StringComparison.Ordinal));

    public static Answer Json(int status, string code = "") =>
        new(status, Encoding.UTF8.GetBytes("{}"), code.Length > 0 ? [("X-Error-Code", code)] : []);

    public void Dispose()
    {
        stop.Cancel();
        listener.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var client = await listener.AcceptTcpClientAsync(stop.Token);
                _ = ServeAsync(client);
            }
        }
        catch (Exception error) when (error is OperationCanceledException or SocketException or ObjectDisposedException) { }
    }

    private async Task ServeAsync(TcpClient client)
    {
        try
        {
            using (client)
            {
                var stream = client.GetStream();
                if (await ReadAsync(stream) is not { } request)
                    return;
                lock (requests)
                    requests.Add(request);
                var answer = Fault?.Invoke(request) ?? Hub(request);
                await Task.Delay(answer.Pause, stop.Token);
                var head = new StringBuilder().Append(
                    CultureInfo.InvariantCulture,
                    $"HTTP/1.1 {answer.Status} Said\r\nContent-Length: {answer.Body.Length}\r\nConnection: close\r\n"
                );
                foreach (var (name, value) in answer.Headers)
                    head.Append(CultureInfo.InvariantCulture, $"{name}: {value}\r\n");
                await stream.WriteAsync(Encoding.ASCII.GetBytes(head + "\r\n"), stop.Token);
                await stream.WriteAsync(answer.Body.AsMemory(0, answer.CutAfter ?? answer.Body.Length), stop.Token);
            }
        }
        catch (Exception error) when (error is IOException or OperationCanceledException or SocketException) { }
    }

    private async Task<Request?> ReadAsync(NetworkStream stream)
    {
        using var reader = new StreamReader(stream, Encoding.ASCII, leaveOpen: true);
        if (await reader.ReadLineAsync(stop.Token) is not { Length: > 0 } first)
            return null;
        var headers = new Dictionary<string, string>(StringComparer.Ordinal);
        while (await reader.ReadLineAsync(stop.Token) is { Length: > 0 } line)
            headers[line[..line.IndexOf(':')].ToLowerInvariant()] = line[(line.IndexOf(':') + 1)..].Trim();
        return new Request(first.Split(' ')[1], headers);
    }

    private Answer Hub(Request request)
    {
        string list = $"/api/models/{Repository}/revision/";
        if (request.Path.StartsWith(list, StringComparison.Ordinal))
        {
            string revision = Uri.UnescapeDataString(request.Path[list.Length..].Split('?')[0]);
            return revision is "main" or "refs/pr/1" || revision == CurrentCommit
                ? new Answer(200, Encoding.UTF8.GetBytes(Listing().ToJsonString()))
                : Json(404, "RevisionNotFound");
        }
        string files = $"/{Repository}/resolve/{CurrentCommit}/";
        return
            request.Path.StartsWith(files, StringComparison.Ordinal)
            && Files.TryGetValue(Uri.UnescapeDataString(request.Path[files.Length..]), out byte[]? content)
            ? Content(request, content)
            : Json(404, "EntryNotFound");
    }

    public Answer Content(Request request, byte[] content)
    {
        string tag = $"\"{Convert.ToHexStringLower(SHA256.HashData(content))[..16]}\"";
        bool matches = request.Header("If-Range") is not { } condition || condition == tag;
        if (IgnoresRanges || !matches || request.Header("Range") is not { } range)
            return new Answer(200, content, ("ETag", tag));
        int from = int.Parse(range["bytes=".Length..].TrimEnd('-'), CultureInfo.InvariantCulture);
        return from >= content.Length
            ? new Answer(416, [], ("Content-Range", $"bytes */{content.Length}"))
            : new Answer(
                206,
                content[from..],
                ("ETag", tag),
                ("Content-Range", $"bytes {from}-{content.Length - 1}/{content.Length}")
            );
    }

    private JsonObject Listing() =>
        new()
        {
            ["sha"] = CurrentCommit,
            ["siblings"] = new JsonArray([
                .. Files.Select(file =>
                {
                    var item = new JsonObject { ["rfilename"] = file.Key, ["size"] = file.Value.Length };
                    if (Large.Contains(file.Key))
                        item["lfs"] = new JsonObject
                        {
                            ["sha256"] = Convert.ToHexStringLower(SHA256.HashData(file.Value)),
                            ["size"] = file.Value.Length,
                            ["pointerSize"] = 134,
                        };
                    else
                        item["blobId"] = Convert.ToHexStringLower(
                            SHA1.HashData([.. Encoding.ASCII.GetBytes($"blob {file.Value.Length}\0"), .. file.Value])
                        );
                    return (JsonNode)item;
                }),
            ]),
        };
}
