using System.Text;

namespace NotebookKernel.Session;

/// <summary>
/// Stands in for the console while a session lives: text becomes events of the running cell, gathered to whole lines where that does not
/// delay them; between cells it goes to where the console went before.
/// </summary>
internal sealed class OutputRouter : IDisposable
{
    // Long enough to gather a line's pieces, short enough to look immediate.
    private static readonly TimeSpan FlushInterval = TimeSpan.FromMilliseconds(100);
    private const int FlushLength = 8192;

    private readonly Lock gate = new();
    private readonly TextWriter originalOut = Console.Out;
    private readonly TextWriter originalError = Console.Error;
    private readonly TextReader originalIn = Console.In;
    private readonly StringBuilder pending = new();
    private readonly Timer timer;
    private readonly ForwardingReader input = new();
    private string pendingName = StreamText.Out;
    private Action<CellEvent>? observer;

    internal OutputRouter()
    {
        Console.SetOut(new StreamWriter(this, StreamText.Out));
        Console.SetError(new StreamWriter(this, StreamText.Error));
        Console.SetIn(input);
        timer = new Timer(_ => Flush(), null, FlushInterval, FlushInterval);
    }

    /// <summary>Who hears of output now, null sends text to the original console; and who answers reads, null gives the end of input.</summary>
    internal void Attach(Action<CellEvent>? to, TextReader? from = null)
    {
        lock (gate)
        {
            Flush();
            observer = to;
            input.Source = from;
        }
    }

    /// <summary>Passes an event on, after the text written before it.</summary>
    internal void Send(CellEvent happened)
    {
        lock (gate)
        {
            Flush();
            observer?.Invoke(happened);
        }
    }

    /// <summary>Takes text of a stream.</summary>
    internal void Write(string name, ReadOnlySpan<char> text)
    {
        if (text.IsEmpty)
            return;
        lock (gate)
        {
            if (observer is null)
            {
                (name == StreamText.Out ? originalOut : originalError).Write(text);
                return;
            }
            if (name != pendingName)
                Flush();
            pendingName = name;
            pending.Append(text);
            if (pending.Length > FlushLength || text.Contains('\n'))
                Flush();
        }
    }

    private void Flush()
    {
        lock (gate)
        {
            if (pending.Length == 0)
                return;
            var text = new StreamText(pendingName, pending.ToString());
            pending.Clear();
            observer?.Invoke(text);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        timer.Dispose();
        Attach(null);
        Console.SetOut(originalOut);
        Console.SetError(originalError);
        Console.SetIn(originalIn);
    }

    // A cell that asks for input where there is none gets the end of input, rather than waiting for ever.
    private sealed class ForwardingReader : TextReader
    {
        internal TextReader? Source { get; set; }

        public override int Peek() => Source?.Peek() ?? -1;

        public override int Read() => Source?.Read() ?? -1;

        public override int Read(char[] buffer, int index, int count) => Source?.Read(buffer, index, count) ?? 0;

        public override string? ReadLine() => Source?.ReadLine();

        public override string ReadToEnd() => Source?.ReadToEnd() ?? "";
    }

    private sealed class StreamWriter(OutputRouter router, string name) : TextWriter
    {
        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value) => router.Write(name, [value]);

        public override void Write(string? value) => router.Write(name, value);

        public override void Write(char[] buffer, int index, int count) => router.Write(name, buffer.AsSpan(index, count));

        public override void Write(ReadOnlySpan<char> buffer) => router.Write(name, buffer);

        public override void WriteLine(string? value) => router.Write(name, value + Environment.NewLine);
    }
}
