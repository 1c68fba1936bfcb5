using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>Overlap of predicted with gold spans, as fractions.</summary>
/// <param name="F1">Mean over examples of the harmonic mean of precision and recall of the positions.</param>
/// <param name="ExactMatch">Share of examples whose span is the gold one.</param>
public sealed record SpanScore(double F1, double ExactMatch);

/// <summary>Micro-averaged score of exact entities.</summary>
/// <param name="Precision">Correct / predicted; 0 when nothing was predicted.</param>
/// <param name="Recall">Correct / gold; 0 when there is no gold entity.</param>
/// <param name="F1">Their harmonic mean; 0 when both are.</param>
/// <param name="Predicted">Entities predicted.</param>
/// <param name="Gold">Entities in the gold tags.</param>
/// <param name="Correct">Entities with the same class, first and last position in both.</param>
public sealed record EntityScore(double Precision, double Recall, double F1, long Predicted, long Gold, long Correct);

/// <summary>Answers and entities as spans of positions; a span's end is inclusive.</summary>
public static class SpanMetrics
{
    /// <summary>The span of a sequence in which no span is allowed.</summary>
    public const long NoSpan = -1;

    /// <summary>F1 of positions and exact match of each predicted span with its gold span, averaged over examples.</summary>
    /// <param name="predicted">int64 [N, 2]: first and last position.</param>
    /// <param name="gold">int64 [N, 2].</param>
    /// <returns>NaN when there is no example.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static SpanScore Overlap(Tensor predicted, Tensor gold)
    {
        var rows = OverlapRows(predicted, gold);
        return rows.Count == 0
            ? new(double.NaN, double.NaN)
            : new(rows.Average(row => row.F1), rows.Average(row => row.ExactMatch));
    }

    /// <summary>F1 of positions and exact match (0 or 1) of each example.</summary>
    /// <inheritdoc cref="Overlap"/>
    public static IReadOnlyList<SpanScore> OverlapRows(Tensor predicted, Tensor gold)
    {
        Shapes.RequireExact(predicted, [-1, 2]);
        Shapes.RequireExact(gold, predicted.shape);
        long[] guesses = Whole(predicted),
            truths = Whole(gold);
        var rows = new SpanScore[predicted.size(0)];
        for (int i = 0; i < rows.Length; i++)
        {
            var (from, to, first, last) = (guesses[2 * i], guesses[(2 * i) + 1], truths[2 * i], truths[(2 * i) + 1]);
            long shared = Math.Max(0, Math.Min(to, last) - Math.Max(from, first) + 1);
            long both = Math.Max(0, to - from + 1) + Math.Max(0, last - first + 1);
            // 2 p r / (p + r) with p = shared / guessed and r = shared / gold.
            rows[i] = new(both == 0 ? 0 : 2.0 * shared / both, from == first && to == last ? 1 : 0);
        }
        return rows;
    }

    /// <summary>
    /// The span with the largest sum of start and end logit among the n best starts and the n best ends: start at or before end, no longer than
    /// the limit, both ends allowed.
    /// </summary>
    /// <param name="startLogits">[B, L].</param>
    /// <param name="endLogits">[B, L].</param>
    /// <param name="valid">bool [B, L], true = may be an end of an answer (context tokens); null when all may.</param>
    /// <param name="nBest">How many starts and ends are combined.</param>
    /// <param name="maxLength">The most positions of an answer.</param>
    /// <returns>int64 [B, 2] on the CPU; <see cref="NoSpan"/> twice where no span is allowed. Ties go to the earlier start, then the earlier end.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is below 1.</exception>
    public static Tensor BestSpans(Tensor startLogits, Tensor endLogits, Tensor? valid, int nBest = 20, int maxLength = 30)
    {
        var ranked = RankedSpans(startLogits, endLogits, valid, 1, nBest, maxLength);
        long[] flat =
        [
            .. ranked.SelectMany(spans => spans.Count == 0 ? (long[])[NoSpan, NoSpan] : [spans[0].Start, spans[0].End]),
        ];
        return tensor(flat, [ranked.Count, 2L]);
    }

    /// <summary>The best spans of each sequence in falling order of their score, at most <paramref name="count"/>: for top-k exact match.</summary>
    /// <param name="startLogits">[B, L].</param>
    /// <param name="endLogits">[B, L].</param>
    /// <param name="valid">bool [B, L], or null.</param>
    /// <param name="count">How many spans are wanted.</param>
    /// <param name="nBest">How many starts and ends are combined.</param>
    /// <param name="maxLength">The most positions of an answer.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is below 1.</exception>
    public static IReadOnlyList<IReadOnlyList<(long Start, long End, double Score)>> RankedSpans(
        Tensor startLogits,
        Tensor endLogits,
        Tensor? valid,
        int count,
        int nBest = 20,
        int maxLength = 30
    )
    {
        Shapes.Require(startLogits, "[B, L]");
        Shapes.RequireExact(endLogits, startLogits.shape);
        if (valid is not null)
            Shapes.RequireExact(valid, startLogits.shape);
        if (nBest < 1 || maxLength < 1 || count < 1)
            throw new ArgumentException(
                $"At least 1 start and end, 1 position and 1 span are needed, but nBest is {nBest}, maxLength {maxLength} and count {count}."
            );
        int length = (int)startLogits.size(1);
        double[] starts = Real(startLogits),
            ends = Real(endLogits);
        bool[]? allowed = valid is null ? null : Truth(valid);
        return
        [
            .. Enumerable
                .Range(0, (int)startLogits.size(0))
                .Select(row => Rank(row * length, length, starts, ends, allowed, count, nBest, maxLength)),
        ];
    }

    /// <summary>
    /// Micro precision, recall and F1 of exact entities. Tags: 0 outside, 2c + 1 begins an entity of class c, 2c + 2 continues it; a continuation
    /// without its beginning opens an entity (as conlleval and seqeval's default do).
    /// </summary>
    /// <param name="predicted">int64 [B, L].</param>
    /// <param name="gold">int64 [B, L].</param>
    /// <param name="mask">bool [B, L], true = the position counts; others are left out as if they were not there. Null when all count.</param>
    /// <exception cref="ArgumentException">Shapes differ, or a tag that counts is negative.</exception>
    public static EntityScore EntityF1(Tensor predicted, Tensor gold, Tensor? mask)
    {
        Shapes.Require(predicted, "[B, L]");
        Shapes.RequireExact(gold, predicted.shape);
        if (mask is not null)
            Shapes.RequireExact(mask, predicted.shape);
        int length = (int)predicted.size(1);
        long[] guesses = Whole(predicted),
            truths = Whole(gold);
        bool[]? counts = mask is null ? null : Truth(mask);
        long guessed = 0,
            known = 0,
            correct = 0;
        for (int row = 0; row < predicted.size(0); row++)
        {
            int[] places = [.. Enumerable.Range(row * length, length).Where(place => counts is null || counts[place])];
            var (found, real) = (Entities(guesses, places), Entities(truths, places));
            guessed += found.Count;
            known += real.Count;
            correct += found.Count(real.Contains);
        }
        double precision = guessed == 0 ? 0 : (double)correct / guessed,
            recall = known == 0 ? 0 : (double)correct / known;
        return new(precision, recall, correct == 0 ? 0 : 2 * precision * recall / (precision + recall), guessed, known, correct);
    }

    private static HashSet<(long Class, int First, int Last)> Entities(long[] tags, int[] places)
    {
        var entities = new HashSet<(long, int, int)>();
        (long Class, int First)? open = null;
        for (int at = 0; at <= places.Length; at++)
        {
            long tag = at < places.Length ? tags[places[at]] : 0;
            if (tag < 0)
                throw new ArgumentException(
                    $"Tag {tag} is negative. Tags are 0, 2c + 1 and 2c + 2; leave ignored positions out by the mask."
                );
            bool continues = tag > 0 && tag % 2 == 0 && open?.Class == (tag - 1) / 2;
            if (continues)
                continue;
            if (open is { } ended)
                entities.Add((ended.Class, ended.First, at - 1));
            open = tag == 0 ? null : ((tag - 1) / 2, at);
        }
        return entities;
    }

    private static List<(long Start, long End, double Score)> Rank(
        int offset,
        int length,
        double[] starts,
        double[] ends,
        bool[]? allowed,
        int count,
        int nBest,
        int maxLength
    )
    {
        var (firsts, lasts) = (Best(starts), Best(ends));
        return
        [
            .. firsts
                .SelectMany(first => lasts.Select(last => (Start: (long)first, End: (long)last)))
                .Where(span => span.Start <= span.End && span.End - span.Start < maxLength)
                .Select(span => (span.Start, span.End, Score: starts[offset + span.Start] + ends[offset + span.End]))
                .OrderByDescending(span => span.Score)
                .ThenBy(span => span.Start)
                .ThenBy(span => span.End)
                .Take(count),
        ];

        int[] Best(double[] logits) =>
            [
                .. Enumerable
                    .Range(0, length)
                    .OrderByDescending(position => logits[offset + position]) // stable: equal logits keep their order
                    .Take(nBest)
                    .Where(position => allowed is null || allowed[offset + position]),
            ];
    }

    private static long[] Whole(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return tensor.to(ScalarType.Int64).cpu().contiguous().reshape(-1).data<long>().ToArray();
    }

    private static double[] Real(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return tensor.detach().to(ScalarType.Float64).cpu().contiguous().reshape(-1).data<double>().ToArray();
    }

    private static bool[] Truth(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return tensor.to(ScalarType.Bool).cpu().contiguous().reshape(-1).data<bool>().ToArray();
    }
}
