using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>The scores of everything that can be cut from a decoder.</summary>
/// <param name="Channels">A score a channel of the residual stream, one list for the whole model.</param>
/// <param name="Heads">A score a query head, for each layer.</param>
/// <param name="Neurons">A score a neuron of the feed-forward block, for each layer.</param>
/// <param name="Layers">The block influence of each layer.</param>
public sealed record DecoderScores(
    IReadOnlyList<double> Channels,
    IReadOnlyList<IReadOnlyList<double>> Heads,
    IReadOnlyList<IReadOnlyList<double>> Neurons,
    IReadOnlyList<double> Layers
)
{
    /// <summary>Scores drawn at random, of the same sizes: what cutting without looking would do.</summary>
    public DecoderScores Random(long seed)
    {
        var random = Seeds.Random(seed, "random importance");
        double[] Draw(IReadOnlyList<double> like) => [.. like.Select(_ => random.NextDouble())];
        return new(Draw(Channels), [.. Heads.Select(Draw)], [.. Neurons.Select(Draw)], Draw(Layers));
    }
}

/// <summary>
/// Scores a decoder's parts by forward passes over calibration data (Minitron, arXiv 2407.14679, section 2.2). Channels are read at the output of
/// every norm of the residual stream and summed, heads at the input of the output projection, neurons at the input of the second matrix of the
/// feed-forward block, layers by their block influence.
/// </summary>
public static class DecoderImportance
{
    /// <summary>Measures a model.</summary>
    /// <param name="model">GPT-2 or a model of the Llama family.</param>
    /// <param name="batches">Calibration data; the paper takes 1,024 samples. Each batch is disposed.</param>
    /// <param name="overSequence">Reduction over the tokens of a sequence.</param>
    /// <param name="overBatch">Reduction over the sequences.</param>
    /// <exception cref="ArgumentException">There are no batches.</exception>
    public static DecoderScores Measure(
        TextDecoder model,
        IEnumerable<Batch> batches,
        ActivationAggregation overSequence = ActivationAggregation.Mean,
        ActivationAggregation overBatch = ActivationAggregation.L2
    )
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batches);
        int layers = model.DecoderConfig.Layers;
        // Scores at each norm are joined at the end: a norm's scores over all data, then the sum over norms.
        var norms = Accumulators(2 * layers + 1, overSequence, overBatch);
        var (heads, neurons) = (Accumulators(layers, overSequence, overBatch), Accumulators(layers, overSequence, overBatch));
        var influence = new double[layers];
        double tokens = 0;
        bool training = model.training;
        model.eval();
        try
        {
            using var guard = no_grad();
            foreach (var given in batches)
            {
                using var owned = given;
                using var scope = NewDisposeScope();
                var batch = given.To(model.Device);
                var trace = Run(model, batch);
                double count = batch.Mask is { } mask ? mask.sum().item<long>() : batch.InputIds.numel();
                for (int layer = 0; layer < layers; layer++)
                {
                    var fed = trace.Feature(DecoderFeatures.FeedForwardInput(layer));
                    norms[2 * layer].Add(trace.Feature(DecoderFeatures.AttentionInput(layer)), batch.Mask);
                    norms[2 * layer + 1].Add(fed, batch.Mask);
                    heads[layer].Add(JoinedHeads(trace.Feature(DecoderFeatures.HeadOutputs(layer))), batch.Mask);
                    neurons[layer].Add(NeuronsOf(model, layer, fed), batch.Mask);
                    var input = trace.Hidden(layer);
                    var output =
                        input
                        + trace.Feature(DecoderFeatures.AttentionOutput(layer))
                        + trace.Feature(DecoderFeatures.FeedForwardOutput(layer));
                    influence[layer] +=
                        count
                        * ActivationImportance
                            .BlockInfluence(input.unsqueeze(0), output.unsqueeze(0), batch.Mask)
                            .to(ScalarType.Float64)
                            .item<double>();
                }
                norms[^1].Add(trace.Hidden(-1), batch.Mask);
                tokens += count;
            }
            if (tokens == 0)
                throw new ArgumentException("There is no calibration data.", nameof(batches));
            using var end = NewDisposeScope();
            return new DecoderScores(
                ImportanceRanking.Values(norms.Select(norm => norm.Scores()).Aggregate((sum, score) => sum + score)),
                [
                    .. heads.Select(layer =>
                        ImportanceRanking.Values(
                            ActivationImportance.HeadsOfChannels(layer.Scores(), (int)model.DecoderConfig.Heads)
                        )
                    ),
                ],
                [.. neurons.Select(layer => ImportanceRanking.Values(layer.Scores()))],
                [.. influence.Select(sum => sum / tokens)]
            );
        }
        finally
        {
            model.train(training);
            foreach (var accumulator in norms.Concat(heads).Concat(neurons))
                accumulator.Dispose();
        }
    }

    private static ImportanceAccumulator[] Accumulators(
        int count,
        ActivationAggregation overSequence,
        ActivationAggregation overBatch
    ) => [.. Enumerable.Range(0, count).Select(_ => new ImportanceAccumulator(overSequence, overBatch))];

    private static ForwardTrace Run(TextDecoder model, Batch batch)
    {
        string[] features =
        [
            .. Enumerable
                .Range(0, model.DecoderConfig.Layers)
                .SelectMany(layer =>
                    new[]
                    {
                        DecoderFeatures.AttentionInput(layer),
                        DecoderFeatures.HeadOutputs(layer),
                        DecoderFeatures.AttentionOutput(layer),
                        DecoderFeatures.FeedForwardInput(layer),
                        DecoderFeatures.FeedForwardOutput(layer),
                    }
                ),
        ];
        var trace = new ForwardTrace(
            TraceRequest.AllHidden + TraceRequest.Features(features),
            model.Capabilities,
            wantsOutput: false
        );
        model.Run(batch, trace);
        return trace;
    }

    // [B, H, L, D] to [B, L, H x D].
    private static Tensor JoinedHeads(Tensor heads) => heads.transpose(1, 2).flatten(2);

    private static Tensor NeuronsOf(TextDecoder model, int layer, Tensor input)
    {
        var activation = Activation.Find(model.DecoderConfig.HiddenActivation);
        switch (model.DecoderLayers[layer].FeedForward)
        {
            case GatedFeedForward gated:
                var halves = gated.Inner.call(input).chunk(2, -1);
                return activation(halves[0]) * halves[1];
            case PlainFeedForward plain:
                return activation(plain.Inner.call(input));
            case var other:
                throw new NotSupportedException($"It is not known where the neurons of a {other.GetType().Name} are.");
        }
    }
}
