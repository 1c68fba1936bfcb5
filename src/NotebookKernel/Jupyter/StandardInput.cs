using System.Text.Json.Nodes;
using AttentionDistillation.Runtime;

namespace NotebookKernel.Jupyter;

/// <summary>What a cell reads from <see cref="Console.In"/>: lines that the client's user types when asked.</summary>
/// <param name="publisher">Sends the question.</param>
/// <param name="request">The request whose cell reads.</param>
/// <param name="flush">Sends the output so far, which holds the prompt.</param>
/// <param name="cancelled">Ends the wait.</param>
internal sealed class StandardInput(Publisher publisher, Request request, Action flush, CancellationToken cancelled) : TextReader
{
    // How often a waiting cell looks whether it was interrupted.
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(50);
    private readonly Lock gate = new();
    private TaskCompletionSource<string>? awaited;
    private string line = "";
    private int position;

    /// <summary>Takes the client's answer; one that nobody waits for is dropped.</summary>
    internal void Answer(string value)
    {
        lock (gate)
            awaited?.TrySetResult(value);
    }

    /// <inheritdoc/>
    public override int Peek() => position < line.Length ? line[position] : -1;

    /// <inheritdoc/>
    public override int Read()
    {
        if (position == line.Length)
            (line, position) = (Ask() + "\n", 0);
        return line[position++];
    }

    /// <inheritdoc/>
    public override int Read(char[] buffer, int index, int count)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        if (count == 0)
            return 0;
        buffer[index] = (char)Read();
        int taken = Math.Min(count - 1, line.Length - position);
        line.CopyTo(position, buffer, index + 1, taken);
        position += taken;
        return taken + 1;
    }

    /// <inheritdoc/>
    public override string ReadLine()
    {
        if (position == line.Length)
            return Ask();
        string rest = line[position..^1];
        position = line.Length;
        return rest;
    }

    private string Ask()
    {
        flush();
        var answer = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (gate)
            awaited = answer;
        try
        {
            var question = new JsonObject { ["prompt"] = "", ["password"] = false };
            publisher.Reply(Channel.Stdin, request, "input_request", question);
            while (!answer.Task.Wait(Look, cancelled))
                Interruption.ThrowIfRequested();
            return answer.Task.Result;
        }
        finally
        {
            lock (gate)
                awaited = null;
        }
    }
}

/// <summary>Stands where a client does not allow questions: a cell that reads learns so, rather than waiting for ever.</summary>
internal sealed class NoInput : TextReader
{
    /// <inheritdoc/>
    public override int Peek() => -1;

    /// <inheritdoc/>
    public override int Read() => throw Refusal();

    /// <inheritdoc/>
    public override int Read(char[] buffer, int index, int count) => throw Refusal();

    /// <inheritdoc/>
    public override string ReadLine() => throw Refusal();

    /// <inheritdoc/>
    public override string ReadToEnd() => throw Refusal();

    private static InvalidOperationException Refusal() =>
        new(
            "The cell reads standard input, but this client allows no questions to the user. Run it where somebody can answer, "
                + "or put the value into the cell."
        );
}
