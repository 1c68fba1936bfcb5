using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>How activations become one number, over the tokens of a sequence or over the sequences.</summary>
public enum ActivationAggregation
{
    /// <summary>The mean of their absolute values.</summary>
    Mean,

    /// <summary>The root of the sum of their squares.</summary>
    L2,

    /// <summary>Their population variance (of the activations themselves, not of their absolute values).</summary>
    Variance,
}

/// <summary>
/// Scores of channels, neurons, heads and layers from forward activations on calibration data (Minitron, arXiv 2407.14679, section 2.2): they
/// are reduced over each sequence first and over the sequences then.
/// </summary>
/// <remarks>The defaults, mean over the sequence and L2 over the sequences, are the paper's best and the authors' tool's.</remarks>
public static class ActivationImportance
{
    /// <summary>A score a channel.</summary>
    /// <param name="activations">[B, L, C].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded. Every sequence needs a real token.</param>
    /// <param name="overSequence">Reduction over the tokens of a sequence.</param>
    /// <param name="overBatch">Reduction over the sequences.</param>
    /// <returns>[C], float32 at least, no gradient.</returns>
    public static Tensor Channels(
        Tensor activations,
        Tensor? mask,
        ActivationAggregation overSequence = ActivationAggregation.Mean,
        ActivationAggregation overBatch = ActivationAggregation.L2
    )
    {
        using var scope = NewDisposeScope();
        return Reduce(OfSequences(activations, mask, overSequence), overBatch, null).MoveToOuterDisposeScope();
    }

    /// <summary>A score a head: that of its channels, joined by L2.</summary>
    /// <param name="activations">[B, L, H x D], the input of an attention block's output projection.</param>
    /// <param name="heads">H.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="overSequence">Reduction over the tokens of a sequence.</param>
    /// <param name="overBatch">Reduction over the sequences.</param>
    /// <returns>[H].</returns>
    /// <exception cref="ArgumentException">The heads do not divide the width.</exception>
    public static Tensor Heads(
        Tensor activations,
        int heads,
        Tensor? mask,
        ActivationAggregation overSequence = ActivationAggregation.Mean,
        ActivationAggregation overBatch = ActivationAggregation.L2
    )
    {
        using var scope = NewDisposeScope();
        return HeadsOfChannels(Channels(activations, mask, overSequence, overBatch), heads).MoveToOuterDisposeScope();
    }

    /// <summary>Scores of channels [H x D] joined to scores of heads [H] by L2.</summary>
    /// <exception cref="ArgumentException">The heads do not divide the width.</exception>
    public static Tensor HeadsOfChannels(Tensor channels, int heads)
    {
        Shapes.Require(channels, "[C]");
        if (heads < 1 || channels.size(0) % heads != 0)
            throw new ArgumentException($"{heads} heads do not divide a width of {channels.size(0)}.");
        return channels.reshape(heads, -1).square().sum(1).sqrt();
    }

    /// <summary>A score a channel of the residual stream: the scores at every layer norm that reads the stream, summed.</summary>
    /// <param name="normOutputs">[N, B, L, C], the outputs of N layer norms.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="overSequence">Reduction over the tokens of a sequence.</param>
    /// <param name="overBatch">Reduction over the sequences.</param>
    /// <returns>[C].</returns>
    public static Tensor Embedding(
        Tensor normOutputs,
        Tensor? mask,
        ActivationAggregation overSequence = ActivationAggregation.Mean,
        ActivationAggregation overBatch = ActivationAggregation.L2
    )
    {
        Shapes.Require(normOutputs, "[N, B, L, C]");
        using var scope = NewDisposeScope();
        var sum = Channels(normOutputs[0], mask, overSequence, overBatch);
        for (long norm = 1; norm < normOutputs.size(0); norm++)
            sum = sum + Channels(normOutputs[norm], mask, overSequence, overBatch);
        return sum.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Block influence of each layer: 1 - mean over tokens of the cosine between the layer's input and its output (ShortGPT, arXiv 2403.03853; used by
    /// Minitron for depth). A layer that changes little scores low.
    /// </summary>
    /// <param name="inputs">[N, B, L, C], the residual stream before each of N layers.</param>
    /// <param name="outputs">Same shape, after each.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <returns>[N].</returns>
    public static Tensor BlockInfluence(Tensor inputs, Tensor outputs, Tensor? mask)
    {
        Shapes.Require(inputs, "[N, B, L, C]");
        Shapes.RequireExact(outputs, inputs.shape);
        using var scope = NewDisposeScope();
        var distance = 1.0 - nn.functional.cosine_similarity(Wide(inputs), Wide(outputs), -1);
        return MeanOverTokens(distance.flatten(1), mask?.flatten()).MoveToOuterDisposeScope();
    }

    /// <summary>Reduces the tokens of every sequence: [B, L, C] to [B, C].</summary>
    internal static Tensor OfSequences(Tensor activations, Tensor? mask, ActivationAggregation aggregation)
    {
        Shapes.Require(activations, "[B, L, C]");
        var size = Wide(activations);
        if (mask is null)
            return Reduce(size, aggregation, null, 1);
        Shapes.RequireExact(mask, activations.shape[..2]);
        var weights = mask.to(size.dtype).unsqueeze(-1);
        return Reduce(size.masked_fill(mask.unsqueeze(-1).logical_not(), 0.0), aggregation, weights, 1);
    }

    private static Tensor Reduce(Tensor values, ActivationAggregation aggregation, Tensor? weights, long axis = 0)
    {
        Tensor Mean(Tensor of) => weights is null ? of.mean([axis]) : (of * weights).sum(axis) / weights.sum(axis).clamp_min(1.0);

        return aggregation switch
        {
            ActivationAggregation.Mean => Mean(values.abs()),
            ActivationAggregation.L2 => values.square().sum(axis).sqrt(),
            ActivationAggregation.Variance => Mean((values - Mean(values).unsqueeze(axis)).square()),
            _ => throw new ArgumentOutOfRangeException(nameof(aggregation), aggregation, "Unknown aggregation."),
        };
    }

    private static Tensor MeanOverTokens(Tensor values, Tensor? mask) =>
        mask is null
            ? values.mean([1])
            : values.masked_fill(mask.logical_not(), 0.0).sum(1) / mask.to(values.dtype).sum().clamp_min(1.0);

    private static Tensor Wide(Tensor tensor) =>
        tensor.detach().to(tensor.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);
}
