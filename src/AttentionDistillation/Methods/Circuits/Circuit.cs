using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>A sub-graph of a decoder: chosen edges and the nodes that they connect with input and logits.</summary>
public sealed class Circuit
{
    private readonly bool[,] edges;
    private readonly bool[] nodes;

    private Circuit(CircuitGraph graph, bool[,] edges, bool[] nodes) => (Graph, this.edges, this.nodes) = (graph, edges, nodes);

    /// <summary>Layers and heads.</summary>
    public CircuitGraph Graph { get; }

    /// <summary>How many edges it has.</summary>
    public int EdgeCount => edges.Cast<bool>().Count(kept => kept);

    /// <summary>How many heads it has.</summary>
    public int HeadCount => ActiveHeads.Count;

    /// <summary>bool [S, D].</summary>
    public Tensor Edges => tensor(edges);

    /// <summary>bool [S].</summary>
    public Tensor Nodes => tensor(nodes);

    /// <summary>bool [layers, H].</summary>
    public Tensor Heads
    {
        get
        {
            var heads = new bool[Graph.Layers, Graph.Heads];
            foreach (var (layer, head) in ActiveHeads)
                heads[layer, head] = true;
            return tensor(heads);
        }
    }

    /// <summary>The heads, layer by layer.</summary>
    public IReadOnlyList<(int Layer, int Head)> ActiveHeads =>
        [
            .. Enumerable
                .Range(0, Graph.Layers)
                .SelectMany(layer => Enumerable.Range(0, Graph.Heads).Select(head => (layer, head)))
                .Where(place => nodes[Graph.Head(place.layer, place.head)]),
        ];

    /// <summary>Whether an edge belongs to the circuit.</summary>
    public bool Has(int source, int destination) => edges[source, destination];

    /// <summary>Whether a source belongs to the circuit.</summary>
    public bool HasNode(int source) => nodes[source];

    /// <summary>The edges of the largest |score|, pruned of what hangs loose.</summary>
    /// <param name="scores">[S, D], one score an edge.</param>
    /// <param name="layers">Layers of the decoder.</param>
    /// <param name="heads">H.</param>
    /// <param name="count">How many edges before pruning; of equal scores the earlier edge is taken.</param>
    /// <exception cref="ArgumentException">The scores do not fit the graph, or the count is negative.</exception>
    public static Circuit Top(Tensor scores, int layers, int heads, int count)
    {
        if (count < 0)
            throw new ArgumentException($"The number of edges must be 0 or more, but is {count}.", nameof(count));
        var (graph, sizes) = Sizes(scores, layers, heads);
        var real = Real(graph).OrderByDescending(edge => sizes[edge.From * graph.Destinations + edge.To]).Take(count);
        return Of(graph, real);
    }

    /// <summary>The edges whose |score| reaches a threshold, pruned of what hangs loose.</summary>
    /// <param name="scores">[S, D], one score an edge.</param>
    /// <param name="layers">Layers of the decoder.</param>
    /// <param name="heads">H.</param>
    /// <param name="threshold">The least |score|; the paper simplifies with a tenth of the largest.</param>
    /// <exception cref="ArgumentException">The scores do not fit the graph.</exception>
    public static Circuit Above(Tensor scores, int layers, int heads, double threshold)
    {
        var (graph, sizes) = Sizes(scores, layers, heads);
        return Of(graph, Real(graph).Where(edge => sizes[edge.From * graph.Destinations + edge.To] >= threshold));
    }

    /// <summary>As many edges drawn at random, not pruned: what a circuit must beat.</summary>
    /// <param name="graph">Layers and heads.</param>
    /// <param name="count">How many edges.</param>
    /// <param name="seed">Seed of the draw.</param>
    /// <returns>bool [S, D].</returns>
    public static Tensor RandomEdges(CircuitGraph graph, int count, long seed)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var real = Real(graph).ToArray();
        Seeds.Random(seed, "circuit.random").Shuffle(real);
        var chosen = new bool[graph.Sources, graph.Destinations];
        foreach (var (from, to) in real.Take(count))
            chosen[from, to] = true;
        return tensor(chosen);
    }

    // Until nothing changes: a node needs an edge out, and one in unless it is the input; edges of dead nodes go. The logits always live.
    private static Circuit Of(CircuitGraph graph, IEnumerable<(int From, int To)> chosen)
    {
        var left = chosen.ToHashSet();
        var alive = Enumerable.Repeat(true, graph.Sources).ToArray();
        for (bool changed = true; changed; )
        {
            changed = false;
            var senders = left.Select(edge => edge.From).ToHashSet();
            var receivers = left.Select(edge => graph.NodeOf(edge.To)).ToHashSet();
            for (int node = 0; node < graph.Sources; node++)
            {
                if (!alive[node] || (senders.Contains(node) && (node == CircuitGraph.Input || receivers.Contains(node))))
                    continue;
                alive[node] = false;
                changed = true;
                left.RemoveWhere(edge => edge.From == node || graph.NodeOf(edge.To) == node);
            }
        }
        var edges = new bool[graph.Sources, graph.Destinations];
        foreach (var (from, to) in left)
            edges[from, to] = true;
        return new Circuit(graph, edges, alive);
    }

    private static (CircuitGraph Graph, double[] Sizes) Sizes(Tensor scores, int layers, int heads)
    {
        ArgumentNullException.ThrowIfNull(scores);
        if (scores.dim() != 2)
            throw new ArgumentException(
                $"One score an edge is needed, [S, D], but there is [{string.Join(", ", scores.shape)}]. Average over examples first.",
                nameof(scores)
            );
        var graph = CircuitGraph.Of(scores, layers, heads);
        using var scope = NewDisposeScope();
        double[] sizes = scores.detach().to(ScalarType.Float64).abs().cpu().contiguous().view(-1).data<double>().ToArray();
        return Array.Exists(sizes, double.IsNaN)
            ? throw new ArgumentException("A score is not a number: the model's logits or gradients overflowed.", nameof(scores))
            : (graph, sizes);
    }

    private static IEnumerable<(int From, int To)> Real(CircuitGraph graph) =>
        Enumerable
            .Range(0, graph.Sources)
            .SelectMany(from =>
                Enumerable.Range(0, graph.Destinations).Where(to => from < graph.ParentsOf(to)).Select(to => (from, to))
            );
}
