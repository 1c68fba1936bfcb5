using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>The sizes of a sub-network of a super-network.</summary>
/// <param name="Layers">Number of layers.</param>
/// <param name="Heads">H; the width of a head is the super-network's.</param>
/// <param name="Hidden">C.</param>
/// <param name="InnerWidth">F, inner width of the feed-forward blocks.</param>
public sealed record ElasticShape(int Layers, int Heads, int Hidden, int InnerWidth);

/// <summary>
/// A BERT encoder as a weight-sharing super-network (AutoDistil, arXiv 2201.12507, section 3.1): every sub-network uses the first heads, channels and
/// neurons of evenly spaced layers. Its passes compute on slices of the super-network's own weights, so that training a sub-network trains those.
/// </summary>
/// <remarks>There is no dropout in a pass; <see cref="Extract"/> gives a sub-network as a model of its own, with the same outputs.</remarks>
public sealed class ElasticEncoder
{
    private readonly TextEncoder super;

    /// <summary>Wraps a super-network.</summary>
    /// <param name="super">A model of the BERT family without dropout.</param>
    /// <exception cref="ArgumentException">The model is of another family, or has dropout.</exception>
    public ElasticEncoder(TextEncoder super)
    {
        ArgumentNullException.ThrowIfNull(super);
        if (super.EncoderConfig is not BertConfig config)
            throw new ArgumentException(
                $"A super-network must be of the BERT family, but is a {super.Architecture}.",
                nameof(super)
            );
        if (config.HiddenDropout != 0 || config.AttentionDropout != 0)
            throw new ArgumentException(
                $"Sub-networks are run without dropout, but the model has {config.HiddenDropout} and {config.AttentionDropout}. Build it with HiddenDropout and AttentionDropout 0.",
                nameof(super)
            );
        (this.super, Config) = (super, config);
    }

    /// <summary>The super-network's sizes.</summary>
    public BertConfig Config { get; }

    /// <summary>D, the width of a head, the same in all sub-networks.</summary>
    public int HeadWidth => (int)(Config.HeadWidth ?? Config.HiddenSize / Config.Heads);

    /// <summary>The super-network's own sizes.</summary>
    public ElasticShape Full => new(Config.Layers, (int)Config.Heads, (int)Config.HiddenSize, (int)Config.IntermediateSize);

    /// <summary>What a sub-network can record: attention calls and hidden states.</summary>
    /// <exception cref="ArgumentException">The super-network is smaller.</exception>
    public TraceCapabilities CapabilitiesOf(ElasticShape shape)
    {
        RequireInside(shape);
        return new TraceCapabilities($"a sub-network {shape}", shape.Layers) { Heads = shape.Heads, HiddenWidth = shape.Hidden };
    }

    /// <summary>Runs a sub-network and records into the trace what it wants; its output is the last hidden state [B, L, C].</summary>
    /// <param name="shape">The sub-network.</param>
    /// <param name="batch">Token numbers, mask, token types.</param>
    /// <param name="trace">Made from <see cref="CapabilitiesOf"/>.</param>
    /// <exception cref="ArgumentException">The super-network is smaller, or the input is too long.</exception>
    public void Run(ElasticShape shape, Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        RequireInside(shape);
        using var scope = NewDisposeScope();
        // The parameters themselves and not a checkpoint's views of them, which carry no gradient.
        var weights = super
            .named_parameters()
            .ToDictionary(pair => pair.name, pair => (Tensor)pair.parameter, StringComparer.Ordinal);
        var hidden = Embed(shape, batch, weights);
        Keep(trace, 0, hidden);
        int[] layers = LayerSelection.EvenlySpaced(Config.Layers, shape.Layers);
        for (int number = 0; number <= trace.LastLayerNeeded; number++)
        {
            var block = BlockOf(layers[number], weights);
            var attention = ElasticLayers.Attend(hidden, block, shape.Heads, HeadWidth, batch.Mask);
            if (trace.WantsAttention(number))
            {
                trace.RecordAttention(number, attention);
                attention.MoveToOuterDisposeScope();
            }
            if (trace.StopsAfterAttentionInputs(number))
                return;
            hidden = ElasticLayers.Complete(
                hidden,
                attention,
                block,
                shape.InnerWidth,
                Config.NormEpsilon,
                Config.HiddenActivation
            );
            Keep(trace, number + 1, hidden);
        }
        if (trace.WantsOutput)
            trace.RecordOutput(hidden.alias().MoveToOuterDisposeScope());
    }

    /// <summary>What <see cref="ModelSlicer"/> keeps of the super-network for a sub-network.</summary>
    /// <exception cref="ArgumentException">The super-network is smaller.</exception>
    public SlicePlan PlanOf(ElasticShape shape)
    {
        RequireInside(shape);
        return SlicePlan.First(
            LayerSelection.EvenlySpaced(Config.Layers, shape.Layers),
            shape.Hidden,
            shape.Heads,
            shape.InnerWidth
        );
    }

    /// <summary>A sub-network as a model of its own, a copy of the slice, heads of the model included.</summary>
    /// <typeparam name="T">The super-network's type.</typeparam>
    /// <exception cref="ArgumentException">The super-network is smaller, or of another type.</exception>
    public T Extract<T>(ElasticShape shape)
        where T : TextEncoder =>
        super is T model
            ? ModelSlicer.Slice(model, PlanOf(shape))
            : throw new ArgumentException($"The super-network is a {super.GetType().Name}, not a {typeof(T).Name}.");

    private static void Keep(ForwardTrace trace, int state, Tensor hidden)
    {
        if (trace.WantsHidden(state))
            trace.RecordHidden(state, hidden.alias().MoveToOuterDisposeScope());
    }

    private Tensor Embed(ElasticShape shape, Batch batch, IReadOnlyDictionary<string, Tensor> weights)
    {
        var ids = batch.InputIds;
        Shapes.Require(ids, "[B, L]");
        long length = ids.size(1);
        if (length > Config.LongestInput)
            throw new ArgumentException(
                $"The input has {length} tokens, but the model has positions for {Config.LongestInput}. Truncate it."
            );
        Tensor Table(string name) => weights[$"embeddings.{name}.weight"].narrow(1, 0, shape.Hidden);
        var sum = Rows(Table("words"), ids) + Table("positions").narrow(0, 0, length);
        if (Config.TokenTypes > 0)
            sum = sum + Rows(Table("tokenTypes"), batch.TokenTypeIds ?? zeros_like(ids));
        return ElasticLayers.LayerNorm(
            sum,
            weights["embeddings.norm.weight"],
            weights["embeddings.norm.bias"],
            Config.NormEpsilon
        );
    }

    private static Tensor Rows(Tensor table, Tensor ids) =>
        table.index_select(0, ids.flatten()).view(ids.size(0), ids.size(1), -1);

    private static ElasticBlockWeights BlockOf(int layer, IReadOnlyDictionary<string, Tensor> weights)
    {
        string block = $"encoder.layers.{layer}.";
        return new ElasticBlockWeights(
            Projection("query", 0),
            Projection("key", 1),
            Projection("value", 2),
            Part("attention.output"),
            Part("attentionNorm"),
            Part("feedForward.inner"),
            Part("feedForward.outer"),
            Part("outputNorm")
        );

        (Tensor Weight, Tensor Bias) Part(string name) => (weights[$"{block}{name}.weight"], weights[$"{block}{name}.bias"]);

        // One of the three equal parts of the fused projection.
        (Tensor, Tensor) Projection(string name, int number)
        {
            if (weights.ContainsKey($"{block}attention.{name}.weight"))
                return Part("attention." + name);
            var fused = Part("attention.queryKeyValue");
            long rows = fused.Bias.size(0) / 3;
            return (fused.Weight.narrow(0, number * rows, rows), fused.Bias.narrow(0, number * rows, rows));
        }
    }

    private void RequireInside(ElasticShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        var full = Full;
        if (
            shape.Layers < 1
            || shape.Heads < 1
            || shape.Hidden < 1
            || shape.InnerWidth < 1
            || shape.Layers > full.Layers
            || shape.Heads > full.Heads
            || shape.Hidden > full.Hidden
            || shape.InnerWidth > full.InnerWidth
        )
            throw new ArgumentException($"A sub-network {shape} does not lie in the super-network {full}.");
    }
}
