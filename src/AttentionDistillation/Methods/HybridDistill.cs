using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>Weights and conventions of <see cref="HybridDistill.Loss"/>.</summary>
public sealed record HybridDistillOptions
{
    /// <summary>α, weight of the features of the contrastive or supervised teacher.</summary>
    public double FeatureWeight { get; init; } = 1.0;

    /// <summary>β, weight of the token relations of the masked-image teacher. Raw relations are of the order of D: 1 is a strong weight.</summary>
    public double RelationWeight { get; init; } = 1.0;

    /// <summary>Which relation (raw as the paper is remembered †).</summary>
    public TokenRelationKind Relation { get; init; } = TokenRelationKind.Raw;

    /// <summary>Whether the teacher's features are whitened by a layer norm without weights †.</summary>
    public bool Whitens { get; init; } = true;
}

/// <summary>Which tokens leave a student's sequence (see <see cref="HybridDistill.ProgressiveMask"/>).</summary>
public enum RedundancyRule
{
    /// <summary>One after the other: the token most similar to another one that is left; of equals the last. Of two alike one stays.</summary>
    Greedy,

    /// <summary>At once: the tokens with the largest mean similarity to all others; of equals the last ones.</summary>
    Mean,
}

/// <summary>
/// Hybrid Distill: a student takes the final features of a contrastive or supervised teacher, which separate classes, and the token relations of a
/// masked-image teacher, whose attention stays diverse, while redundant tokens leave its sequence on the way.
/// </summary>
/// <remarks>
/// "Hybrid Distillation: Connecting Masked Autoencoders with Contrastive Learners", ICLR 2024 (arXiv 2306.15876). No code of the authors' exists, and the
/// method section was not at hand: the smooth L1 distance, the whitening, raw relations and the places of masking are from memory (†); α = β = 1 was seen.
/// The score of redundancy is ours. Symbols: T_c features [B, N, C_t], R = Q Kᵀ [B, H, N, N]; both teachers see all N tokens.
/// </remarks>
public static class HybridDistill
{
    /// <summary>Name of the feature term.</summary>
    public const string Feature = "feature";

    /// <summary>Name of the relation term.</summary>
    public const string Relation = "relation";

    private const double WhiteningEpsilon = 1e-6;

    /// <summary>α · D(T_c, S) + β · D(R_m, R_s), D = smooth L1 with threshold 1, mean over all entries.</summary>
    /// <param name="maskedQuery">Queries of the masked-image teacher, [B, H_t, N, D_t]; null to leave relations out.</param>
    /// <param name="maskedKey">Its keys, of the same shape.</param>
    /// <param name="teacherFeatures">Final features of the other teacher, [B, N, C_t]; null to leave features out.</param>
    /// <param name="studentQuery">The student's queries, [B, H_s, M, D_s]; H_s divides H_t.</param>
    /// <param name="studentKey">Its keys.</param>
    /// <param name="studentFeatures">Its final features, [B, M, C_s].</param>
    /// <param name="visible">Which of the N tokens the student has there, int64 [B, M], ascending; null for all of them.</param>
    /// <param name="projection">Weight [C_t, C_s] and bias (or null) of a linear layer on the student's features; null where widths agree.</param>
    /// <param name="options">Weights and conventions; null for the defaults.</param>
    /// <returns>The terms <see cref="Feature"/> and <see cref="Relation"/>, those whose teacher was given.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or no teacher is given.</exception>
    public static LossTerms Loss(
        Tensor? maskedQuery,
        Tensor? maskedKey,
        Tensor? teacherFeatures,
        Tensor? studentQuery,
        Tensor? studentKey,
        Tensor? studentFeatures,
        Tensor? visible,
        (Tensor Weight, Tensor? Bias)? projection = null,
        HybridDistillOptions? options = null
    )
    {
        options ??= new HybridDistillOptions();
        var terms = new LossTerms();
        if (teacherFeatures is not null && studentFeatures is not null)
            terms.Add(
                Feature,
                FeatureLoss(teacherFeatures, studentFeatures, visible, projection, options.Whitens),
                options.FeatureWeight
            );
        if (maskedQuery is not null && maskedKey is not null && studentQuery is not null && studentKey is not null)
            terms.Add(
                Relation,
                RelationLoss(maskedQuery, maskedKey, studentQuery, studentKey, visible, options.Relation),
                options.RelationWeight
            );
        return terms.Terms.Count > 0
            ? terms
            : throw new ArgumentException(
                "Neither features nor relations of a teacher and the student are given: give one pair at least."
            );
    }

    /// <summary>Smooth L1 of the student's features and the teacher's at the student's tokens.</summary>
    /// <inheritdoc cref="Loss"/>
    public static Tensor FeatureLoss(
        Tensor teacherFeatures,
        Tensor studentFeatures,
        Tensor? visible,
        (Tensor Weight, Tensor? Bias)? projection,
        bool whitens = true
    )
    {
        Shapes.Require(teacherFeatures, "[B, N, C]");
        Shapes.Require(studentFeatures, "[B, M, C]");
        using var scope = NewDisposeScope();
        var target = teacherFeatures.detach();
        if (visible is not null)
            target = TokenPlaces.At(target, visible);
        if (whitens)
            target = nn.functional.layer_norm(target, [target.size(-1)], null, null, WhiteningEpsilon);
        var projected = projection is { } layer ? LinearProduct.Of(studentFeatures, layer.Weight, layer.Bias) : studentFeatures;
        if (!projected.shape.SequenceEqual(target.shape))
            throw new ArgumentException(
                $"The student's features are {Shapes.Describe(projected)}, the teacher's at the same tokens {Shapes.Describe(target)}. Give the visible places, and a projection where widths differ."
            );
        return nn.functional.smooth_l1_loss(projected, target).MoveToOuterDisposeScope();
    }

    /// <summary>Smooth L1 of the student's token relations and the teacher's, rows and columns cut to the student's tokens.</summary>
    /// <inheritdoc cref="Loss"/>
    public static Tensor RelationLoss(
        Tensor maskedQuery,
        Tensor maskedKey,
        Tensor studentQuery,
        Tensor studentKey,
        Tensor? visible,
        TokenRelationKind kind
    )
    {
        using var scope = NewDisposeScope();
        var student = TokenRelations.Of(studentQuery, studentKey, kind);
        var teacher = TokenRelations.Of(maskedQuery.detach(), maskedKey.detach(), kind, visible, student.size(1));
        if (!teacher.shape.SequenceEqual(student.shape))
            throw new ArgumentException(
                $"The student's relation is {Shapes.Describe(student)}, the teacher's at the same tokens {Shapes.Describe(teacher)}. Give the places of the tokens that the student has left."
            );
        return nn.functional.smooth_l1_loss(student, teacher).MoveToOuterDisposeScope();
    }

    /// <summary>Which tokens stay after every stage of masking, judged on the teacher's tokens of that stage.</summary>
    /// <param name="stageTokens">The teacher's tokens of each stage, [B, N, C]; without class token, which always stays.</param>
    /// <param name="drops">How many tokens leave at each stage.</param>
    /// <param name="rule">Which ones.</param>
    /// <returns>Places that are left after each stage, int64 [B, M], ascending.</returns>
    /// <exception cref="ArgumentException">Stages and drops differ in number, or no token would be left.</exception>
    public static IReadOnlyList<Tensor> ProgressiveMask(
        IReadOnlyList<Tensor> stageTokens,
        IReadOnlyList<int> drops,
        RedundancyRule rule = RedundancyRule.Greedy
    )
    {
        ArgumentNullException.ThrowIfNull(stageTokens);
        ArgumentNullException.ThrowIfNull(drops);
        if (stageTokens.Count == 0 || stageTokens.Count != drops.Count)
            throw new ArgumentException(
                $"There are tokens of {stageTokens.Count} stages and {drops.Count} numbers of tokens to drop. Give one of each a stage, at least one."
            );
        Shapes.Require(stageTokens[0], "[B, N, C]");
        int batch = (int)stageTokens[0].size(0),
            places = (int)stageTokens[0].size(1);
        if (drops.Any(drop => drop < 0) || drops.Sum() >= places)
            throw new ArgumentException(
                $"Of {places} tokens {string.Join(" + ", drops)} are to be dropped. Drop 0 or more a stage and leave one at least.",
                nameof(drops)
            );
        var alive = Enumerable.Range(0, batch).Select(_ => Enumerable.Range(0, places).ToList()).ToArray();
        var stages = new List<Tensor>();
        for (int stage = 0; stage < drops.Count; stage++)
        {
            float[] similarity = Similarities(stageTokens[stage], batch, places);
            int now = stage;
            // Images are independent of each other.
            Parallel.For(0, batch, image => Drop(alive[image], similarity, image * places * places, places, drops[now], rule));
            stages.Add(
                tensor(alive.SelectMany(left => left.Select(place => (long)place)).ToArray(), [batch, alive[0].Count])
                    .to(stageTokens[stage].device)
            );
        }
        return stages;
    }

    // Upper triangle, mirrored, so that both tokens of a pair have the very same number. [B, N, N], row by row.
    private static float[] Similarities(Tensor tokens, int batch, int places)
    {
        Shapes.RequireExact(tokens, [batch, places, -1]);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var rows = nn.functional.normalize(tokens.detach().to(ScalarType.Float32), dim: -1);
        var upper = matmul(rows, rows.transpose(1, 2)).triu(1);
        return [.. (upper + upper.transpose(1, 2)).cpu().contiguous().data<float>()];
    }

    private static void Drop(List<int> alive, float[] similarity, int start, int places, int drop, RedundancyRule rule)
    {
        if (rule == RedundancyRule.Mean)
        {
            var scores = alive.ToDictionary(
                place => place,
                place => MeanSimilarity(alive, similarity, start + place * places, place)
            );
            foreach (
                int place in alive.OrderByDescending(place => scores[place]).ThenByDescending(place => place).Take(drop).ToArray()
            )
                alive.Remove(place);
            return;
        }
        for (int left = drop; left > 0; left--)
        {
            int redundant = 0;
            float highest = float.NegativeInfinity;
            for (int index = 0; index < alive.Count; index++)
            {
                int row = start + alive[index] * places;
                float score = float.NegativeInfinity;
                for (int other = 0; other < alive.Count; other++)
                    if (other != index && similarity[row + alive[other]] > score)
                        score = similarity[row + alive[other]];
                if (score >= highest)
                    (redundant, highest) = (index, score);
            }
            alive.RemoveAt(redundant);
        }
    }

    private static double MeanSimilarity(List<int> alive, float[] similarity, int row, int place)
    {
        double sum = 0;
        foreach (int other in alive)
            if (other != place)
                sum += similarity[row + other];
        return sum / Math.Max(1, alive.Count - 1);
    }
}
