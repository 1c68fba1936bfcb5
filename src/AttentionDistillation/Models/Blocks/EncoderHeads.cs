using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Scores over the vocabulary: linear, activation, layer norm, then the decoder, which is the word table unless it is untied.</summary>
public sealed class MaskedLanguageHead : nn.Module<Tensor, Tensor>, IOwnProducts
{
    private readonly Linear dense;
    private readonly LayerNorm norm;
    private readonly Parameter? bias;
    private readonly Linear? decoder;
    private readonly Func<Tensor, Tensor> activation;
    private readonly Func<Tensor> wordTable;

    /// <summary>Builds the head.</summary>
    /// <param name="config">Sizes, and whether the decoder is tied.</param>
    /// <param name="activation">Name of the activation.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="wordTable">Gives the word table [V, C] that a tied decoder uses.</param>
    /// <param name="keepsBiasWhenUntied">
    /// True where the family's checkpoints hold, beside an untied decoder with its own bias, the bias of the tied form, which nothing then uses.
    /// </param>
    public MaskedLanguageHead(
        TextEncoderConfig config,
        string activation,
        SeededLayers layers,
        Func<Tensor> wordTable,
        bool keepsBiasWhenUntied
    )
        : base(nameof(MaskedLanguageHead))
    {
        this.activation = Activation.Find(activation);
        this.wordTable = wordTable;
        dense = layers.Linear(config.HiddenSize, config.HiddenSize);
        norm = layers.LayerNorm(config.HiddenSize, config.NormEpsilon);
        if (!config.TieWordEmbeddings)
            decoder = layers.Linear(config.HiddenSize, config.VocabularySize);
        if (config.TieWordEmbeddings || keepsBiasWhenUntied)
            bias = layers.ZeroParameter(config.VocabularySize);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public long MultiplyAdds(Tensor output) => decoder is null ? output.numel() * dense.weight!.size(0) : 0;

    /// <summary>[B, L, C] to [B, L, V].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var features = norm.call(activation(dense.Project(hidden)));
        var scores = decoder is null ? LinearProduct.Of(features, wordTable(), bias) : decoder.Project(features);
        return scores.MoveToOuterDisposeScope();
    }
}

/// <summary>BERT's pooler: the first token through a linear layer and tanh.</summary>
public sealed class FirstTokenPooler : nn.Module<Tensor, Tensor>
{
    private readonly Linear dense;

    /// <summary>Builds the pooler.</summary>
    public FirstTokenPooler(long width, SeededLayers layers)
        : base(nameof(FirstTokenPooler))
    {
        dense = layers.Linear(width, width);
        RegisterComponents();
    }

    /// <summary>[B, L, C] to [B, C].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        return dense.call(hidden.select(1, 0)).tanh().MoveToOuterDisposeScope();
    }
}

/// <summary>Scores of classes from the first token: dropout, linear, activation, dropout, linear.</summary>
public sealed class FirstTokenClassifier : nn.Module<Tensor, Tensor>
{
    private readonly Linear dense;
    private readonly Linear output;
    private readonly Dropout inputDropout;
    private readonly Dropout outputDropout;
    private readonly Func<Tensor, Tensor> activation;

    /// <summary>Builds the head.</summary>
    /// <param name="width">C.</param>
    /// <param name="classes">Number of classes.</param>
    /// <param name="activation">Name of the activation between the two layers.</param>
    /// <param name="inputDropout">Dropout probability before the first layer.</param>
    /// <param name="outputDropout">Dropout probability before the second layer.</param>
    /// <param name="layers">Makes the weights.</param>
    public FirstTokenClassifier(
        long width,
        int classes,
        string activation,
        double inputDropout,
        double outputDropout,
        SeededLayers layers
    )
        : base(nameof(FirstTokenClassifier))
    {
        this.activation = Activation.Find(activation);
        this.inputDropout = nn.Dropout(inputDropout);
        this.outputDropout = nn.Dropout(outputDropout);
        dense = layers.Linear(width, width);
        output = layers.Linear(width, classes);
        RegisterComponents();
    }

    /// <summary>[B, L, C] to [B, classes].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var pooled = activation(dense.call(inputDropout.call(hidden.select(1, 0))));
        return output.call(outputDropout.call(pooled)).MoveToOuterDisposeScope();
    }
}

/// <summary>Scores for every token: dropout and a linear layer.</summary>
public sealed class TokenClassifier : nn.Module<Tensor, Tensor>
{
    private readonly Linear output;
    private readonly Dropout dropout;

    /// <summary>Builds the head.</summary>
    /// <param name="width">C.</param>
    /// <param name="classes">Number of classes; 2 (start, end) for question answering.</param>
    /// <param name="dropout">Dropout probability before the layer.</param>
    /// <param name="layers">Makes the weights.</param>
    public TokenClassifier(long width, int classes, double dropout, SeededLayers layers)
        : base(nameof(TokenClassifier))
    {
        this.dropout = nn.Dropout(dropout);
        output = layers.Linear(width, classes);
        RegisterComponents();
    }

    /// <summary>[B, L, C] to [B, L, classes].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        return output.Project(dropout.call(hidden)).MoveToOuterDisposeScope();
    }
}
