using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>How scores of examples become one score an edge.</summary>
public enum EdgeAggregation
{
    /// <summary>The mean of the signed scores, as the released code does; edges are then ranked by its absolute value.</summary>
    SignedMean,

    /// <summary>The mean of the absolute scores, as the paper writes.</summary>
    AbsoluteMean,
}

/// <summary>Scores of all edges for each example, and the two ends of the path.</summary>
/// <param name="Scores">[B, S, D], signed; 0 where there is no edge.</param>
/// <param name="CleanLogits">[B, V].</param>
/// <param name="CorruptedLogits">[B, V].</param>
/// <param name="CorruptedKl">[B], KL(clean || corrupted), nats.</param>
public sealed record EdgeScores(Tensor Scores, Tensor CleanLogits, Tensor CorruptedLogits, Tensor CorruptedKl) : IDisposable
{
    /// <summary>One score an edge, [S, D].</summary>
    /// <param name="aggregation">How examples are averaged.</param>
    public Tensor Mean(EdgeAggregation aggregation = EdgeAggregation.SignedMean)
    {
        using var scope = NewDisposeScope();
        var each = aggregation == EdgeAggregation.AbsoluteMean ? Scores.abs() : Scores;
        return each.mean([0]).MoveToOuterDisposeScope();
    }

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        Scores.Dispose();
        CleanLogits.Dispose();
        CorruptedLogits.Dispose();
        CorruptedKl.Dispose();
    }
}

/// <summary>
/// Edge attribution patching with integrated gradients (EAP-IG): how much the divergence from the clean run would change, to first order along the path from corrupted to
/// clean inputs, if an edge carried its corrupted instead of its clean output.
/// </summary>
/// <remarks>
/// Hanna et al., "Have Faith in Faithfulness", 2024, equation 3; "Thinking Sparks", 2025, section 3. score[u, v] = 1/m Σ_k Σ_positions (z'_u - z_u) ∂KL(clean || x_k)/∂(input of v), with
/// inputs x_k = x' + (k/m)(x - x'). KL has no gradient at the clean point, which is why plain attribution patching gives zeros.
/// </remarks>
public static class EdgeAttribution
{
    /// <summary>Scores every edge.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="clean">[B, L, C], the input node's output on the clean inputs.</param>
    /// <param name="corrupted">[B, L, C], on corrupted inputs of the same length.</param>
    /// <param name="steps">m, points on the path.</param>
    /// <param name="first">The first k: 0 as in the released code (0 ... m - 1), 1 as the paper writes (1 ... m, of which the last adds exactly zero).</param>
    /// <param name="position">The position whose next token is compared; negative counts from the end.</param>
    /// <returns>The scores, the caller's to dispose.</returns>
    /// <exception cref="ArgumentException">Clean and corrupted inputs differ in shape, or a number is out of its range.</exception>
    public static EdgeScores Score(
        ICircuitModel model,
        Tensor clean,
        Tensor corrupted,
        int steps,
        int first = 0,
        long position = -1
    )
    {
        ArgumentNullException.ThrowIfNull(model);
        if (steps < 1 || first is not (0 or 1))
            throw new ArgumentException($"There must be 1 or more steps, from 0 or from 1, but there are {steps} from {first}.");
        using var scope = NewDisposeScope();
        var pair = CircuitRun.Compare(model, clean, corrupted, position);
        var graph = model.Graph;
        Tensor? gradients = null;
        for (int k = first; k < first + steps; k++)
        {
            using var step = NewDisposeScope();
            var point = corrupted.detach() + (clean.detach() - corrupted.detach()) * ((double)k / steps);
            var taps = CircuitTaps.Of(graph, point);
            var logits = CircuitRun.Forward(model, point, position, taps, null);
            var divergence = CircuitRun.Kl(pair.CleanLogits, logits).sum();
            var found = autograd.grad([divergence], [.. taps.All]);
            var all = CircuitTaps.InOrder(found);
            gradients = (gradients is null ? all : gradients + all).MoveToOuterDisposeScope();
        }
        var difference = (pair.CorruptedSources - pair.CleanSources).flatten(2);
        var scores = matmul(difference, gradients!.flatten(2).transpose(1, 2)) / steps;
        scores = scores * graph.RealEdges().to(scores.dtype).to(scores.device);
        return new EdgeScores(
            scores.MoveToOuterDisposeScope(),
            pair.CleanLogits.MoveToOuterDisposeScope(),
            pair.CorruptedLogits.MoveToOuterDisposeScope(),
            pair.CorruptedKl.MoveToOuterDisposeScope()
        );
    }
}

/// <summary>Zeros that are added to every destination's own copy of the residual sum, so that their gradients are those of the destinations' inputs.</summary>
internal sealed record CircuitTaps(
    IReadOnlyList<(Tensor Query, Tensor Key, Tensor Value, Tensor FeedForward)> Layers,
    Tensor Logits
)
{
    internal static CircuitTaps Of(CircuitGraph graph, Tensor input)
    {
        long batch = input.size(0),
            length = input.size(1),
            width = input.size(2);
        Tensor Zeros(params long[] shape) => zeros(shape, dtype: input.dtype, device: input.device).requires_grad_();
        Tensor Heads() => Zeros(batch, graph.Heads, length, width);
        return new(
            [.. Enumerable.Range(0, graph.Layers).Select(_ => (Heads(), Heads(), Heads(), Zeros(batch, length, width)))],
            Zeros(batch, length, width)
        );
    }

    /// <summary>All taps in the order of destinations.</summary>
    internal IEnumerable<Tensor> All =>
        Layers.SelectMany(layer => new[] { layer.Query, layer.Key, layer.Value, layer.FeedForward }).Append(Logits);

    /// <summary>Gradients in that order, as [B, D, L, C].</summary>
    internal static Tensor InOrder(IEnumerable<Tensor> gradients) =>
        cat([.. gradients.Select(gradient => gradient.dim() == 4 ? gradient : gradient.unsqueeze(1))], 1);
}
