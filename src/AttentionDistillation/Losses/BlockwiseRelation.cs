using AttentionDistillation.Attention;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// The relation's KL from attention outputs and log-sum-exps. With A_m(X) = softmax(scale_m q_m k_mᵀ) X, per query row
/// <c>KL = scale_t q_t·A_t(k_t) - lse_t - scale_s q_s·A_t(k_s) + lse_s</c>, and with g the row's weight in the mean
/// <c>dq_s = g scale_s (A_s(k_s) - A_t(k_s))</c>, <c>dk_s = scale_s (P_sᵀ - P_tᵀ)(g ⊙ q_s)</c>.
/// Rows are taken in blocks, so at most a block of each map exists.
/// </summary>
internal static class BlockwiseRelation
{
    /// <summary>Elements of one block of a map (B x H x rows x S): 64 MiB in float32.</summary>
    private const long BlockElements = 1L << 24;

    /// <summary>What the identity is made of, rows [B, H, L] and outputs [B, H, L, D]; the gradients only where weights were given.</summary>
    internal sealed record Pieces(
        Tensor TeacherLogSumExp,
        Tensor StudentLogSumExp,
        Tensor TeacherOfTeacherKeys,
        Tensor TeacherOfStudentKeys,
        Tensor StudentOfStudentKeys,
        Tensor Rows,
        Tensor? QueryGradient,
        Tensor? KeyGradient
    );

    /// <summary>All pieces; no graph is recorded.</summary>
    /// <param name="relation">The inputs.</param>
    /// <param name="weights">Row weights broadcastable to [B, H, L] for the gradients; null for values alone.</param>
    internal static Pieces Compute(RelationInputs relation, Tensor? weights)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var type = relation.Accumulator;
        var (teacherQuery, teacherKey) = (relation.TeacherQuery.to(type), relation.TeacherKey.to(type));
        var (studentQuery, studentKey) = (relation.StudentQuery.to(type), relation.StudentKey.to(type));
        var weighted = weights is null ? null : studentQuery * (weights * relation.StudentScale).unsqueeze(-1);
        var keyGradient = weights is null ? null : zeros_like(studentKey);
        List<Tensor>[] parts =
        [
            [],
            [],
            [],
            [],
            [],
        ];
        foreach (var (start, length) in Blocks(relation))
        {
            using var block = NewDisposeScope();
            var (teacher, teacherLse) = Map(relation, teacherQuery, teacherKey, relation.TeacherScale, start, length);
            var (student, studentLse) = Map(relation, studentQuery, studentKey, relation.StudentScale, start, length);
            Tensor[] made =
            [
                teacherLse,
                studentLse,
                matmul(teacher, teacherKey),
                matmul(teacher, studentKey),
                matmul(student, studentKey),
            ];
            for (int part = 0; part < made.Length; part++)
                parts[part].Add(made[part].MoveToOuterDisposeScope());
            keyGradient?.add_(matmul(student.sub_(teacher).transpose(-2, -1), weighted!.narrow(2, start, length)));
        }
        var joined = parts.Select(part => part.Count == 1 ? part[0] : cat(part, 2)).ToArray();
        var rows =
            (teacherQuery * joined[2]).sum(-1) * relation.TeacherScale
            - (studentQuery * joined[3]).sum(-1) * relation.StudentScale
            - joined[0]
            + joined[1];
        var queryGradient = weights is null ? null : (joined[4] - joined[3]) * (weights * relation.StudentScale).unsqueeze(-1);
        return new Pieces(
            joined[0].MoveToOuterDisposeScope(),
            joined[1].MoveToOuterDisposeScope(),
            joined[2].MoveToOuterDisposeScope(),
            joined[3].MoveToOuterDisposeScope(),
            joined[4].MoveToOuterDisposeScope(),
            rows.MoveToOuterDisposeScope(),
            queryGradient?.MoveToOuterDisposeScope(),
            keyGradient?.MoveToOuterDisposeScope()
        );
    }

    private static IEnumerable<(long Start, long Length)> Blocks(RelationInputs relation)
    {
        long rowElements = relation.StudentQuery.size(0) * relation.StudentQuery.size(1) * relation.Keys;
        long length = Math.Clamp(BlockElements / Math.Max(rowElements, 1), 1, relation.Queries);
        for (long start = 0; start < relation.Queries; start += length)
            yield return (start, Math.Min(length, relation.Queries - start));
    }

    // A block of rows of a map and their log-sum-exps. Rows that may see nothing see everything: they never count.
    private static (Tensor Map, Tensor LogSumExp) Map(
        RelationInputs relation,
        Tensor query,
        Tensor key,
        double scale,
        long start,
        long length
    )
    {
        var scores = matmul(query.narrow(2, start, length), key.transpose(-2, -1)).mul_(scale);
        Tensor? allowed = relation.Mask?.unsqueeze(1).unsqueeze(1);
        if (relation.IsCausal)
        {
            var seen = ones(length, relation.Keys, dtype: ScalarType.Bool, device: query.device)
                .tril(start + relation.Keys - relation.Queries);
            allowed = allowed is null ? seen : allowed.logical_and(seen);
        }
        if (allowed is not null)
            scores.masked_fill_(allowed.logical_or(allowed.any(-1, true).logical_not()).logical_not(), double.NegativeInfinity);
        var logSumExp = scores.logsumexp(-1, true);
        return (scores.sub_(logSumExp).exp_(), logSumExp.squeeze(-1));
    }
}
