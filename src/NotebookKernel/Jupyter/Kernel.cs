using System.Text.Json.Nodes;
using System.Threading.Channels;
using NotebookKernel.Session;

namespace NotebookKernel.Jupyter;

/// <summary>
/// A Jupyter kernel: answers requests of clients on a <see cref="NotebookSession"/>. Requests on the shell channel are served one after
/// another; those on the control channel at once, while a cell runs too.
/// </summary>
internal sealed class Kernel : IDisposable
{
    private readonly NotebookSession session;
    private readonly CellInterrupter interrupter = new();
    private readonly LanguageReplies language;
    private readonly KernelSockets sockets;
    private readonly Publisher publisher;
    private readonly History history = new();
    private readonly Channel<Waiting> shell = System.Threading.Channels.Channel.CreateUnbounded<Waiting>();
    private readonly TaskCompletionSource<bool> ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // The process's own, before the session takes the console over for the cells.
    private readonly TextWriter log = Console.Error;
    private CellExecution? lastExecution;
    private volatile StandardInput? input;
    private long received;
    private long abortedUntil;
    private int count;

    /// <summary>A shell request and its place in the order of arrival.</summary>
    private sealed record Waiting(long Number, Request Request);

    /// <summary>Binds to the client's ports.</summary>
    /// <param name="connection">Where to listen.</param>
    /// <param name="folder">The folder cells run in.</param>
    internal Kernel(ConnectionFile connection, string folder)
    {
        var format = new WireFormat(new MessageSigner(connection.Key));
        sockets = new KernelSockets(connection, format, Received, log);
        publisher = new Publisher(format, sockets.Send);
        session = new NotebookSession(folder, interrupter) { Between = happened => lastExecution?.Happened(happened) };
        language = new LanguageReplies(session);
    }

    /// <summary>Serves until a client asks to shut down, or <see cref="Stop"/> is called.</summary>
    internal async Task ServeAsync()
    {
        sockets.Start();
        publisher.Status("starting", parent: null);
        language.WarmUp();
        var serving = ServeShellAsync();
        await Task.WhenAny(serving, ended.Task).ConfigureAwait(false);
        shell.Writer.TryComplete();
        if (serving.IsFaulted)
            await serving.ConfigureAwait(false);
    }

    /// <summary>Interrupts the running cell.</summary>
    internal void Interrupt() => interrupter.Interrupt();

    /// <summary>Ends serving, whatever runs.</summary>
    internal void Stop() => ended.TrySetResult(true);

    // On the sockets' thread.
    private void Received(Channel channel, Request request)
    {
        switch (channel)
        {
            case Channel.Shell:
                shell.Writer.TryWrite(new Waiting(Interlocked.Increment(ref received), request));
                break;
            case Channel.Control:
                ServeControl(request);
                break;
            case Channel.Stdin when request.Type == "input_reply":
                input?.Answer((string?)request.Content["value"] ?? "");
                break;
            default:
                throw new FormatException($"{request.Type} has no place here");
        }
    }

    private void ServeControl(Request request)
    {
        publisher.Status("busy", request.Header);
        switch (request.Type)
        {
            case "interrupt_request":
                Interrupt();
                publisher.Reply(Channel.Control, request, "interrupt_reply", Ok());
                break;
            default:
                ServeAnywhere(Channel.Control, request);
                break;
        }
        publisher.Status("idle", request.Header);
        if (request.Type == "shutdown_request")
            Stop();
    }

    private async Task ServeShellAsync()
    {
        await foreach (var waiting in shell.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            var request = waiting.Request;
            publisher.Status("busy", request.Header);
            try
            {
                await ServeShellAsync(waiting).ConfigureAwait(false);
            }
            catch (Exception error)
            {
                // A request that cannot be read, or a fault of ours, costs that request alone.
                if (error is not FormatException)
                    await log.WriteLineAsync($"research: {request.Type} failed: {error}").ConfigureAwait(false);
                ReplyError(request, new CellFailed(error.GetType().Name, error.Message, [error.Message], null));
            }
            publisher.Status("idle", request.Header);
            if (request.Type == "shutdown_request")
                Stop();
        }
    }

    private async Task ServeShellAsync(Waiting waiting)
    {
        var request = waiting.Request;
        switch (request.Type)
        {
            case "execute_request" when waiting.Number <= abortedUntil:
                publisher.Reply(
                    Channel.Shell,
                    request,
                    "execute_reply",
                    new JsonObject { ["status"] = "aborted", ["execution_count"] = count }
                );
                break;
            case "execute_request":
                await ExecuteAsync(request).ConfigureAwait(false);
                break;
            case "history_request":
                publisher.Reply(Channel.Shell, request, "history_reply", history.Answer(request.Content));
                break;
            case "complete_request":
                publisher.Reply(
                    Channel.Shell,
                    request,
                    "complete_reply",
                    await language.CompleteAsync(request.Content).ConfigureAwait(false)
                );
                break;
            case "inspect_request":
                publisher.Reply(
                    Channel.Shell,
                    request,
                    "inspect_reply",
                    await language.InspectAsync(request.Content).ConfigureAwait(false)
                );
                break;
            case "is_complete_request":
                publisher.Reply(
                    Channel.Shell,
                    request,
                    "is_complete_reply",
                    await language.IsCompleteAsync(request.Content).ConfigureAwait(false)
                );
                break;
            case "comm_info_request":
                var none = Ok();
                none["comms"] = new JsonObject();
                publisher.Reply(Channel.Shell, request, "comm_info_reply", none);
                break;
            case "comm_open":
                // There are no comms here; the protocol answers one that cannot be opened by closing it.
                var close = new JsonObject { ["comm_id"] = (string?)request.Content["comm_id"], ["data"] = new JsonObject() };
                publisher.Publish("comm_close", close, request.Header);
                break;
            default:
                ServeAnywhere(Channel.Shell, request);
                break;
        }
    }

    // What both channels serve. Types that are not known have no reply, as the protocol wants.
    private void ServeAnywhere(Channel channel, Request request)
    {
        switch (request.Type)
        {
            case "kernel_info_request":
                publisher.Reply(channel, request, "kernel_info_reply", KernelInfo.Content());
                break;
            case "shutdown_request":
                var content = Ok();
                content["restart"] = request.Content["restart"] is JsonValue given && given.TryGetValue(out bool again) && again;
                publisher.Reply(channel, request, "shutdown_reply", content);
                publisher.Publish("shutdown_reply", (JsonObject)content.DeepClone(), request.Header);
                break;
        }
    }

    private async Task ExecuteAsync(Request request)
    {
        var asked = ExecuteRequest.Read(request.Content);
        if (asked.StoreHistory)
        {
            count++;
            history.Add(count, asked.Code);
        }
        if (!asked.Silent)
            publisher.Publish(
                "execute_input",
                new JsonObject { ["code"] = asked.Code, ["execution_count"] = count },
                request.Header
            );
        var execution = new CellExecution(publisher, request.Header, count, asked.Silent);
        (lastExecution, var former) = (execution, lastExecution);
        former?.Dispose();
        var abort = interrupter.Begin();
        using TextReader reader = asked.AllowStdin
            ? input = new StandardInput(publisher, request, execution.Flush, abort)
            : new NoInput();
        CellStatus status;
        JsonObject expressions;
        try
        {
            status = await session.RunAsync(count, asked.Code, execution.Happened, reader, abort).ConfigureAwait(false);
            expressions = status == CellStatus.Done ? await ExpressionsAsync(asked.UserExpressions).ConfigureAwait(false) : [];
        }
        finally
        {
            interrupter.End();
            input = null;
        }
        execution.Flush();
        if (status == CellStatus.Done)
        {
            if (asked.StoreHistory && execution.ResultText is { } text)
                history.SetOutput(text);
            var reply = Ok();
            reply["execution_count"] = count;
            reply["payload"] = new JsonArray();
            reply["user_expressions"] = expressions;
            publisher.Reply(Channel.Shell, request, "execute_reply", reply);
            return;
        }
        if (asked.StopOnError)
            abortedUntil = Interlocked.Read(ref received);
        ReplyError(request, execution.Failure ?? new CellFailed("Error", "The cell failed.", ["The cell failed."], null));
    }

    private async Task<JsonObject> ExpressionsAsync(JsonObject asked)
    {
        var answers = new JsonObject();
        foreach (var (name, expression) in asked)
        {
            JsonObject answer;
            switch (await session.EvaluateAsync((string?)expression ?? "").ConfigureAwait(false))
            {
                case ResultValue result:
                    answer = Ok();
                    answer["data"] = MimeData.Of(result.Bundle);
                    answer["metadata"] = new JsonObject();
                    break;
                case CellFailed failed:
                    answer = CellExecution.Error(failed);
                    answer["status"] = "error";
                    break;
                default:
                    continue;
            }
            answers[name] = answer;
        }
        return answers;
    }

    private void ReplyError(Request request, CellFailed failed)
    {
        if (!request.Type.EndsWith("_request", StringComparison.Ordinal))
            return;
        var reply = CellExecution.Error(failed);
        reply["status"] = "error";
        if (request.Type == "execute_request")
        {
            reply["execution_count"] = count;
            reply["payload"] = new JsonArray();
            reply["user_expressions"] = new JsonObject();
        }
        publisher.Reply(Channel.Shell, request, request.Type[..^"request".Length] + "reply", reply);
    }

    private static JsonObject Ok() => new() { ["status"] = "ok" };

    /// <summary>Sends what waits and closes the sockets. A cell that still runs is left to its thread.</summary>
    public void Dispose()
    {
        lastExecution?.Dispose();
        sockets.Dispose();
        session.Dispose();
    }
}
