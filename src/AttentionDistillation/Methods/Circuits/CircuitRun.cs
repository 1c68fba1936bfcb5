using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>What a decoder does when only some edges carry what they carry on the clean input.</summary>
/// <param name="Logits">[B, V].</param>
/// <param name="Kl">[B], KL(clean || circuit), nats: 0 when all edges are kept.</param>
/// <param name="CorruptedKl">[B], KL(clean || corrupted): what keeping no edge costs.</param>
public sealed record CircuitOutcome(Tensor Logits, Tensor Kl, Tensor CorruptedKl) : IDisposable
{
    /// <summary>1 - KL / KL of the corrupted run, of the means over the examples: 1 for a circuit that explains the behaviour, 0 for none.</summary>
    public double Faithfulness
    {
        get
        {
            using var scope = NewDisposeScope();
            return 1.0
                - Kl.mean().to(ScalarType.Float64).item<double>() / CorruptedKl.mean().to(ScalarType.Float64).item<double>();
        }
    }

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        Logits.Dispose();
        Kl.Dispose();
        CorruptedKl.Dispose();
    }
}

/// <summary>Runs of a decoder as a graph.</summary>
public static class CircuitRun
{
    /// <summary>
    /// Runs on the clean input, where every destination receives the current outputs of its parents over kept edges and the corrupted outputs of all its other
    /// parents.
    /// </summary>
    /// <param name="model">The decoder.</param>
    /// <param name="clean">[B, L, C], the input node's output on the clean inputs.</param>
    /// <param name="corrupted">[B, L, C], on corrupted inputs of the same length.</param>
    /// <param name="keep">bool [S, D]: edges of the circuit.</param>
    /// <param name="position">The position whose next token is compared; negative counts from the end.</param>
    /// <returns>The outcome, without gradients, the caller's to dispose.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static CircuitOutcome Run(ICircuitModel model, Tensor clean, Tensor corrupted, Tensor keep, long position = -1)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.Graph.Require(keep, nameof(keep));
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var pair = Compare(model, clean, corrupted, position);
        var logits = Patched(model, clean, pair.CorruptedSources, keep, position);
        // By the same sums as the circuit's own run, so that a circuit of all edges has a divergence of exactly 0.
        var whole = Patched(model, clean, pair.CorruptedSources, model.Graph.RealEdges(), position);
        return new CircuitOutcome(
            logits.MoveToOuterDisposeScope(),
            Kl(whole, logits).MoveToOuterDisposeScope(),
            pair.CorruptedKl.MoveToOuterDisposeScope()
        );
    }

    private static Tensor Patched(ICircuitModel model, Tensor clean, Tensor corruptedSources, Tensor keep, long position)
    {
        var graph = model.Graph;
        var edges = keep.to(clean.dtype).to(clean.device);
        // A destination's input is the corrupted residual sum plus, over kept edges, what the current outputs change.
        var changes = new List<Tensor> { clean.unsqueeze(1) - corruptedSources.narrow(1, CircuitGraph.Input, 1) };
        Tensor Received(int destination, int count, int parents)
        {
            var changed = cat([.. changes], 1);
            var kept = edges.narrow(0, 0, parents).narrow(1, destination, count);
            var sum = matmul(kept.t(), changed.flatten(2)).view(clean.size(0), count, clean.size(1), clean.size(2));
            return sum + corruptedSources.narrow(1, 0, parents).sum(1, keepdim: true);
        }
        Tensor bias = clean.new_zeros(clean.size(2));
        for (int layer = 0; layer < graph.Layers; layer++)
        {
            int before = graph.SourcesBefore(layer);
            Tensor Inputs(int kind) => Received(graph.HeadInput(layer, kind, 0), graph.Heads, before) + bias;
            var heads = model.Heads(layer, Inputs(0), Inputs(1), Inputs(2));
            changes.Add(heads - corruptedSources.narrow(1, before, graph.Heads));
            if (model.HeadBias(layer) is { } added)
                bias = bias + added;
            var input = Received(graph.FeedForwardInput(layer), 1, before + graph.Heads).squeeze(1) + bias;
            changes.Add(model.FeedForward(layer, input).unsqueeze(1) - corruptedSources.narrow(1, graph.FeedForward(layer), 1));
        }
        var last = Received(graph.Logits, 1, graph.Sources).squeeze(1) + bias;
        return model.Logits(last.select(1, Place(position, clean)));
    }

    /// <summary>KL(clean || other) of each example, nats.</summary>
    internal static Tensor Kl(Tensor cleanLogits, Tensor otherLogits) =>
        Divergences.KlRows(cleanLogits, otherLogits, DivergenceOptions.Default);

    /// <summary>Clean and corrupted run: what every source gives, and the logits.</summary>
    internal static (
        Tensor CleanSources,
        Tensor CorruptedSources,
        Tensor CleanLogits,
        Tensor CorruptedLogits,
        Tensor CorruptedKl
    ) Compare(ICircuitModel model, Tensor clean, Tensor corrupted, long position)
    {
        Shapes.Require(clean, "[B, L, C]");
        if (!clean.shape.SequenceEqual(corrupted.shape))
            throw new ArgumentException(
                $"Clean and corrupted inputs must have the same shape, but have {Shapes.Describe(clean)} and {Shapes.Describe(corrupted)}. Choose prompts of equal length."
            );
        using var guard = no_grad();
        var (cleanSources, corruptedSources) = (new List<Tensor>(), new List<Tensor>());
        var cleanLogits = Forward(model, clean, position, null, cleanSources);
        var corruptedLogits = Forward(model, corrupted, position, null, corruptedSources);
        return (
            cat([.. cleanSources], 1),
            cat([.. corruptedSources], 1),
            cleanLogits,
            corruptedLogits,
            Kl(cleanLogits, corruptedLogits)
        );
    }

    /// <summary>An ordinary run in which every destination has its own copy of the residual sum; records what the sources give, [B, 1 or H, L, C] each.</summary>
    internal static Tensor Forward(ICircuitModel model, Tensor input, long position, CircuitTaps? taps, List<Tensor>? sources)
    {
        var residual = input.detach();
        sources?.Add(residual.unsqueeze(1));
        for (int layer = 0; layer < model.Graph.Layers; layer++)
        {
            var shared = residual.unsqueeze(1).expand(residual.size(0), model.Graph.Heads, residual.size(1), residual.size(2));
            var own = taps?.Layers[layer];
            var heads = model.Heads(
                layer,
                own is null ? shared : shared + own.Value.Query,
                own is null ? shared : shared + own.Value.Key,
                own is null ? shared : shared + own.Value.Value
            );
            sources?.Add(heads);
            residual = residual + heads.sum(1);
            if (model.HeadBias(layer) is { } bias)
                residual = residual + bias;
            var fed = model.FeedForward(layer, own is null ? residual : residual + own.Value.FeedForward);
            sources?.Add(fed.unsqueeze(1));
            residual = residual + fed;
        }
        if (taps is not null)
            residual = residual + taps.Logits;
        return model.Logits(residual.select(1, Place(position, input)));
    }

    private static long Place(long position, Tensor input)
    {
        long length = input.size(1),
            place = position < 0 ? length + position : position;
        return place >= 0 && place < length
            ? place
            : throw new ArgumentException($"There is no position {position} among {length}.", nameof(position));
    }
}
