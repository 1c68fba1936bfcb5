using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>
/// The computation graph of a pre-norm decoder. Sources are the input, and of every layer its H heads and its feed-forward block: S = 1 + layers (H + 1).
/// Destinations are of every layer the query inputs of all heads, their key inputs, their value inputs and the feed-forward input, last the logits:
/// D = layers (3 H + 1) + 1. A head receives all sources of earlier layers, a feed-forward block also the heads of its own layer.
/// </summary>
/// <remarks>Hanna et al., "Have Faith in Faithfulness", 2024 (EAP-IG); numbering as in hannamw/EAP-IG.</remarks>
/// <param name="Layers">Layers of the decoder.</param>
/// <param name="Heads">H, query heads; grouped key heads are taken apart.</param>
public sealed record CircuitGraph(int Layers, int Heads)
{
    /// <summary>S.</summary>
    public int Sources => 1 + Layers * (Heads + 1);

    /// <summary>D.</summary>
    public int Destinations => Layers * (3 * Heads + 1) + 1;

    /// <summary>The source that is the input embeddings.</summary>
    public const int Input = 0;

    /// <summary>The destination that is the logits.</summary>
    public int Logits => Destinations - 1;

    /// <summary>The source of a head.</summary>
    public int Head(int layer, int head) => 1 + layer * (Heads + 1) + head;

    /// <summary>The source of a layer's feed-forward block.</summary>
    public int FeedForward(int layer) => 1 + layer * (Heads + 1) + Heads;

    /// <summary>The destination of a head's input.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="kind">0 query, 1 key, 2 value.</param>
    /// <param name="head">The head.</param>
    public int HeadInput(int layer, int kind, int head) => layer * (3 * Heads + 1) + kind * Heads + head;

    /// <summary>The destination of a layer's feed-forward input.</summary>
    public int FeedForwardInput(int layer) => layer * (3 * Heads + 1) + 3 * Heads;

    /// <summary>How many sources a layer's heads receive: the first ones in the order of sources.</summary>
    public int SourcesBefore(int layer) => 1 + layer * (Heads + 1);

    /// <summary>How many sources a destination receives.</summary>
    public int ParentsOf(int destination)
    {
        if (destination == Logits)
            return Sources;
        int layer = destination / (3 * Heads + 1);
        return SourcesBefore(layer) + (destination == FeedForwardInput(layer) ? Heads : 0);
    }

    /// <summary>The source that a destination belongs to: a head's or feed-forward block's own; -1 for the logits.</summary>
    public int NodeOf(int destination)
    {
        if (destination == Logits)
            return -1;
        int layer = destination / (3 * Heads + 1),
            place = destination % (3 * Heads + 1);
        return place == 3 * Heads ? FeedForward(layer) : Head(layer, place % Heads);
    }

    /// <summary>The edges that exist, bool [S, D].</summary>
    public Tensor RealEdges()
    {
        var real = new bool[Sources * Destinations];
        for (int to = 0; to < Destinations; to++)
        for (int from = 0; from < ParentsOf(to); from++)
            real[from * Destinations + to] = true;
        return tensor(real).view(Sources, Destinations);
    }

    /// <summary>A source in words: <c>input</c>, <c>a2.h1</c>, <c>m3</c>.</summary>
    public string SourceName(int source)
    {
        if (source == Input)
            return "input";
        int layer = (source - 1) / (Heads + 1),
            place = (source - 1) % (Heads + 1);
        return place == Heads ? $"m{layer}" : $"a{layer}.h{place}";
    }

    /// <summary>A destination in words: <c>a2.h1.q</c>, <c>m3</c>, <c>logits</c>.</summary>
    public string DestinationName(int destination)
    {
        if (destination == Logits)
            return "logits";
        int layer = destination / (3 * Heads + 1),
            place = destination % (3 * Heads + 1);
        return place == 3 * Heads ? $"m{layer}" : $"a{layer}.h{place % Heads}.{"qkv"[place / Heads]}";
    }

    internal void Require(Tensor scores, string name)
    {
        ArgumentNullException.ThrowIfNull(scores, name);
        if (scores.dim() < 2 || scores.size(-2) != Sources || scores.size(-1) != Destinations)
            throw new ArgumentException(
                $"{name} must be [..., {Sources}, {Destinations}] for {Layers} layers of {Heads} heads, but is [{string.Join(", ", scores.shape)}].",
                name
            );
    }

    /// <summary>The graph of a table of edges with this many heads.</summary>
    internal static CircuitGraph Of(Tensor edges, int layers, int heads)
    {
        var graph = new CircuitGraph(layers, heads);
        graph.Require(edges, nameof(edges));
        return graph;
    }
}
