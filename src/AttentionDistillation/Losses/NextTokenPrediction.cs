using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Losses of causal language models, one value a sequence, each label predicted from the place before it.</summary>
public static class NextTokenPrediction
{
    /// <summary>Mean cross-entropy of each sequence's labelled tokens.</summary>
    /// <param name="logits">[B, L, V].</param>
    /// <param name="labels">int64 [B, L], <see cref="Batch.IgnoredLabel"/> where nothing is asked; the first place is never asked.</param>
    /// <returns>[B], nats, in float32 at least; 0 for a sequence without labels.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or there is one token only.</exception>
    public static Tensor CrossEntropyPerSequence(Tensor logits, Tensor labels)
    {
        Shapes.Require(logits, "[B, L, V]");
        Shapes.RequireExact(labels, logits.shape[..2]);
        using var scope = NewDisposeScope();
        var (losses, counts) = Tokens(logits, labels);
        return (losses.sum(-1) / counts.sum(-1).clamp_min(1)).MoveToOuterDisposeScope();
    }

    /// <summary>Cross-entropy of each labelled token.</summary>
    /// <param name="logits">[B, L, V].</param>
    /// <param name="labels">int64 [B, L], <see cref="Batch.IgnoredLabel"/> where nothing is asked.</param>
    /// <returns>[B, L - 1], the loss of tokens 1 to L - 1, 0 where nothing is asked; and bool [B, L - 1], true = asked.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or there is one token only.</exception>
    public static (Tensor Losses, Tensor IsAsked) Tokens(Tensor logits, Tensor labels)
    {
        Shapes.Require(logits, "[B, L, V]");
        Shapes.RequireExact(labels, logits.shape[..2]);
        long length = logits.size(1);
        if (length < 2)
            throw new ArgumentException("A label needs a token before it, but the sequences have one token.", nameof(logits));
        using var scope = NewDisposeScope();
        var wanted = labels.narrow(1, 1, length - 1);
        var isAsked = wanted.ne(Batch.IgnoredLabel);
        var type = logits.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var chosen = nn
            .functional.log_softmax(logits.narrow(1, 0, length - 1).to(type), -1)
            .gather(-1, wanted.masked_fill(isAsked.logical_not(), 0).unsqueeze(-1))
            .squeeze(-1);
        return (
            chosen.neg().masked_fill(isAsked.logical_not(), 0.0).MoveToOuterDisposeScope(),
            isAsked.MoveToOuterDisposeScope()
        );
    }
}
