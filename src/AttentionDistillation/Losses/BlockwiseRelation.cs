using AttentionDistillation.Attention;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// The relation's KL by its definition, some heads or some rows of one head at a time, so that at most a block of each map exists. With
/// g the row's weight in the mean and E = g ⊙ (P_s - P_t) the gradients are <c>dq_s = scale_s E k_s</c> and <c>dk_s = scale_s Eᵀ q_s</c>:
/// four matrix products in all, as few as the definition with autograd needs.
/// </summary>
internal static class BlockwiseRelation
{
    /// <summary>Elements of one block of a map on the CPU: 1 MiB in float32, so that a block's maps stay in a core's second-level cache.</summary>
    private const long BlockOnCpu = 1L << 18;

    /// <summary>Elements of one block elsewhere: 64 MiB in float32, enough work to fill the device.</summary>
    private const long BlockOnDevice = 1L << 24;

    /// <summary>Rows' KL [B, H, L] and, where weights were given, the gradients of the weighted sum.</summary>
    internal readonly record struct Result(Tensor Rows, Tensor? QueryGradient, Tensor? KeyGradient);

    /// <summary>Value and gradients; no graph is recorded.</summary>
    /// <param name="relation">The inputs.</param>
    /// <param name="weights">Row weights broadcastable to [B, H, L] for the gradients; null for values alone.</param>
    internal static Result Compute(RelationInputs relation, Tensor? weights)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var type = relation.Accumulator;
        var device = relation.StudentQuery.device;
        long batch = relation.StudentQuery.size(0),
            heads = relation.StudentQuery.size(1),
            maps = batch * heads;
        // All heads of all sequences in one axis N; scales go into the queries, weights into the small matrices.
        var (teacherQuery, teacherKey) = (Flat(relation.TeacherQuery).mul(relation.TeacherScale), Flat(relation.TeacherKey));
        var (query, key) = (Flat(relation.StudentQuery).mul(relation.StudentScale), Flat(relation.StudentKey));
        var rowWeights = weights?.expand(batch, heads, relation.Queries).reshape(maps, relation.Queries, 1);
        var weighted = rowWeights is null ? null : query * rowWeights;
        var hidden = relation
            .Mask?.logical_not()
            .unsqueeze(1)
            .expand(batch, heads, relation.Keys)
            .reshape(maps, 1, relation.Keys);
        var rows = zeros([maps, relation.Queries], dtype: type, device: device);
        var queryGradient = weights is null ? null : zeros_like(query);
        var keyGradient = weights is null ? null : zeros_like(key);

        foreach (var (first, count, start, length) in Blocks(relation, maps))
        {
            using var block = NewDisposeScope();
            var masked = Hidden(hidden?.narrow(0, first, count), relation, start, length, device);
            var teacher = LogProbabilities(Part(teacherQuery), teacherKey.narrow(0, first, count), masked);
            var student = LogProbabilities(Part(query), key.narrow(0, first, count), masked);
            var probabilities = teacher.exp();
            rows.narrow(0, first, count).narrow(1, start, length).copy_(teacher.sub_(student).mul_(probabilities).sum(-1));
            if (rowWeights is null)
                continue;
            var error = student.exp_().sub_(probabilities);
            Part(queryGradient!).copy_(bmm(error, key.narrow(0, first, count)).mul_(Part(rowWeights) * relation.StudentScale));
            keyGradient!.narrow(0, first, count).add_(bmm(error.transpose(1, 2), Part(weighted!)));

            Tensor Part(Tensor tensor) => tensor.narrow(0, first, count).narrow(1, start, length);
        }
        return new Result(
            rows.view(batch, heads, relation.Queries).MoveToOuterDisposeScope(),
            queryGradient?.view(relation.StudentQuery.shape).MoveToOuterDisposeScope(),
            keyGradient?.view(relation.StudentKey.shape).MoveToOuterDisposeScope()
        );

        Tensor Flat(Tensor tensor) => tensor.detach().to(type).reshape(maps, tensor.size(2), tensor.size(3));
    }

    // Several whole maps, or some rows of one.
    private static IEnumerable<(long First, long Count, long Start, long Length)> Blocks(RelationInputs relation, long maps)
    {
        long block = relation.StudentQuery.device_type == DeviceType.CPU ? BlockOnCpu : BlockOnDevice;
        long count = Math.Clamp(block / Math.Max(relation.Queries * relation.Keys, 1), 1, maps);
        long length = Math.Clamp(block / Math.Max(count * relation.Keys, 1), 1, relation.Queries);
        for (long first = 0; first < maps; first += count)
        for (long start = 0; start < relation.Queries; start += length)
            yield return (first, Math.Min(count, maps - first), start, Math.Min(length, relation.Queries - start));
    }

    // Which pairs are hidden: padded keys [n, 1, S] and, in causal calls, later keys.
    private static Tensor? Hidden(Tensor? padded, RelationInputs relation, long start, long length, Device device)
    {
        if (!relation.IsCausal)
            return padded;
        var later = AttentionMask.Later(start, length, relation.Queries, relation.Keys, device);
        return padded is null ? later : padded.logical_or(later);
    }

    // Hidden keys get a finite score: rows that see nothing stay finite (they never count), and others give hidden keys exactly zero.
    private static Tensor LogProbabilities(Tensor query, Tensor key, Tensor? hidden)
    {
        var scores = bmm(query, key.transpose(1, 2));
        if (hidden is not null)
            scores.masked_fill_(hidden, AttentionOperators.HiddenKeyBias);
        return nn.functional.log_softmax(scores, -1);
    }
}
