using System.Net.Sockets;
using NetMQ;
using NetMQ.Sockets;
using NotebookKernel.Cli;

namespace NotebookKernel.Jupyter;

/// <summary>
/// The five sockets of a kernel. One thread of their own reads and writes them all, so that a running cell never delays an interrupt;
/// the heartbeat has another, so that nothing delays it.
/// </summary>
internal sealed class KernelSockets : IDisposable
{
    // Outputs of a cell must never be dropped because a client reads slowly, so the queue has no limit.
    private const int Unlimited = 0;

    // How long undelivered messages (the reply to a shutdown) may hold up the end of the process.
    private static readonly TimeSpan Linger = TimeSpan.FromSeconds(1);

    private readonly WireFormat format;
    private readonly RouterSocket shell = new();
    private readonly RouterSocket control = new();
    private readonly RouterSocket stdin = new();
    private readonly PublisherSocket publisher = new();
    private readonly ResponseSocket heartbeat = new();
    private readonly NetMQQueue<Outgoing> outgoing = new();
    private readonly NetMQPoller poller;
    private readonly NetMQPoller beat;
    private readonly Action<Channel, Request> received;
    private readonly TextWriter log;
    private volatile bool closed;

    /// <summary>Binds the sockets; nothing is read before <see cref="Start"/>.</summary>
    /// <param name="connection">Where.</param>
    /// <param name="format">Reads and writes messages.</param>
    /// <param name="received">Hears of every valid message, on the sockets' thread: it must be quick.</param>
    /// <param name="log">Where dropped messages are noted.</param>
    /// <exception cref="BadInputException">A port is taken, or the address is not of this machine.</exception>
    internal KernelSockets(ConnectionFile connection, WireFormat format, Action<Channel, Request> received, TextWriter log)
    {
        (this.format, this.received, this.log) = (format, received, log);
        publisher.Options.SendHighWatermark = Unlimited;
        foreach (var router in (RouterSocket[])[shell, control, stdin])
        {
            router.Options.SendHighWatermark = Unlimited;
            router.Options.ReceiveHighWatermark = Unlimited;
            router.Options.RouterHandover = true; // a client that reconnects keeps its identity
        }
        Bind(shell, connection, connection.ShellPort);
        Bind(control, connection, connection.ControlPort);
        Bind(stdin, connection, connection.StdinPort);
        Bind(publisher, connection, connection.IoPubPort);
        Bind(heartbeat, connection, connection.HeartbeatPort);
        shell.ReceiveReady += (_, _) => Receive(Channel.Shell, shell);
        control.ReceiveReady += (_, _) => Receive(Channel.Control, control);
        stdin.ReceiveReady += (_, _) => Receive(Channel.Stdin, stdin);
        outgoing.ReceiveReady += (_, _) => SendWaiting();
        heartbeat.ReceiveReady += (_, _) => Echo();
        poller = [shell, control, stdin, outgoing];
        beat = [heartbeat];
    }

    /// <summary>Begins to read.</summary>
    internal void Start()
    {
        poller.RunAsync("Jupyter sockets");
        beat.RunAsync("Jupyter heartbeat");
    }

    /// <summary>Sends a message, after all that were sent before, from any thread.</summary>
    internal void Send(Outgoing message)
    {
        // A cell that outlives the sockets goes on talking, to nobody.
        if (closed)
            return;
        try
        {
            outgoing.Enqueue(message);
        }
        catch (ObjectDisposedException) when (closed) { }
    }

    private static void Bind(NetMQSocket socket, ConnectionFile connection, int port)
    {
        socket.Options.Linger = Linger;
        try
        {
            socket.Bind(connection.Endpoint(port));
        }
        catch (Exception error) when (error is NetMQException or SocketException)
        {
            throw new BadInputException(
                $"The kernel cannot listen on {connection.Endpoint(port)}: {error.Message} Start it again with free ports."
            );
        }
    }

    private void Receive(Channel channel, RouterSocket socket)
    {
        var frames = new NetMQMessage();
        // A few at a time, so that one busy socket cannot starve the others.
        for (int count = 0; count < 64 && socket.TryReceiveMultipartMessage(ref frames); count++)
            try
            {
                received(channel, format.Read(frames!));
            }
            catch (FormatException error)
            {
                log.WriteLine($"research: a message on {channel} was dropped: {error.Message}.");
            }
            catch (Exception error)
            {
                log.WriteLine($"research: a message on {channel} was dropped: {error}");
            }
    }

    private void SendWaiting()
    {
        while (outgoing.TryDequeue(out var message, TimeSpan.Zero))
            SendNow(message);
    }

    private void SendNow(Outgoing message)
    {
        NetMQSocket socket = message.Channel switch
        {
            Channel.Shell => shell,
            Channel.Control => control,
            Channel.Stdin => stdin,
            Channel.IoPub => publisher,
            _ => throw new ArgumentOutOfRangeException(nameof(message), message.Channel, "An unknown channel."),
        };
        try
        {
            socket.SendMultipartBytes(message.Frames);
        }
        catch (Exception error) when (error is NetMQException or SocketException)
        {
            // The receiver has gone; the others must be served.
            log.WriteLine($"research: a message on {message.Channel} could not be sent: {error.Message}");
        }
    }

    private void Echo()
    {
        try
        {
            heartbeat.SendMultipartMessage(heartbeat.ReceiveMultipartMessage());
        }
        catch (Exception error) when (error is NetMQException or SocketException)
        {
            log.WriteLine($"research: a heartbeat was not answered: {error.Message}");
        }
    }

    /// <summary>Sends what waits, then closes the sockets.</summary>
    public void Dispose()
    {
        closed = true;
        if (poller.IsRunning)
            poller.Stop();
        if (beat.IsRunning)
            beat.Stop();
        SendWaiting();
        poller.Dispose();
        beat.Dispose();
        outgoing.Dispose();
        foreach (var socket in (NetMQSocket[])[shell, control, stdin, publisher, heartbeat])
            socket.Dispose();
        NetMQConfig.Cleanup(block: true);
    }
}
