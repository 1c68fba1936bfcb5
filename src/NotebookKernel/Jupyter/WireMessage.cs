using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using NetMQ;

namespace NotebookKernel.Jupyter;

/// <summary>A message of a client: who sent it, its type and what it says.</summary>
/// <param name="Identities">The route back: frames that a reply begins with.</param>
/// <param name="Type">The message type, for example <c>execute_request</c>.</param>
/// <param name="Header">The header's bytes, which become the parent header of all that it causes.</param>
/// <param name="Content">The content.</param>
internal sealed record Request(IReadOnlyList<byte[]> Identities, string Type, byte[] Header, JsonObject Content);

/// <summary>A message of ours, ready for a socket.</summary>
/// <param name="Channel">The socket it goes to.</param>
/// <param name="Frames">Its frames.</param>
internal sealed record Outgoing(Channel Channel, IReadOnlyList<byte[]> Frames);

/// <summary>The sockets a kernel writes to.</summary>
internal enum Channel
{
    /// <summary>Requests in order.</summary>
    Shell,

    /// <summary>Requests that do not wait.</summary>
    Control,

    /// <summary>Input asked of the user.</summary>
    Stdin,

    /// <summary>Outputs, to everybody who listens.</summary>
    IoPub,
}

/// <summary>Writes and reads messages in the wire format of the Jupyter protocol: identities, delimiter, signature, four JSON dictionaries, buffers.</summary>
internal sealed class WireFormat(MessageSigner signer)
{
    /// <summary>The version of the protocol spoken here.</summary>
    internal const string ProtocolVersion = "5.4";

    // Of the frames after the delimiter: signature, header, parent header, metadata, content. Buffers may follow.
    private const int FramesAfterDelimiter = 5;
    private const string UserName = "kernel";
    private static readonly byte[] Delimiter = "<IDS|MSG>"u8.ToArray();
    private static readonly byte[] EmptyObject = "{}"u8.ToArray();

    // Signed by us and read by JSON parsers only: characters of HTML need no escapes.
    private static readonly JsonSerializerOptions Plain = new()
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private readonly string session = Guid.NewGuid().ToString();

    /// <summary>Reads a message.</summary>
    /// <param name="frames">As they arrived.</param>
    /// <returns>The message.</returns>
    /// <exception cref="FormatException">It is malformed, or its signature is wrong; the message says which.</exception>
    internal Request Read(NetMQMessage frames)
    {
        var parts = frames.Select(frame => frame.ToByteArray()).ToList();
        int delimiter = parts.FindIndex(part => part.AsSpan().SequenceEqual(Delimiter));
        if (delimiter < 0 || parts.Count < delimiter + 1 + FramesAfterDelimiter)
            throw new FormatException($"{parts.Count} frames are no message");
        byte[] header = parts[delimiter + 2];
        if (!signer.Verify(parts[delimiter + 1], header, parts[delimiter + 3], parts[delimiter + 4], parts[delimiter + 5]))
            throw new FormatException("the signature is wrong");
        try
        {
            if (
                Parse(header)["msg_type"] is not JsonValue value
                || !value.TryGetValue(out string? type)
                || string.IsNullOrEmpty(type)
            )
                throw new FormatException("the header names no message type");
            return new Request(parts[..delimiter], type, header, Parse(parts[delimiter + 5]));
        }
        catch (Exception error) when (error is JsonException or ArgumentException or InvalidOperationException)
        {
            throw new FormatException($"invalid JSON: {error.Message}");
        }
    }

    /// <summary>Writes a message.</summary>
    /// <param name="channel">Where it goes.</param>
    /// <param name="route">The frames before the delimiter: identities of the receiver, or a topic.</param>
    /// <param name="type">The message type.</param>
    /// <param name="content">What it says.</param>
    /// <param name="parent">The header of the request that caused it; null for none.</param>
    internal Outgoing Write(Channel channel, IReadOnlyList<byte[]> route, string type, JsonObject content, byte[]? parent)
    {
        byte[] header = Bytes(
            new JsonObject
            {
                ["msg_id"] = Guid.NewGuid().ToString(),
                ["session"] = session,
                ["username"] = UserName,
                ["date"] = DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture),
                ["msg_type"] = type,
                ["version"] = ProtocolVersion,
            }
        );
        byte[] said = Bytes(content);
        parent ??= EmptyObject;
        byte[] signature = signer.Sign(header, parent, EmptyObject, said);
        return new Outgoing(channel, [.. route, Delimiter, signature, header, parent, EmptyObject, said]);
    }

    private static byte[] Bytes(JsonObject value) => JsonSerializer.SerializeToUtf8Bytes(value, Plain);

    // Reading a property of an object with a repeated key throws, so the first look comes here, where that is expected.
    private static JsonObject Parse(byte[] bytes)
    {
        var parsed = JsonNode.Parse(bytes) as JsonObject ?? throw new JsonException("an object was expected");
        _ = parsed.Count;
        return parsed;
    }
}
