using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// The relation's KL from attention outputs and log-sum-exps alone, by kernels that never build a map. With A_m(X) = softmax(scale_m q_m k_mᵀ) X,
/// per query row <c>KL = scale_t q_t·A_t(k_t) - lse_t - scale_s q_s·A_t(k_s) + lse_s</c>, and with g the row's weight in the mean
/// <c>dq_s = g scale_s (A_s(k_s) - A_t(k_s))</c>, <c>dk_s = scale_s (P_sᵀ - P_tᵀ)(g ⊙ q_s)</c>. The whole costs five forward attention calls:
/// three for the A (the first two in one call where the widths allow), and two for the products with Pᵀ, each a forward call with queries
/// and keys exchanged (<see cref="AttentionOperators.Transposed"/>), which is cheaper than a kernel's backward.
/// </summary>
internal static class FusedRelation
{
    /// <summary>The smallest normal float32; keeps the weights of a sequence without counted rows from 0 / 0.</summary>
    private const double SmallestWeight = 1.17549435e-38;

    /// <summary>How the products with Pᵀ in the keys' gradient are computed.</summary>
    internal enum TransposedPath
    {
        /// <summary>A forward call with queries and keys exchanged: the least arithmetic.</summary>
        Forward,

        /// <summary>The gradient that the library's attention gives its values: no exchanged call, about twice the arithmetic.</summary>
        Backward,
    }

    /// <summary>The path in use; the other one is there to check it against.</summary>
    internal static TransposedPath Path { get; set; } = TransposedPath.Forward;

    /// <summary>Rows' KL [B, H, L] and, where weights were given, the gradients of the weighted sum in the student's dtype.</summary>
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

    /// <summary>
    /// True when kernels serve both models' calls; otherwise the block-wise form does. It does so for float32 on CUDA too: the only kernel there
    /// multiplies in three pieces of TF32, which makes gradients up to 3.4 times as wrong as the definition's (measured on an H100), and blocks
    /// need fewer products.
    /// </summary>
    internal static bool Serves(RelationInputs relation) =>
        !(relation.IsCausal && relation.Queries > relation.Keys)
        && !(relation.StudentQuery.device_type == DeviceType.CUDA && relation.StudentQuery.dtype == ScalarType.Float32)
        && relation.TeacherQuery.dtype == relation.StudentQuery.dtype
        && AttentionOperators.HasKernel(relation.TeacherQuery, relation.TeacherQuery.size(3) + relation.StudentQuery.size(3))
        && AttentionOperators.HasKernel(relation.StudentQuery, relation.StudentQuery.size(3));

    /// <summary>All pieces; no graph is recorded.</summary>
    /// <param name="relation">The inputs.</param>
    /// <param name="weights">Row weights broadcastable to [B, H, L], none negative, for the gradients; null for values alone.</param>
    /// <param name="kernel">The attention kernel; Auto outside tests.</param>
    internal static Pieces Compute(RelationInputs relation, Tensor? weights, AttentionKernel kernel = AttentionKernel.Auto)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        // The CPU gains little from half precision, so there the outputs, which cancel in the gradients, are kept in float32.
        var type = relation.StudentQuery.dtype;
        var computed = relation.StudentQuery.device_type == DeviceType.CPU ? relation.Accumulator : type;
        var (query, key) = (relation.StudentQuery.detach().to(computed), relation.StudentKey.detach().to(computed));
        var (teacherQuery, teacherKey) = (relation.TeacherQuery.to(computed), relation.TeacherKey.to(computed));
        long teacherWidth = teacherKey.size(3),
            width = key.size(3);
        var bias = AttentionOperators.KeyBias(relation.Mask, relation.Accumulator);

        var (ofTeacher, teacherLse) = AttentionOperators.Forward(
            teacherQuery,
            teacherKey,
            cat([teacherKey, key], 3),
            bias,
            relation.IsCausal,
            relation.TeacherScale,
            kernel
        );
        var (ofStudent, studentLse) = AttentionOperators.Forward(
            query,
            key,
            key,
            bias,
            relation.IsCausal,
            relation.StudentScale,
            kernel
        );
        var (teacherOfTeacher, teacherOfStudent) = (
            ofTeacher.narrow(3, 0, teacherWidth),
            ofTeacher.narrow(3, teacherWidth, width)
        );
        var rows =
            Dot(teacherQuery, teacherOfTeacher, relation.Accumulator) * relation.TeacherScale
            - Dot(query, teacherOfStudent, relation.Accumulator) * relation.StudentScale
            - teacherLse
            + studentLse;

        Tensor? queryGradient = null,
            keyGradient = null;
        if (weights is not null)
        {
            var scaled = (weights * relation.StudentScale).unsqueeze(-1);
            queryGradient = Difference(ofStudent, teacherOfStudent, scaled, scaled, type);
            // The rows' weights travel in the bias, relative to the largest of their sequence, so that it keeps its precision for the
            // log-sum-exps. A logarithm of zero hides the row.
            var largest = weights.amax([-1], true).clamp_min(SmallestWeight);
            var logWeights = (weights / largest).log();
            var (ofStudentRows, studentFactor) = Columns(query, key, studentLse, relation.StudentScale);
            var (ofTeacherRows, teacherFactor) = Columns(teacherQuery, teacherKey, teacherLse, relation.TeacherScale);
            keyGradient = Difference(ofStudentRows, ofTeacherRows, studentFactor, teacherFactor, type);

            (Tensor Columns, Tensor Factor) Columns(Tensor rowQuery, Tensor columnKey, Tensor logSumExp, double scale)
            {
                if (Path == TransposedPath.Backward)
                {
                    var given = (query * scaled).to(computed);
                    return (
                        ValueGradient(rowQuery, columnKey, given, relation, scale),
                        ones([], dtype: relation.Accumulator, device: key.device)
                    );
                }
                var rowBias = (logWeights - logSumExp).clamp_min_(AttentionOperators.HiddenKeyBias);
                var (columns, logFactor) = AttentionOperators.Transposed(
                    rowQuery,
                    columnKey,
                    query,
                    rowBias,
                    relation.IsCausal,
                    scale,
                    kernel
                );
                var factor = logFactor.exp_().mul_(largest * relation.StudentScale);
                if (relation.Mask is { } mask)
                    factor.masked_fill_(mask.logical_not().unsqueeze(1), 0.0);
                return (columns, factor.unsqueeze(-1));
            }
        }
        return new Pieces(
            teacherLse.MoveToOuterDisposeScope(),
            studentLse.MoveToOuterDisposeScope(),
            teacherOfTeacher.MoveToOuterDisposeScope(),
            teacherOfStudent.MoveToOuterDisposeScope(),
            ofStudent.MoveToOuterDisposeScope(),
            rows.MoveToOuterDisposeScope(),
            queryGradient?.MoveToOuterDisposeScope(),
            keyGradient?.MoveToOuterDisposeScope()
        );
    }

    // Pᵀ G by autograd: what attention gives its values for the output gradient G.
    private static Tensor ValueGradient(Tensor query, Tensor key, Tensor outputGradient, RelationInputs relation, double scale)
    {
        using var grad = enable_grad();
        using var scope = NewDisposeScope();
        var value = zeros_like(key.narrow(3, 0, 1))
            .expand(key.size(0), key.size(1), key.size(2), outputGradient.size(3))
            .contiguous()
            .requires_grad_();
        var output = AttentionOperators.Differentiable(query, key, value, relation.Mask, relation.IsCausal, scale);
        return autograd.grad([output], [value], [outputGradient])[0].MoveToOuterDisposeScope();
    }

    // Row by row; products are not rounded before they are summed.
    private static Tensor Dot(Tensor a, Tensor b, ScalarType type) => (a.to(type) * b).sum(-1);

    // a ⊙ f - b ⊙ g in the factors' precision, rounded once.
    private static Tensor Difference(Tensor a, Tensor b, Tensor factorOfA, Tensor factorOfB, ScalarType type) =>
        (a * factorOfA).addcmul_(b, factorOfB, -1).to(type);
}
