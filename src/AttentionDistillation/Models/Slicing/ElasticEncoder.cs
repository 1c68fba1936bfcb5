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
    private readonly string prefix;

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
        const string Words = "embeddings.word_embeddings.weight";
        prefix = super.HubParameters().Keys.First(name => name.EndsWith(Words, StringComparison.Ordinal))[..^Words.Length];
    }

    /// <summary>The super-network's sizes.</summary>
    public BertConfig Config { get; }

    /// <summary>D, the width of a head, the same in all sub-networks.</summary>
    public int HeadWidth => (int)(Config.HeadWidth ?? Config.HiddenSize / Config.Heads);

    /// <summary>The super-network's own sizes.</summary>
    public ElasticShape Full =>
        new(Config.Layers, (int)Config.Heads, (int)Config.HiddenSize, (int)Config.IntermediateSize);

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
        var weights = super.HubParameters();
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
        Tensor Table(string name) => weights[$"{prefix}embeddings.{name}.weight"].narrow(1, 0, shape.Hidden);
        var sum =
            nn.functional.embedding(ids, Table("word_embeddings"), Config.PaddingToken)
            + Table("position_embeddings").narrow(0, 0, length);
        if (Config.TokenTypes > 0)
            sum =
                sum
                + nn.functional.embedding(batch.TokenTypeIds ?? zeros_like(ids), Table("token_type_embeddings"));
        return ElasticLayers.LayerNorm(
            sum,
            weights[$"{prefix}embeddings.LayerNorm.weight"],
            weights[$"{prefix}embeddings.LayerNorm.bias"],
            Config.NormEpsilon
        );
    }

    private ElasticBlockWeights BlockOf(int layer, IReadOnlyDictionary<string, Tensor> weights)
    {
        (Tensor, Tensor) Part(string name)
        {
            string whole = $"{prefix}encoder.layer.{layer}.{name}";
            return (weights[whole + ".weight"], weights[whole + ".bias"]);
        }
        return new ElasticBlockWeights(
            Part("attention.self.query"),
            Part("attention.self.key"),
            Part("attention.self.value"),
            Part("attention.output.dense"),
            Part("attention.output.LayerNorm"),
            Part("intermediate.dense"),
            Part("output.dense"),
            Part("output.LayerNorm")
        );
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
