using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>
/// Which heads join a circuit during post-training: emergent at a checkpoint are heads of its circuit that the base model's circuit did not have, kept are
/// heads of both.
/// </summary>
/// <remarks>"Thinking Sparks", 2025, section 3.2. A head's cohort is the checkpoint at which it was first seen.</remarks>
public sealed class HeadEmergence
{
    private readonly bool[,] baseHeads;
    private readonly bool[,,] active;
    private readonly int checkpoints;
    private readonly int layers;
    private readonly int heads;

    /// <summary>Follows heads over checkpoints.</summary>
    /// <param name="baseHeads">bool [layers, H], the base model's circuit.</param>
    /// <param name="checkpoints">bool [T, layers, H], the circuits of the checkpoints in order.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or a tensor is not bool.</exception>
    public HeadEmergence(Tensor baseHeads, Tensor checkpoints)
    {
        ArgumentNullException.ThrowIfNull(baseHeads);
        ArgumentNullException.ThrowIfNull(checkpoints);
        if (
            baseHeads.dtype != ScalarType.Bool
            || checkpoints.dtype != ScalarType.Bool
            || baseHeads.dim() != 2
            || checkpoints.dim() != 3
            || !checkpoints.shape[1..].SequenceEqual(baseHeads.shape)
        )
            throw new ArgumentException(
                $"Heads must be bool [layers, H] and [T, layers, H], but are {baseHeads.dtype} [{string.Join(", ", baseHeads.shape)}] and {checkpoints.dtype} [{string.Join(", ", checkpoints.shape)}]."
            );
        (this.checkpoints, layers, heads) = ((int)checkpoints.size(0), (int)baseHeads.size(0), (int)baseHeads.size(1));
        this.baseHeads = new bool[layers, heads];
        active = new bool[this.checkpoints, layers, heads];
        using var scope = NewDisposeScope();
        bool[] first = baseHeads.cpu().contiguous().view(-1).data<bool>().ToArray(),
            later = checkpoints.cpu().contiguous().view(-1).data<bool>().ToArray();
        foreach (var (layer, head) in Places())
        {
            this.baseHeads[layer, head] = first[layer * heads + head];
            for (int t = 0; t < this.checkpoints; t++)
                active[t, layer, head] = later[(t * layers + layer) * heads + head];
        }
    }

    /// <summary>bool [T, layers, H].</summary>
    public Tensor Emergent => tensor(Table((t, layer, head) => IsEmergent(t, layer, head)));

    /// <summary>Emergent heads at each checkpoint.</summary>
    public IReadOnlyList<long> EmergentCount => Counts(IsEmergent);

    /// <summary>Heads of the base circuit that each checkpoint's circuit still has.</summary>
    public IReadOnlyList<long> KeptCount => Counts((t, layer, head) => active[t, layer, head] && baseHeads[layer, head]);

    /// <summary>int64 [layers, H]: the checkpoint at which a head was first emergent; -1 never.</summary>
    public Tensor FirstSeen
    {
        get
        {
            var first = new long[layers, heads];
            foreach (var (layer, head) in Places())
                first[layer, head] = FirstOf(layer, head);
            return tensor(first);
        }
    }

    /// <summary>int64 [T, T]: emergent heads at checkpoint t (row) that were first seen at checkpoint c (column).</summary>
    public Tensor Cohorts
    {
        get
        {
            var cohorts = new long[checkpoints, checkpoints];
            for (int t = 0; t < checkpoints; t++)
                foreach (var (layer, head) in Places())
                    if (IsEmergent(t, layer, head))
                        cohorts[t, FirstOf(layer, head)]++;
            return tensor(cohorts);
        }
    }

    /// <summary>float64 [layers, H]: the share of checkpoints at which a head is emergent.</summary>
    public Tensor Frequency
    {
        get
        {
            var share = new double[layers, heads];
            foreach (var (layer, head) in Places())
                share[layer, head] =
                    (double)Enumerable.Range(0, checkpoints).Count(t => IsEmergent(t, layer, head)) / checkpoints;
            return tensor(share);
        }
    }

    /// <summary>
    /// How lasting emergent heads are: for each, the share of the checkpoints after its first at which it is emergent; the mean over heads that have a checkpoint
    /// after their first. NaN when there is none.
    /// </summary>
    public double Persistence
    {
        get
        {
            double[] shares =
            [
                .. Places()
                    .Select(place => (place.Layer, place.Head, First: FirstOf(place.Layer, place.Head)))
                    .Where(found => found.First >= 0 && found.First < checkpoints - 1)
                    .Select(found =>
                        Enumerable
                            .Range(found.First + 1, checkpoints - 1 - found.First)
                            .Average(t => IsEmergent(t, found.Layer, found.Head) ? 1.0 : 0.0)
                    ),
            ];
            return shares.Length == 0 ? double.NaN : shares.Average();
        }
    }

    /// <summary>The heads that are emergent at a checkpoint.</summary>
    /// <param name="checkpoint">From 0; negative counts from the end.</param>
    public IReadOnlyList<(int Layer, int Head)> EmergentAt(int checkpoint) =>
        [.. Places().Where(place => IsEmergent(checkpoint < 0 ? checkpoints + checkpoint : checkpoint, place.Layer, place.Head))];

    /// <summary>Heads of the base circuit that a checkpoint's circuit lost.</summary>
    /// <param name="checkpoint">From 0; negative counts from the end.</param>
    public IReadOnlyList<(int Layer, int Head)> LostAt(int checkpoint) =>
        [
            .. Places()
                .Where(place =>
                    baseHeads[place.Layer, place.Head]
                    && !active[checkpoint < 0 ? checkpoints + checkpoint : checkpoint, place.Layer, place.Head]
                ),
        ];

    private bool IsEmergent(int t, int layer, int head) => active[t, layer, head] && !baseHeads[layer, head];

    private int FirstOf(int layer, int head)
    {
        for (int t = 0; t < checkpoints; t++)
            if (IsEmergent(t, layer, head))
                return t;
        return -1;
    }

    private long[] Counts(Func<int, int, int, bool> holds) =>
        [.. Enumerable.Range(0, checkpoints).Select(t => (long)Places().Count(place => holds(t, place.Layer, place.Head)))];

    private bool[,,] Table(Func<int, int, int, bool> holds)
    {
        var table = new bool[checkpoints, layers, heads];
        for (int t = 0; t < checkpoints; t++)
            foreach (var (layer, head) in Places())
                table[t, layer, head] = holds(t, layer, head);
        return table;
    }

    private IEnumerable<(int Layer, int Head)> Places() =>
        Enumerable.Range(0, layers).SelectMany(layer => Enumerable.Range(0, heads).Select(head => (layer, head)));
}
