using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How a cross-encoder learns its soft labels.</summary>
public enum CrossEncoderLoss
{
    /// <summary>Binary cross-entropy of the logit against the label: what the library that the paper uses takes for one output.</summary>
    BinaryCrossEntropy,

    /// <summary>Squared error of the raw logit and the label.</summary>
    SquaredError,
}

/// <summary>
/// Trans-Encoder (Liu et al. 2021, arXiv 2109.13059): a bi-encoder labels unlabelled sentence pairs by cosine, a cross-encoder learns the labels and
/// labels the pairs afresh, a new bi-encoder learns those, and so on; with two language models the labels are averaged (mutual distillation).
/// </summary>
/// <remarks>
/// Follows the authors' code, amzn/trans-encoder at 368f7222. The cycles themselves are <c>Training.RelabellingCycles</c>: every cross-encoder starts from
/// the plain language model and every bi-encoder from the contrastively trained one, afresh in each cycle; only labels carry over. The paper's cycle and
/// step with the best development Spearman are kept, separately for both encoders.
/// </remarks>
public static class TransEncoder
{
    /// <summary>Cycles of the paper.</summary>
    public const int Cycles = 3;

    /// <summary>A bi-encoder's labels: the cosine of the two sentences' vectors, raw in [-1, 1] (section 2.1).</summary>
    /// <param name="hiddenA">[B, L, C], the first sentences' last hidden states.</param>
    /// <param name="maskA">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="hiddenB">[B, S, C], the second sentences'.</param>
    /// <param name="maskB">bool [B, S], or null.</param>
    /// <param name="pooling">The paper's models pool by <see cref="PoolingMode.Cls"/>.</param>
    /// <returns>[B].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor BiEncoderLabels(Tensor hiddenA, Tensor? maskA, Tensor hiddenB, Tensor? maskB, PoolingMode pooling)
    {
        using var scope = NewDisposeScope();
        return CosineLosses
            .Similarity(SentencePooling.Pool(hiddenA, maskA, pooling), SentencePooling.Pool(hiddenB, maskB, pooling))
            .MoveToOuterDisposeScope();
    }

    /// <summary>A cross-encoder's labels: the sigmoid of its logit, in (0, 1) (section 2.2).</summary>
    /// <param name="logits">[N] or [N, 1].</param>
    /// <returns>[N].</returns>
    /// <exception cref="ArgumentException">There is more than one logit a pair.</exception>
    public static Tensor CrossEncoderLabels(Tensor logits) => Single(logits).sigmoid();

    /// <summary>The cross-encoder's loss, a mean over the pairs.</summary>
    /// <param name="logits">[N] or [N, 1].</param>
    /// <param name="labels">[N]; receives no gradient.</param>
    /// <param name="loss">Which loss.</param>
    /// <param name="clampLabels">
    /// True cuts labels to [0, 1] first. False (the released code) feeds labels below 0 as they are: cross-entropy then pushes such a pair's logit down
    /// without end, because its gradient sigmoid(z) - y stays positive.
    /// </param>
    /// <returns>A scalar, in float32 at least.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the loss is unknown.</exception>
    public static Tensor CrossEncoder(
        Tensor logits,
        Tensor labels,
        CrossEncoderLoss loss = CrossEncoderLoss.BinaryCrossEntropy,
        bool clampLabels = false
    )
    {
        using var scope = NewDisposeScope();
        var z = Single(logits);
        Shapes.RequireExact(labels, z.shape);
        z = z.dtype == ScalarType.Float64 ? z : z.to(ScalarType.Float32);
        var y = labels.detach().to(z.dtype);
        if (clampLabels)
            y = y.clamp(0.0, 1.0);
        var value = loss switch
        {
            // max(z, 0) - z y + log(1 + exp(-|z|)): exact for any real y, and no overflow.
            CrossEncoderLoss.BinaryCrossEntropy => z.clamp_min(0.0) - (z * y) + z.abs().neg().exp().log1p(),
            CrossEncoderLoss.SquaredError => (z - y).square(),
            _ => throw new ArgumentException(
                $"Loss {(int)loss} is unknown. Use BinaryCrossEntropy or SquaredError.",
                nameof(loss)
            ),
        };
        return value.mean().MoveToOuterDisposeScope();
    }

    /// <summary>The bi-encoder's loss: mean squared error between cosine and label (section 2.3). Labels are sigmoids by now, so cosines move into (0, 1).</summary>
    /// <param name="first">[N, C], pooled.</param>
    /// <param name="second">[N, C], pooled.</param>
    /// <param name="labels">[N]; receives no gradient.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor BiEncoder(Tensor first, Tensor second, Tensor labels) =>
        CosineLosses.SquaredError(first, second, labels);

    /// <summary>
    /// Every pair in both orders with the same label: (a, b), (b, a), pair by pair. Not for question-and-answer pairs, whose sides differ in kind.
    /// </summary>
    /// <param name="labels">[N].</param>
    /// <returns>int64 [2N] the pair's number, bool [2N] whether its sentences are swapped, and the labels [2N].</returns>
    /// <exception cref="ArgumentException">The labels have more than one axis.</exception>
    public static (Tensor Pair, Tensor Swapped, Tensor Labels) SymmetricPairs(Tensor labels)
    {
        Shapes.Require(labels, "[N]");
        using var scope = NewDisposeScope();
        long pairs = labels.size(0);
        var number = arange(pairs, dtype: ScalarType.Int64, device: labels.device).repeat_interleave(2);
        var swapped = arange(2 * pairs, dtype: ScalarType.Int64, device: labels.device).remainder(2).eq(1);
        return (
            number.MoveToOuterDisposeScope(),
            swapped.MoveToOuterDisposeScope(),
            labels.repeat_interleave(2).MoveToOuterDisposeScope()
        );
    }

    /// <summary>Mutual distillation's common labels: the arithmetic mean over the models (section 2.4).</summary>
    /// <param name="labels">[models, N]: cosines before a cross-encoder's training, sigmoids before a bi-encoder's.</param>
    /// <returns>[N].</returns>
    /// <exception cref="ArgumentException">The labels do not have two axes.</exception>
    public static Tensor MutualLabels(Tensor labels)
    {
        Shapes.Require(labels, "[models, N]");
        return labels.mean([0L]);
    }

    private static Tensor Single(Tensor logits)
    {
        ArgumentNullException.ThrowIfNull(logits);
        if (logits.dim() == 2)
            Shapes.RequireExact(logits, [-1, 1]);
        else
            Shapes.Require(logits, "[N]");
        return logits.reshape(-1);
    }
}
