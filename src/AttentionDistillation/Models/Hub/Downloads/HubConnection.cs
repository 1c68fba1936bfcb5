using System.Net;
using System.Net.Http.Headers;

namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>Requests to a hub: the token, redirects, and the errors in words.</summary>
internal sealed class HubConnection : IDisposable
{
    /// <summary>The hub that is asked when nothing else is said.</summary>
    public const string PublicHub = "https://huggingface.co";

    private const int MostRedirects = 10;

    private readonly HttpClient client;
    private readonly string? token;

    /// <summary>Opens nothing yet.</summary>
    /// <param name="endpoint">The hub.</param>
    /// <param name="token">The access token; null or empty for none.</param>
    /// <param name="silence">How long a server may be silent before it answers.</param>
    public HubConnection(Uri endpoint, string? token, TimeSpan silence)
    {
        Endpoint = endpoint;
        this.token = string.IsNullOrWhiteSpace(token) ? null : token.Trim();
        // Redirects are followed here, so that the token stays with the hub.
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            ConnectTimeout = silence,
            UseCookies = false,
        };
        client = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan };
        client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("attention-distillation", "1.0"));
        Silence = silence;
    }

    /// <summary>The hub.</summary>
    public Uri Endpoint { get; }

    /// <summary>How long a server may be silent.</summary>
    public TimeSpan Silence { get; }

    /// <summary>The list of files of a revision.</summary>
    public Uri ListingAddress(string repository, string revision) =>
        new($"{Root}/api/models/{repository}/revision/{Uri.EscapeDataString(revision)}?blobs=true");

    /// <summary>One file at a commit.</summary>
    public Uri FileAddress(string repository, string commit, string path) =>
        new($"{Root}/{repository}/resolve/{commit}/{string.Join('/', path.Split('/').Select(Uri.EscapeDataString))}");

    /// <summary>Asks, following redirects. The caller disposes the response, whose body has not been read yet.</summary>
    /// <param name="address">What to get.</param>
    /// <param name="range">First byte wanted; 0 for all.</param>
    /// <param name="etag">The version of which the first bytes are there already; null when unknown.</param>
    /// <param name="cancel">Stops waiting.</param>
    /// <exception cref="HttpRequestException">The server cannot be reached.</exception>
    /// <exception cref="TimeoutException">It is silent for too long.</exception>
    public async Task<HttpResponseMessage> GetAsync(Uri address, long range, string? etag, CancellationToken cancel)
    {
        for (int redirects = 0; redirects <= MostRedirects; redirects++)
        {
            var request = new HttpRequestMessage(HttpMethod.Get, address);
            if (token is not null && IsHub(address))
                request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
            if (range > 0)
            {
                request.Headers.Range = new RangeHeaderValue(range, null);
                if (etag is not null && EntityTagHeaderValue.TryParse(etag, out var tag) && !tag.IsWeak)
                    request.Headers.IfRange = new RangeConditionHeaderValue(tag);
            }
            var response = await SendAsync(request, cancel).ConfigureAwait(false);
            if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308) || response.Headers.Location is not { } place)
                return response;
            response.Dispose();
            var next = new Uri(address, place);
            if (next.Scheme is not ("http" or "https") || (address.Scheme == "https" && next.Scheme != "https"))
                throw new HubDownloadException($"{address} redirects to {next}, which is not safe to follow.");
            address = next;
        }
        throw new HubDownloadException($"{address} redirects more than {MostRedirects} times.");
    }

    /// <inheritdoc/>
    public void Dispose() => client.Dispose();

    /// <summary>What an answer that is no success means.</summary>
    public HubDownloadException Refusal(HttpResponseMessage response, string repository, string revision, string? file)
    {
        string code = response.Headers.TryGetValues("X-Error-Code", out var codes) ? codes.First() : "";
        string said = response.Headers.TryGetValues("X-Error-Message", out var messages)
            ? $" The hub says: {messages.First()}"
            : "";
        string what = file is null ? $"'{repository}' at revision '{revision}'" : $"'{file}' of '{repository}'";
        string advice = (response.StatusCode, code) switch
        {
            (_, "GatedRepo") =>
                $"{what} is gated. Accept its terms at {Root}/{repository} and set HF_TOKEN to a token of that account.",
            (_, "RevisionNotFound") =>
                $"'{repository}' has no revision '{revision}'. Use a branch, a tag or a whole commit hash; 'main' is the default.",
            (HttpStatusCode.Unauthorized, _) when token is null =>
                $"{what} was not found, or is private or gated. Check the name; for a private or gated one set HF_TOKEN to an access token.",
            (HttpStatusCode.Unauthorized, _) => $"The hub does not accept the token for {what}. Check HF_TOKEN.",
            (HttpStatusCode.Forbidden, _) =>
                $"The hub does not let this account read {what}. Ask for access at {Root}/{repository}, or set HF_TOKEN to a token that has it.",
            (HttpStatusCode.NotFound, _) when file is null =>
                $"{what} was not found on {Root}. Check the name ('owner/name') and the revision.",
            (HttpStatusCode.NotFound, _) => $"{what} was not found, though the hub lists it. Try again later.",
            _ => $"The hub answered {(int)response.StatusCode} ({response.ReasonPhrase}) for {what}. Try again later.",
        };
        return new HubDownloadException(advice + said, response.StatusCode);
    }

    private string Root => Endpoint.GetLeftPart(UriPartial.Path).TrimEnd('/');

    /// <summary>The same scheme, host and port: another port may be another's server.</summary>
    private bool IsHub(Uri address) =>
        address.Scheme == Endpoint.Scheme
        && address.Port == Endpoint.Port
        && address.Host.Equals(Endpoint.Host, StringComparison.OrdinalIgnoreCase);

    private async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Silence);
        try
        {
            return await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"{request.RequestUri} was silent for {Silence.TotalSeconds:0} seconds.");
        }
        finally
        {
            request.Dispose();
        }
    }
}
