using AttentionDistillation.Models.Blocks;

namespace AttentionDistillation.Models;

/// <summary>What the configurations of GPT-2, Llama, Qwen2 and Mistral have in common.</summary>
public abstract record DecoderConfig
{
    /// <summary>V, size of the vocabulary.</summary>
    public long VocabularySize { get; init; } = 32000;

    /// <summary>C, width of the hidden states.</summary>
    public long HiddenSize { get; init; } = 4096;

    /// <summary>Number of layers.</summary>
    public int Layers { get; init; } = 32;

    /// <summary>H, number of query heads.</summary>
    public long Heads { get; init; } = 32;

    /// <summary>Name of the feed-forward activation (see <see cref="Activation"/>).</summary>
    public string HiddenActivation { get; init; } = "silu";

    /// <summary>The longest input the model is made for. GPT-2 has no positions beyond; rotary models go on.</summary>
    public long MaximumPositions { get; init; } = 2048;

    /// <summary>Epsilon of the normalisations.</summary>
    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary>Standard deviation of the initial weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>Dropout probability of attention weights.</summary>
    public double AttentionDropout { get; init; }

    /// <summary>Dropout probability before a token classifier's layer.</summary>
    public double ClassifierDropout { get; init; } = 0.1;

    /// <summary>Whether the language-model head is the word table.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>The token that begins a text; null for none.</summary>
    public long? BeginToken { get; init; }

    /// <summary>The tokens that end a text.</summary>
    public IReadOnlyList<long> EndTokens { get; init; } = [];

    /// <summary>The token that stands for padding; null for none.</summary>
    public long? PaddingToken { get; init; }

    /// <summary>Names of the classes of a classification head, in order.</summary>
    public IReadOnlyList<string> Labels { get; init; } = TextEncoderConfig.DefaultLabels(2);

    /// <summary>What a sequence classifier predicts: <c>regression</c>, <c>single_label_classification</c>, <c>multi_label_classification</c> or null (unsaid).</summary>
    public string? ProblemType { get; init; }

    /// <summary>D, width of a head.</summary>
    public abstract long HeadSize { get; }

    /// <summary>Key and value heads.</summary>
    public abstract long KeyHeads { get; }

    /// <summary>Keys that a query of a layer sees at most, its own included; null for all.</summary>
    /// <param name="layer">The layer's number from 0.</param>
    public virtual long? WindowOf(int layer) => null;

    /// <summary>Parameters of the bare model, computed without building it.</summary>
    public abstract long BareParameterCount { get; }

    /// <summary>Parameters of the language model: the bare model's, and the head's where it is not the word table.</summary>
    public long ParameterCount => BareParameterCount + (TieWordEmbeddings ? 0 : VocabularySize * HiddenSize);

    /// <summary>Whether the word table has an entry for padding that stays at zero and receives no gradient.</summary>
    internal virtual long? EmbeddingPadding => PaddingToken;

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    internal virtual void Validate()
    {
        Positive(VocabularySize, nameof(VocabularySize));
        Positive(HiddenSize, nameof(HiddenSize));
        Positive(Layers, nameof(Layers));
        Positive(Heads, nameof(Heads));
        Positive(KeyHeads, "KeyValueHeads");
        Positive(HeadSize, "HeadWidth");
        Positive(MaximumPositions, nameof(MaximumPositions));
        Positive(Labels.Count, nameof(Labels));
        Probability(AttentionDropout, nameof(AttentionDropout));
        Probability(ClassifierDropout, nameof(ClassifierDropout));
        if (!(NormEpsilon > 0))
            throw Wrong(nameof(NormEpsilon), NormEpsilon, "above 0");
        if (!(InitializerRange >= 0))
            throw Wrong(nameof(InitializerRange), InitializerRange, "0 or more");
        if (Heads % KeyHeads != 0)
            throw Wrong("KeyValueHeads", KeyHeads, $"a divisor of {nameof(Heads)} = {Heads}");
        if (PaddingToken is { } padding && (padding < 0 || padding >= VocabularySize) && EmbeddingPadding is not null)
            throw Wrong(nameof(PaddingToken), padding, $"a token, 0 to {VocabularySize - 1}, or null");
        for (int layer = 0; layer < Layers; layer++)
            if (WindowOf(layer) is < 1)
                throw Wrong("SlidingWindow", WindowOf(layer)!.Value, "1 or more");
        _ = Activation.Find(HiddenActivation);
    }

    private protected void Probability(double value, string name)
    {
        if (!(value is >= 0 and < 1))
            throw Wrong(name, value, "from 0 to below 1");
    }

    private protected void Positive(long value, string name)
    {
        if (value < 1)
            throw Wrong(name, value, "1 or more");
    }

    private protected ArgumentException Wrong(string name, object value, string expected) =>
        new(FormattableString.Invariant($"{GetType().Name}.{name} is {value}, but must be {expected}."));
}

/// <summary>What Llama, Qwen2 and Mistral have in common: rotary positions, root-mean-square norms, gated feed-forward blocks.</summary>
public abstract record RotaryDecoderConfig : DecoderConfig
{
    /// <summary>Inner width of the feed-forward blocks.</summary>
    public long IntermediateSize { get; init; } = 11008;

    /// <summary>Key and value heads, a divisor of <see cref="DecoderConfig.Heads"/>; null means as many.</summary>
    public long? KeyValueHeads { get; init; }

    /// <summary>D; null means HiddenSize / Heads.</summary>
    public long? HeadWidth { get; init; }

    /// <summary>Rotary positions.</summary>
    public RotaryOptions Rotary { get; init; } = new();

    /// <inheritdoc/>
    public override long HeadSize => HeadWidth ?? HiddenSize / Math.Max(Heads, 1);

    /// <inheritdoc/>
    public override long KeyHeads => KeyValueHeads ?? Heads;

    /// <summary>Biases of queries, keys and values, of the output projection, and of the feed-forward block.</summary>
    internal abstract (bool Input, bool Output, bool FeedForward) Biases { get; }

    /// <inheritdoc/>
    public override long BareParameterCount
    {
        get
        {
            long query = Heads * HeadSize,
                joint = query + 2 * KeyHeads * HeadSize,
                inner = 2 * IntermediateSize;
            long layer =
                HiddenSize * (joint + query + inner + IntermediateSize)
                + 2 * HiddenSize
                + (Biases.Input ? joint : 0)
                + (Biases.Output ? HiddenSize : 0)
                + (Biases.FeedForward ? inner + HiddenSize : 0);
            return VocabularySize * HiddenSize + Layers * layer + HiddenSize;
        }
    }

    internal override void Validate()
    {
        base.Validate();
        Positive(IntermediateSize, nameof(IntermediateSize));
        if (HeadWidth is null && HiddenSize % Heads != 0)
            throw Wrong(
                nameof(Heads),
                Heads,
                $"a divisor of {nameof(HiddenSize)} = {HiddenSize}, or {nameof(HeadWidth)} must be given"
            );
        Rotary.Validate(HeadSize);
    }
}
