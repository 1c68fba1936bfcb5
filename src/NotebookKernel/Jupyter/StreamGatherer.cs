using System.Text;
using NotebookKernel.Session;

namespace NotebookKernel.Jupyter;

/// <summary>
/// Joins text that is written in many small pieces into few messages: the first piece goes at once, what follows closely waits a moment
/// for company. A client that gets a million lines gets hundreds of messages.
/// </summary>
internal sealed class StreamGatherer : IDisposable
{
    private static readonly TimeSpan Wait = TimeSpan.FromMilliseconds(50);
    private const int LongestText = 256 * 1024;

    private readonly Lock gate = new();
    private readonly StringBuilder pending = new();
    private readonly Action<StreamText> send;
    private readonly Timer timer;
    private string name = StreamText.Out;
    private long lastSent = Environment.TickCount64 - (long)Wait.TotalMilliseconds;
    private bool waiting;

    /// <summary>Gathers text for a sender.</summary>
    internal StreamGatherer(Action<StreamText> send)
    {
        this.send = send;
        timer = new Timer(_ => Flush());
    }

    /// <summary>Takes a piece.</summary>
    internal void Add(StreamText text)
    {
        lock (gate)
        {
            if (text.Name != name)
                Flush();
            name = text.Name;
            pending.Append(text.Text);
            if (pending.Length >= LongestText || Environment.TickCount64 - lastSent >= Wait.TotalMilliseconds)
                Flush();
            else if (!waiting)
                waiting = timer.Change(Wait, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>Sends what waits, then does something, so that the order of outputs is kept.</summary>
    internal void After(Action action)
    {
        lock (gate)
        {
            Flush();
            action();
        }
    }

    /// <summary>Sends what waits.</summary>
    internal void Flush()
    {
        lock (gate)
        {
            waiting = false;
            if (pending.Length == 0)
                return;
            var text = new StreamText(name, pending.ToString());
            pending.Clear();
            lastSent = Environment.TickCount64;
            send(text);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        timer.Dispose();
        Flush();
    }
}
