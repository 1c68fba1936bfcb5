using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How a ranking of positions is scored against the gold position.</summary>
public enum RankScore
{
    /// <summary>One over the rank of the first position inside the window around the gold one: what the authors' code computes.</summary>
    Code,

    /// <summary>One over the rank of the gold position itself.</summary>
    ReciprocalRank,

    /// <summary>The textbook's average precision at k: all positions of the window are relevant.</summary>
    AveragePrecision,

    /// <summary>1 for every example: plain self-distillation.</summary>
    None,
}

/// <summary>What the coefficient multiplies.</summary>
public enum CoefficientScope
{
    /// <summary>The batch's mean score multiplies the batch's divergence (the paper).</summary>
    Batch,

    /// <summary>Each example's score multiplies its own divergence (a variant of ours).</summary>
    Example,
}

/// <summary>Options of <see cref="MapAtKSelfDistillation"/>; the defaults are the paper's.</summary>
public sealed record MapAtKOptions
{
    /// <summary>k, how many positions are ranked; at most the sequence's length.</summary>
    public int K { get; init; } = 10;

    /// <summary>c: a position p hits when gold - c &lt;= p &lt; gold + c. Not used by the reciprocal rank.</summary>
    public int Context { get; init; } = 5;

    /// <summary>How a ranking is scored.</summary>
    public RankScore Score { get; init; } = RankScore.Code;

    /// <summary>What the coefficient multiplies.</summary>
    public CoefficientScope Scope { get; init; } = CoefficientScope.Batch;

    /// <summary>T, which divides the logits of both models; the divergence is multiplied by T².</summary>
    public double Temperature { get; init; } = 2.0;

    /// <summary>Which way the divergence points.</summary>
    public DivergenceDirection Direction { get; init; } = DivergenceDirection.Forward;

    /// <summary>Weight of the cross-entropy; 0 leaves it out.</summary>
    public double CrossEntropyWeight { get; init; } = 1.0;
}

/// <summary>The mAP@k coefficient of a batch.</summary>
/// <param name="Coefficient">A scalar: the mean of both ends' batch means.</param>
/// <param name="Start">[B], each example's score for the answer's start.</param>
/// <param name="End">[B], for its end.</param>
public sealed record MapAtKScore(Tensor Coefficient, Tensor Start, Tensor End);

/// <summary>
/// Self-knowledge distillation for cross-lingual extractive question answering (Carrino et al. 2023, arXiv 2309.17134): cross-entropy plus the divergence
/// from an earlier self, weighted by how highly that teacher ranks positions near the gold answer.
/// </summary>
/// <remarks>
/// Follows the authors' code, ccasimiro88/self-distillation-gxlt-qa at c6b7f105. Its AP@k passes over repeated hits, so it is the reciprocal rank of the first
/// hit in a window (<see cref="RankScore.Code"/>). The teacher of each epoch is <c>Training.TeacherSchedule.CopyEvery</c>.
/// </remarks>
public static class MapAtKSelfDistillation
{
    /// <summary>The coefficient; no gradient passes.</summary>
    /// <param name="startLogits">The teacher's, [B, L].</param>
    /// <param name="endLogits">The teacher's, [B, L].</param>
    /// <param name="start">int64 [B], the gold answer's first position; a window outside the sequence has no hit.</param>
    /// <param name="end">int64 [B], its last position.</param>
    /// <param name="options">Null means the defaults.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or k or the context is out of its range.</exception>
    public static MapAtKScore Coefficient(
        Tensor startLogits,
        Tensor endLogits,
        Tensor start,
        Tensor end,
        MapAtKOptions? options = null
    )
    {
        options ??= new();
        Shapes.Require(startLogits, "[B, L]");
        Shapes.RequireExact(endLogits, startLogits.shape);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var (first, last) = (Scores(startLogits, start, options), Scores(endLogits, end, options));
        return new(
            ((first.mean() + last.mean()) / 2.0).MoveToOuterDisposeScope(),
            first.MoveToOuterDisposeScope(),
            last.MoveToOuterDisposeScope()
        );
    }

    /// <summary>The whole loss: cross-entropy and coefficient times divergence.</summary>
    /// <param name="teacherStart">The teacher's start logits [B, L]; no gradient.</param>
    /// <param name="teacherEnd">The teacher's end logits [B, L]; no gradient.</param>
    /// <param name="studentStart">The student's start logits [B, L].</param>
    /// <param name="studentEnd">The student's end logits [B, L].</param>
    /// <param name="start">int64 [B], the gold answer's first position.</param>
    /// <param name="end">int64 [B], its last position, inclusive.</param>
    /// <param name="mask">
    /// bool [B, L], true = a position that the divergence compares. Null takes all, padding included, as the paper's code does: pass it on purpose.
    /// </param>
    /// <param name="options">Null means the paper's.</param>
    /// <returns>
    /// Terms "cross-entropy", "weighted divergence" (coefficient times divergence), and of weight 0, for curves, "divergence" and "coefficient".
    /// </returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static LossTerms Loss(
        Tensor teacherStart,
        Tensor teacherEnd,
        Tensor studentStart,
        Tensor studentEnd,
        Tensor start,
        Tensor end,
        Tensor? mask,
        MapAtKOptions? options = null
    )
    {
        options ??= new();
        if (!(options.CrossEntropyWeight >= 0.0) || double.IsInfinity(options.CrossEntropyWeight))
            throw new ArgumentException(
                $"The weight of the cross-entropy must be 0 or more, but is {options.CrossEntropyWeight}.",
                nameof(options)
            );
        using var scope = NewDisposeScope();
        var score = Coefficient(teacherStart, teacherEnd, start, end, options);
        var rows = (Divergence(teacherStart, studentStart) + Divergence(teacherEnd, studentEnd)) / 2.0;
        var divergence = rows.mean();
        var weighted =
            options.Scope == CoefficientScope.Batch
                ? score.Coefficient.to(rows.dtype) * divergence
                : (((score.Start + score.End) / 2.0).to(rows.dtype) * rows).mean();
        var crossEntropy = SpanPrediction.CrossEntropy(studentStart, studentEnd, start, end);
        return new LossTerms()
            .Add("cross-entropy", crossEntropy.MoveToOuterDisposeScope(), options.CrossEntropyWeight)
            .Add("weighted divergence", weighted.MoveToOuterDisposeScope())
            .Add("divergence", divergence.MoveToOuterDisposeScope(), 0.0)
            .Add("coefficient", score.Coefficient.MoveToOuterDisposeScope(), 0.0);

        Tensor Divergence(Tensor teacher, Tensor student) =>
            SpanPrediction.DivergenceRows(teacher, student, mask, options.Temperature, options.Direction);
    }

    /// <summary>All pairs of question and context language of one question, question by question: m languages give m² training rows.</summary>
    /// <param name="languages">int64 [m], the languages drawn for the question.</param>
    /// <returns>int64 [m²] each: the question's and the context's language.</returns>
    /// <exception cref="ArgumentException">The languages have more than one axis.</exception>
    public static (Tensor Question, Tensor Context) LanguagePairs(Tensor languages)
    {
        Shapes.Require(languages, "[m]");
        long count = languages.size(0);
        return (languages.repeat_interleave(count), languages.repeat(count));
    }

    /// <summary>
    /// The languages of one question: the pivot (English in the paper), and so many others drawn without replacement; all of them when there are no more.
    /// </summary>
    /// <param name="available">The languages that the question is translated into, the pivot among them.</param>
    /// <param name="pivot">The language that is always taken, and first.</param>
    /// <param name="targets">ntl, how many others.</param>
    /// <param name="random">Where the draws come from.</param>
    /// <exception cref="ArgumentException">The pivot is not available, a language repeats, or the number is negative.</exception>
    public static long[] DrawLanguages(IReadOnlyList<long> available, long pivot, int targets, Random random)
    {
        ArgumentNullException.ThrowIfNull(available);
        ArgumentNullException.ThrowIfNull(random);
        if (!available.Contains(pivot) || available.Distinct().Count() != available.Count)
            throw new ArgumentException(
                $"The languages must be distinct and hold the pivot {pivot}, but are {string.Join(", ", available)}."
            );
        if (targets < 0)
            throw new ArgumentException($"The number of target languages must be 0 or more, but is {targets}.", nameof(targets));
        long[] others = [.. available.Where(language => language != pivot)];
        random.Shuffle(others);
        return [pivot, .. others.Take(targets).Order()];
    }

    private static Tensor Scores(Tensor logits, Tensor gold, MapAtKOptions options)
    {
        Shapes.RequireExact(gold, [logits.size(0)]);
        var type = logits.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        if (options.Score == RankScore.None)
            return ones(logits.size(0), dtype: type, device: logits.device);
        int k = options.K;
        if (k < 1 || k > logits.size(1))
            throw new ArgumentException(
                $"k must be from 1 to the sequence's length {logits.size(1)}, but is {k}. Rank fewer positions (MapAtKOptions.K)."
            );
        bool exact = options.Score == RankScore.ReciprocalRank;
        if (!exact && options.Context < 1)
            throw new ArgumentException(
                $"The window must reach at least 1 position, but MapAtKOptions.Context is {options.Context}. For exact positions use RankScore.ReciprocalRank."
            );
        var target = gold.unsqueeze(1);
        // Equal logits keep the order of their positions, as a stable descending sort gives.
        var ranked = logits.detach().sort(-1, descending: true, stable: true).Indices[.., ..k];
        var hits = (exact ? ranked.eq(target) : Window(ranked)).to(type);
        var ranks = arange(1, k + 1, dtype: type, device: logits.device);
        if (options.Score != RankScore.AveragePrecision)
            return (hits / ranks).amax([1L]);
        var relevant = Window(arange(logits.size(1), dtype: ScalarType.Int64, device: logits.device).unsqueeze(0))
            .sum(1)
            .clamp_max(k)
            .to(type);
        return (hits * hits.cumsum(1) / ranks).sum(1) / relevant.clamp_min(1.0);

        Tensor Window(Tensor positions) =>
            positions.ge(target - options.Context).logical_and(positions.lt(target + options.Context));
    }
}
