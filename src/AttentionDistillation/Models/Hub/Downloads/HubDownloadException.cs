using System.Net;

namespace AttentionDistillation.Models.Hub.Downloads;

/// <summary>A download failed: the hub refused, could not be reached, or sent something else than it announced. The message says what to do.</summary>
public sealed class HubDownloadException : IOException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">What happened and what to do.</param>
    /// <param name="status">What the server answered; null when it did not answer, or what it sent was wrong.</param>
    /// <param name="inner">The cause.</param>
    public HubDownloadException(string message, HttpStatusCode? status = null, Exception? inner = null)
        : base(message, inner) => Status = status;

    /// <summary>What the server answered; null when it did not answer, or what it sent was wrong.</summary>
    public HttpStatusCode? Status { get; }
}
