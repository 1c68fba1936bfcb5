using System.Text;
using System.Text.Json.Nodes;

namespace NotebookKernel.Jupyter;

/// <summary>Sends replies and outputs, each with the request that caused it as its parent.</summary>
internal sealed class Publisher(WireFormat format, Action<Outgoing> send)
{
    /// <summary>Answers a request on the channel it came by.</summary>
    internal void Reply(Channel channel, Request request, string type, JsonObject content) =>
        send(format.Write(channel, request.Identities, type, content, request.Header));

    /// <summary>Tells everybody who listens.</summary>
    /// <param name="type">The message type, which is also the topic.</param>
    /// <param name="content">What happened.</param>
    /// <param name="parent">The header of the request that caused it; null for none.</param>
    internal void Publish(string type, JsonObject content, byte[]? parent) =>
        send(format.Write(Channel.IoPub, [Encoding.ASCII.GetBytes(type)], type, content, parent));

    /// <summary>Tells everybody whether the kernel is busy with a request.</summary>
    internal void Status(string state, byte[]? parent) =>
        Publish("status", new JsonObject { ["execution_state"] = state }, parent);
}
