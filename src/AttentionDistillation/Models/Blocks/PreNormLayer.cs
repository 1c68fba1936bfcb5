using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A pre-norm Transformer layer, as ViT, DeiT and both towers of CLIP have it: x + attention(norm(x)), then x + feed-forward(norm(x)), each branch
/// with dropout and stochastic depth.
/// </summary>
public sealed class PreNormLayer : nn.Module<Tensor, Tensor?, ForwardTrace?, Tensor>
{
    private readonly LayerNorm attentionNorm;
    private readonly MultiHeadAttention attention;
    private readonly LayerNorm feedForwardNorm;
    private readonly FeedForward? feedForward;
    private readonly MixtureOfExperts? experts;
    private readonly Dropout dropout;
    private readonly DropPath dropPath;

    /// <summary>The feature that holds the experts each token of a layer chose, best first, int64 [B, L, top]; only layers with experts have it.</summary>
    /// <param name="layer">The layer's number from 0.</param>
    public static string ExpertChoices(int layer) => $"expert_choices.{layer}";

    /// <summary>Builds a layer.</summary>
    /// <param name="options">Sizes.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="number">The layer's number from 0.</param>
    public PreNormLayer(PreNormOptions options, SeededLayers layers, int number)
        : base(nameof(PreNormLayer))
    {
        ArgumentNullException.ThrowIfNull(options);
        attentionNorm = layers.LayerNorm(options.Width, options.NormEpsilon);
        attention = new MultiHeadAttention(
            options.Width,
            options.Heads,
            layers,
            number,
            options.AttentionDropout,
            options.IsCausal,
            hasBias: options.QkvBias,
            outputHasBias: true
        );
        feedForwardNorm = layers.LayerNorm(options.Width, options.NormEpsilon);
        if (options.Experts is { } mixture)
            experts = new MixtureOfExperts(
                options.Width,
                options.InnerWidth,
                mixture.Count,
                mixture.Top,
                layers,
                mixture.StandardDeviation
            );
        else
            feedForward = new FeedForward(options.Width, options.InnerWidth, options.Activation, layers);
        dropout = nn.Dropout(options.Dropout);
        dropPath = new DropPath(DropPath.Linear(options.DropPathRate, number, options.Layers));
        RegisterComponents();
    }

    /// <summary>[B, L, C] to [B, L, C], or empty ([0]) when the trace stops after the attention inputs.</summary>
    /// <param name="hidden">[B, L, C].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    public override Tensor forward(Tensor hidden, Tensor? mask, ForwardTrace? trace)
    {
        using var scope = NewDisposeScope();
        var attended = attention.call(attentionNorm.call(hidden), null, mask, trace);
        if (trace?.WantsAttention(attention.Layer) == true)
            trace.Attention(attention.Layer).MoveToOuterDisposeScope();
        if (trace?.StopsAfterAttentionInputs(attention.Layer) == true)
            return attended.MoveToOuterDisposeScope();
        var middle = hidden + Branch(attended);
        return (middle + Branch(FeedForwardOf(feedForwardNorm.call(middle), trace))).MoveToOuterDisposeScope();
    }

    private Tensor FeedForwardOf(Tensor normalised, ForwardTrace? trace)
    {
        if (experts is null)
            return feedForward!.call(normalised);
        if (trace?.WantsFeature(ExpertChoices(attention.Layer)) != true)
            return experts.call(normalised);
        var routing = experts.Route(normalised.flatten(0, 1));
        long[] tokens = normalised.shape[..2];
        trace.RecordFeature(ExpertChoices(attention.Layer), routing.Chosen.view([.. tokens, -1]).MoveToOuterDisposeScope());
        return routing.Output.view(normalised.shape);
    }

    private Tensor Branch(Tensor branch) => dropPath.call(dropout.call(branch));
}

/// <summary>A mixture of experts in place of a feed-forward block; an expert's activation is GELU.</summary>
/// <param name="Count">E.</param>
/// <param name="Top">Experts of a token.</param>
/// <param name="StandardDeviation">Of the experts' initial weights.</param>
public sealed record ExpertOptions(int Count, int Top, double StandardDeviation);

/// <summary>Sizes and options of a stack of pre-norm layers.</summary>
public sealed record PreNormOptions
{
    /// <summary>C.</summary>
    public required long Width { get; init; }

    /// <summary>H.</summary>
    public required long Heads { get; init; }

    /// <summary>Inner width of the feed-forward blocks.</summary>
    public required long InnerWidth { get; init; }

    /// <summary>Number of layers, over which stochastic depth grows.</summary>
    public required int Layers { get; init; }

    /// <summary>Name of the activation (see <see cref="Blocks.Activation"/>).</summary>
    public required string Activation { get; init; }

    /// <summary>Epsilon of the layer normalisations.</summary>
    public required double NormEpsilon { get; init; }

    /// <summary>Experts in place of the feed-forward blocks; null for plain ones.</summary>
    public ExpertOptions? Experts { get; init; }

    /// <summary>Dropout probability of the outputs of both branches.</summary>
    public double Dropout { get; init; }

    /// <summary>Dropout probability of attention weights.</summary>
    public double AttentionDropout { get; init; }

    /// <summary>Stochastic depth of the last layer; the first has none.</summary>
    public double DropPathRate { get; init; }

    /// <summary>Whether query, key and value projections have biases; the output projection always has one.</summary>
    public bool QkvBias { get; init; } = true;

    /// <summary>True when a token sees only itself and those before it.</summary>
    public bool IsCausal { get; init; }
}
