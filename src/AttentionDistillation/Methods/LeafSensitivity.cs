using AttentionDistillation.Losses;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// How much the loss of a response depends on each token before it: the length of the loss's gradient in the token's input embedding (LeaF, arXiv
/// 2506.07851, section 3).
/// </summary>
public static class LeafSensitivity
{
    /// <summary>The loss of each sample and its gradient in the input embeddings. Samples do not influence each other.</summary>
    /// <param name="logitsOf">The model from embeddings [B, L, C] to logits [B, L, V]; rows of a batch must not mix.</param>
    /// <param name="embeddings">[B, L, C].</param>
    /// <param name="labels">int64 [B, L], <see cref="Batch.IgnoredLabel"/> at all but the response.</param>
    /// <returns>Losses [B] and gradients [B, L, C], cut off from the graph.</returns>
    public static (Tensor Losses, Tensor Gradients) Gradients(Func<Tensor, Tensor> logitsOf, Tensor embeddings, Tensor labels)
    {
        ArgumentNullException.ThrowIfNull(logitsOf);
        Shapes.Require(embeddings, "[B, L, C]");
        using var gradients = enable_grad();
        using var scope = NewDisposeScope();
        var input = embeddings.detach().clone().requires_grad_();
        var losses = NextTokenPrediction.CrossEntropyPerSequence(logitsOf(input), labels);
        // The sum: a mean over the batch would make a sample's gradient depend on how many others there are.
        var gradient = autograd.grad([losses.sum()], [input])[0];
        return (losses.detach().MoveToOuterDisposeScope(), gradient.detach().MoveToOuterDisposeScope());
    }

    /// <summary>As above for a language model. Its mode (dropout) is the caller's; the authors leave it in training mode, with models that have none.</summary>
    /// <param name="model">The model; its parameters receive no gradients.</param>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="labels">int64 [B, L], <see cref="Batch.IgnoredLabel"/> at all but the response.</param>
    /// <returns>Losses [B] and gradients [B, L, C].</returns>
    public static (Tensor Losses, Tensor Gradients) Gradients(
        CausalLanguageModel model,
        Tensor inputIds,
        Tensor? mask,
        Tensor labels
    )
    {
        ArgumentNullException.ThrowIfNull(model);
        Shapes.Require(inputIds, "[B, L]");
        using var scope = NewDisposeScope();
        var (losses, gradients) = Gradients(
            embeddings => model.call(DecoderInput.FromEmbeddings(embeddings, mask), null),
            model.Embed(inputIds),
            labels
        );
        return (losses.MoveToOuterDisposeScope(), gradients.MoveToOuterDisposeScope());
    }

    /// <summary>The sensitivities of the analysed tokens of one sample.</summary>
    /// <param name="gradients">[L, C].</param>
    /// <param name="start">The first analysed token.</param>
    /// <param name="end">The token after the last analysed one.</param>
    /// <returns>Float64 [end - start]: lengths of the gradients, and the same moved to [0, 1] within the span.</returns>
    /// <exception cref="ArgumentException">The span is empty or reaches outside.</exception>
    public static (Tensor Raw, Tensor Normalized) OfSpan(Tensor gradients, long start, long end)
    {
        Shapes.Require(gradients, "[L, C]");
        if (start < 0 || end > gradients.size(0) || start >= end)
            throw new ArgumentException($"[{start}, {end}) is no span of {gradients.size(0)} tokens.");
        using var scope = NewDisposeScope();
        var raw = gradients.narrow(0, start, end - start).to(ScalarType.Float64).square().sum(-1).sqrt();
        return (raw.MoveToOuterDisposeScope(), MinMax(raw).MoveToOuterDisposeScope());
    }

    /// <summary>Values moved to [0, 1]; left as they are when all are equal.</summary>
    /// <param name="values">[N].</param>
    /// <returns>Float64 [N].</returns>
    public static Tensor MinMax(Tensor values)
    {
        Shapes.Require(values, "[N]");
        using var scope = NewDisposeScope();
        var exact = values.detach().to(ScalarType.Float64);
        var (least, most) = (exact.min(), exact.max());
        bool isFlat = least.equal(most).item<bool>();
        return (isFlat ? exact.clone() : (exact - least) / (most - least)).MoveToOuterDisposeScope();
    }
}
