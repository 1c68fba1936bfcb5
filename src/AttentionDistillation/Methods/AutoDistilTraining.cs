using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How the sub-networks of a step are chosen.</summary>
public enum SubNetworkSampling
{
    /// <summary>The largest, the smallest and two others (AutoDistil).</summary>
    Sandwich,

    /// <summary>Four of all, none of them certain.</summary>
    Uniform,
}

/// <summary>
/// Batches that say which sub-networks the step trains, so that a training resumes exactly: the choice is a function of seed and step, like the data.
/// </summary>
public sealed class SubNetworkBatches : IBatchSource
{
    /// <summary>The name of the tensor of candidate numbers in a batch, int64 [N].</summary>
    public const string Chosen = "sub_networks";

    private readonly IBatchSource inner;
    private readonly SubNetworkSpace space;
    private readonly SubNetworkSampling sampling;
    private readonly long seed;

    /// <summary>Adds choices to batches.</summary>
    /// <param name="inner">The data.</param>
    /// <param name="space">The candidates.</param>
    /// <param name="sampling">How they are chosen.</param>
    /// <param name="seed">Seed of the choice.</param>
    public SubNetworkBatches(IBatchSource inner, SubNetworkSpace space, SubNetworkSampling sampling, long seed)
    {
        ArgumentNullException.ThrowIfNull(inner);
        ArgumentNullException.ThrowIfNull(space);
        (this.inner, this.space, this.sampling, this.seed) = (inner, space, sampling, seed);
    }

    /// <inheritdoc/>
    public Batch BatchAt(long step)
    {
        var batch = inner.BatchAt(step);
        batch[Chosen] = tensor([.. ChosenAt(step).Select(number => (long)number)]).DetachFromDisposeScope();
        return batch.KeepOnHost(Chosen); // which parts run is the host's business
    }

    /// <summary>The candidates of a step.</summary>
    public int[] ChosenAt(long step) =>
        space.Candidates.Count == 1 ? [0]
        : sampling == SubNetworkSampling.Uniform ? SandwichSampling.Uniform(space.Candidates.Count, seed, step)
        : SandwichSampling.Choose(space.Parameters, SandwichSampling.Draws(space.Candidates.Count, seed, step));
}

/// <summary>
/// The training objective of one of AutoDistil's super-networks: the distillation losses of all sub-networks of a step on the same batch, summed, so
/// that their gradients are summed and not averaged.
/// </summary>
public sealed class AutoDistilTraining
{
    private readonly ITracedModel teacher;
    private readonly ElasticEncoder network;
    private readonly SubNetworkSpace space;
    private readonly AutoDistilOptions options;

    /// <summary>Prepares the objective.</summary>
    /// <param name="teacher">Who is imitated; it runs without gradients.</param>
    /// <param name="network">The super-network.</param>
    /// <param name="space">The candidates; each must lie in the super-network.</param>
    /// <param name="options">The loss; null for the released code's.</param>
    /// <exception cref="ArgumentException">A candidate does not lie in the super-network.</exception>
    public AutoDistilTraining(
        ITracedModel teacher,
        ElasticEncoder network,
        SubNetworkSpace space,
        AutoDistilOptions? options = null
    )
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(network);
        ArgumentNullException.ThrowIfNull(space);
        (this.teacher, this.network, this.space, this.options) = (teacher, network, space, options ?? new AutoDistilOptions());
        foreach (var candidate in space.Candidates)
            _ = network.CapabilitiesOf(candidate.Shape);
    }

    /// <summary>The objective of a batch of <see cref="SubNetworkBatches"/>: a term for each sub-network of the step.</summary>
    public LossTerms Loss(Batch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        long[] chosen = [.. batch[SubNetworkBatches.Chosen].cpu().data<long>()];
        var taught = Teach(batch);
        var terms = new LossTerms();
        for (int place = 0; place < chosen.Length; place++)
            terms.Add(NameOf(place, chosen), LossOf(space.Candidates[(int)chosen[place]], taught, batch));
        return terms;
    }

    /// <summary>The distillation loss of one sub-network on a batch.</summary>
    /// <returns>A scalar.</returns>
    public Tensor Loss(SubNetwork candidate, Batch batch)
    {
        ArgumentNullException.ThrowIfNull(candidate);
        ArgumentNullException.ThrowIfNull(batch);
        return LossOf(candidate, Teach(batch), batch);
    }

    /// <summary>Mean distillation loss of a sub-network over batches, every example weighing the same: what the task-agnostic search compares.</summary>
    /// <param name="candidate">The sub-network.</param>
    /// <param name="batches">Held-out batches, on the super-network's device or to be moved there; each is disposed.</param>
    /// <param name="device">Where the models are.</param>
    /// <exception cref="ArgumentException">There are no batches.</exception>
    public double HeldOutLoss(SubNetwork candidate, IEnumerable<Batch> batches, Device device)
    {
        ArgumentNullException.ThrowIfNull(batches);
        using var guard = no_grad();
        double sum = 0;
        long examples = 0;
        foreach (var batch in batches)
        {
            using var owned = batch;
            using var scope = NewDisposeScope();
            sum += Loss(candidate, batch.To(device)).to(ScalarType.Float64).item<double>() * batch.Size;
            examples += batch.Size;
        }
        return examples > 0 ? sum / examples : throw new ArgumentException("There are no batches.", nameof(batches));
    }

    private ForwardTrace Teach(Batch batch)
    {
        using var guard = no_grad();
        var trace = new ForwardTrace(TraceRequest.Attention(options.TeacherLayer), teacher.Capabilities, wantsOutput: false);
        teacher.Run(batch, trace);
        return trace;
    }

    private Tensor LossOf(SubNetwork candidate, ForwardTrace taught, Batch batch)
    {
        using var scope = NewDisposeScope();
        var shape = candidate.Shape;
        var trace = new ForwardTrace(
            TraceRequest.Attention(options.StudentLayer),
            network.CapabilitiesOf(shape),
            wantsOutput: false
        );
        network.Run(shape, batch, trace);
        return AutoDistil.Loss(taught, trace, options).Total.MoveToOuterDisposeScope();
    }

    private string NameOf(int place, long[] chosen) =>
        chosen[place] == space.Candidates.Count - 1 ? "largest"
        : chosen[place] == 0 ? "smallest"
        : $"other {place + 1}";
}

/// <summary>The light search over trained sub-networks.</summary>
public static class SubNetworkSearch
{
    /// <summary>The candidate of the best score whose cost stays under a limit (†: the paper's search, by distillation loss or a proxy task).</summary>
    /// <param name="candidates">Candidates with their cost and score.</param>
    /// <param name="limit">The highest cost.</param>
    /// <param name="higherIsBetter">True for accuracies, false for losses.</param>
    /// <exception cref="ArgumentException">No candidate is cheap enough; the message gives the cheapest.</exception>
    public static SubNetwork Best(
        IReadOnlyCollection<(SubNetwork Network, double Cost, double Score)> candidates,
        double limit,
        bool higherIsBetter
    )
    {
        ArgumentNullException.ThrowIfNull(candidates);
        var allowed = candidates.Where(candidate => candidate.Cost <= limit);
        return allowed.Any()
            ? (higherIsBetter ? allowed.MaxBy(candidate => candidate.Score) : allowed.MinBy(candidate => candidate.Score)).Network
            : throw new ArgumentException(
                $"No candidate costs at most {limit}; the cheapest costs {candidates.Select(candidate => candidate.Cost).DefaultIfEmpty(double.NaN).Min()}."
            );
    }

    /// <summary>The candidates that no other beats in cost and score at once, by rising cost.</summary>
    /// <param name="candidates">Candidates with their cost and score.</param>
    /// <param name="higherIsBetter">True for accuracies, false for losses.</param>
    public static IReadOnlyList<(SubNetwork Network, double Cost, double Score)> ParetoFront(
        IReadOnlyCollection<(SubNetwork Network, double Cost, double Score)> candidates,
        bool higherIsBetter
    )
    {
        ArgumentNullException.ThrowIfNull(candidates);
        double sign = higherIsBetter ? 1 : -1,
            best = double.NegativeInfinity;
        var front = new List<(SubNetwork, double, double)>();
        foreach (var candidate in candidates.OrderBy(item => item.Cost).ThenByDescending(item => sign * item.Score))
        {
            if (sign * candidate.Score <= best)
                continue;
            best = sign * candidate.Score;
            front.Add(candidate);
        }
        return front;
    }
}
