using System.Net;

namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>When to try again, and after how long.</summary>
internal sealed class Retries(DownloadOptions options)
{
    private int failures;
    private long furthest;

    /// <summary>Bytes up to <paramref name="position"/> are there. Where none were before, the count of tries in vain begins anew.</summary>
    public void Progressed(long position)
    {
        if (position <= furthest)
            return;
        (furthest, failures) = (position, 0);
    }

    /// <summary>True for answers of a server that may answer otherwise later.</summary>
    public static bool IsPassing(HttpStatusCode status) => (int)status is 408 or 429 or >= 500 and <= 599 and not 501;

    /// <summary>True for a connection that broke.</summary>
    public static bool IsPassing(Exception error) =>
        error is HttpRequestException or TimeoutException
        || (error is IOException && error is not HubDownloadException && error is not FileNotFoundException);

    /// <summary>Waits before the next try.</summary>
    /// <param name="response">The answer that failed, for its <c>Retry-After</c>; null when there was none.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>False when there is no next try.</returns>
    public async Task<bool> WaitAsync(HttpResponseMessage? response, CancellationToken cancel)
    {
        if (++failures >= options.Attempts)
            return false;
        var wait = options.FirstWait * Math.Pow(2, failures - 1);
        if (response?.Headers.RetryAfter is { } asked)
            wait = asked.Delta ?? (asked.Date - DateTimeOffset.UtcNow) ?? wait;
        wait = wait < TimeSpan.Zero ? TimeSpan.Zero : wait;
        await Task.Delay(wait < options.LongestWait ? wait : options.LongestWait, cancel).ConfigureAwait(false);
        return true;
    }
}
