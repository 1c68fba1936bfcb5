using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using NotebookKernel.Cli;

namespace NotebookKernel.Jupyter;

/// <summary>Where a Jupyter client wants the kernel to listen, and the key that both sign messages with.</summary>
/// <param name="Address">The address to bind to; 127.0.0.1 unless the file names another.</param>
/// <param name="ShellPort">Port of requests.</param>
/// <param name="ControlPort">Port of requests that must not wait for a running cell.</param>
/// <param name="StdinPort">Port on which the kernel asks for input.</param>
/// <param name="IoPubPort">Port of outputs.</param>
/// <param name="HeartbeatPort">Port of the heartbeat.</param>
/// <param name="Key">The key of the signatures; empty for none.</param>
internal sealed record ConnectionFile(
    IPAddress Address,
    int ShellPort,
    int ControlPort,
    int StdinPort,
    int IoPubPort,
    int HeartbeatPort,
    string Key
)
{
    private const string SignatureScheme = "hmac-sha256";

    /// <summary>The endpoint of a port in the form that sockets bind to.</summary>
    internal string Endpoint(int port) =>
        Address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6
            ? $"tcp://[{Address}]:{port}"
            : $"tcp://{Address}:{port}";

    /// <summary>Reads the file a client wrote.</summary>
    /// <exception cref="BadInputException">There is none, or it asks for something this kernel does not do.</exception>
    internal static ConnectionFile Read(string path)
    {
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException(
                $"The connection file '{path}' cannot be read: {error.Message} A Jupyter client writes it when it starts a kernel."
            );
        }
        return Parse(text, path);
    }

    /// <summary>Reads the text of a connection file.</summary>
    /// <exception cref="BadInputException">It asks for something this kernel does not do.</exception>
    internal static ConnectionFile Parse(string text, string path)
    {
        JsonObject file;
        try
        {
            file = JsonNode.Parse(text) as JsonObject ?? throw new JsonException("it is not an object");
        }
        catch (JsonException error)
        {
            throw new BadInputException($"The connection file '{path}' is not valid JSON: {error.Message}");
        }
        try
        {
            return Check(file, path);
        }
        catch (Exception error) when (error is InvalidOperationException or FormatException or ArgumentException)
        {
            throw new BadInputException($"The connection file '{path}' holds a value of the wrong kind: {error.Message}");
        }
    }

    private static ConnectionFile Check(JsonObject file, string path)
    {
        string transport = (string?)file["transport"] ?? "tcp";
        if (transport != "tcp")
            throw new BadInputException(
                $"The connection file '{path}' asks for transport '{transport}'; this kernel speaks tcp only. "
                    + "Start the client with transport tcp (KernelManager.transport = \"tcp\")."
            );
        string key = (string?)file["key"] ?? "";
        string scheme = (string?)file["signature_scheme"] ?? SignatureScheme;
        if (key.Length > 0 && scheme != SignatureScheme)
            throw new BadInputException(
                $"The connection file '{path}' asks for signatures by '{scheme}'; this kernel signs by {SignatureScheme} only. "
                    + $"Configure the client with Session.signature_scheme = \"{SignatureScheme}\"."
            );
        var address = ParseAddress((string?)file["ip"], path);
        if (key.Length == 0 && !IPAddress.IsLoopback(address))
            throw new BadInputException(
                $"The connection file '{path}' asks to listen on {address} without a key: anybody who reaches that address could run "
                    + "code here. Set a key, or listen on 127.0.0.1."
            );
        return new ConnectionFile(
            address,
            Port("shell_port"),
            Port("control_port"),
            Port("stdin_port"),
            Port("iopub_port"),
            Port("hb_port"),
            key
        );

        int Port(string name) =>
            file[name] is { } value && (int)value is > 0 and <= IPEndPoint.MaxPort and var port
                ? port
                : throw new BadInputException($"The connection file '{path}' has no valid {name}; it must be 1 to 65535.");
    }

    private static IPAddress ParseAddress(string? text, string path) =>
        text switch
        {
            null or "" or "localhost" => IPAddress.Loopback,
            "*" => IPAddress.Any,
            _ => IPAddress.TryParse(text, out var address)
                ? address
                : throw new BadInputException(
                    $"The connection file '{path}' names the address '{text}'; it must be an IP address, for example 127.0.0.1."
                ),
        };
}
