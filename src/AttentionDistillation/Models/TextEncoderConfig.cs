using AttentionDistillation.Models.Blocks;

namespace AttentionDistillation.Models;

/// <summary>What BERT, RoBERTa and DistilBERT have in common. The defaults are those of BERT-base.</summary>
public abstract record TextEncoderConfig
{
    /// <summary>V, size of the vocabulary.</summary>
    public long VocabularySize { get; init; } = 30522;

    /// <summary>C, width of the hidden states.</summary>
    public long HiddenSize { get; init; } = 768;

    /// <summary>Number of layers.</summary>
    public int Layers { get; init; } = 12;

    /// <summary>H, number of attention heads; divides <see cref="HiddenSize"/> unless there is a <see cref="HeadWidth"/>.</summary>
    public long Heads { get; init; } = 12;

    /// <summary>
    /// D, where H x D is not the width of the hidden states, as in pruned models; null means width / heads. Written as <c>head_dim</c>, which
    /// transformers' models of these families do not know.
    /// </summary>
    public long? HeadWidth { get; init; }

    /// <summary>Inner width of the feed-forward blocks.</summary>
    public long IntermediateSize { get; init; } = 3072;

    /// <summary>Name of the activation (see <see cref="Activation"/>).</summary>
    public string HiddenActivation { get; init; } = "gelu";

    /// <summary>Dropout probability of embeddings and of the outputs of both blocks of a layer.</summary>
    public double HiddenDropout { get; init; } = 0.1;

    /// <summary>Dropout probability of attention weights.</summary>
    public double AttentionDropout { get; init; } = 0.1;

    /// <summary>Rows of the position table.</summary>
    public long MaximumPositions { get; init; } = 512;

    /// <summary>Number of segments; 0 when the family has none.</summary>
    public long TokenTypes { get; init; } = 2;

    /// <summary>Epsilon of the layer normalisations.</summary>
    public double NormEpsilon { get; init; } = 1e-12;

    /// <summary>Standard deviation of the initial weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>The token that stands for padding; null for none.</summary>
    public long? PaddingToken { get; init; } = 0;

    /// <summary>Whether a masked-language-model head shares the word table.</summary>
    public bool TieWordEmbeddings { get; init; } = true;

    /// <summary>Names of the classes of a classification head, in order.</summary>
    public IReadOnlyList<string> Labels { get; init; } = DefaultLabels(2);

    /// <summary>What a sequence classifier predicts: <c>regression</c>, <c>single_label_classification</c>, <c>multi_label_classification</c> or null (unsaid).</summary>
    public string? ProblemType { get; init; }

    /// <summary>The position that padding tokens have; null when positions simply count from 0.</summary>
    internal virtual long? PositionPadding => null;

    /// <summary>The most tokens an input may have.</summary>
    public long LongestInput => PositionPadding is { } padding ? MaximumPositions - padding - 1 : MaximumPositions;

    /// <summary>The labels <c>LABEL_0</c>, <c>LABEL_1</c>, ... that Hugging Face gives when none are named.</summary>
    public static IReadOnlyList<string> DefaultLabels(int count) =>
        [.. Enumerable.Range(0, count).Select(number => $"LABEL_{number}")];

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    internal virtual void Validate()
    {
        Positive(VocabularySize, nameof(VocabularySize));
        Positive(HiddenSize, nameof(HiddenSize));
        Positive(Layers, nameof(Layers));
        Positive(Heads, nameof(Heads));
        Positive(IntermediateSize, nameof(IntermediateSize));
        Positive(MaximumPositions, nameof(MaximumPositions));
        Positive(Labels.Count, nameof(Labels));
        Probability(HiddenDropout, nameof(HiddenDropout));
        Probability(AttentionDropout, nameof(AttentionDropout));
        if (TokenTypes < 0)
            throw Wrong(nameof(TokenTypes), TokenTypes, "0 or more");
        if (!(NormEpsilon > 0))
            throw Wrong(nameof(NormEpsilon), NormEpsilon, "above 0");
        if (!(InitializerRange >= 0))
            throw Wrong(nameof(InitializerRange), InitializerRange, "0 or more");
        if (HeadWidth is { } headWidth)
            Positive(headWidth, nameof(HeadWidth));
        else if (HiddenSize % Heads != 0)
            throw Wrong(nameof(Heads), Heads, $"a divisor of {nameof(HiddenSize)} = {HiddenSize}");
        if (PaddingToken is { } padding && (padding < 0 || padding >= VocabularySize))
            throw Wrong(nameof(PaddingToken), padding, $"a token, 0 to {VocabularySize - 1}, or null");
        if (LongestInput < 1)
            throw Wrong(
                nameof(MaximumPositions),
                MaximumPositions,
                $"at least {nameof(PaddingToken)} + 2 = {PositionPadding + 2}"
            );
        _ = Activation.Find(HiddenActivation);
    }

    private protected void Probability(double? value, string name)
    {
        if (value is { } number && !(number is >= 0 and < 1))
            throw Wrong(name, number, "from 0 to below 1");
    }

    private void Positive(long value, string name)
    {
        if (value < 1)
            throw Wrong(name, value, "1 or more");
    }

    private protected ArgumentException Wrong(string name, object value, string expected) =>
        new(FormattableString.Invariant($"{GetType().Name}.{name} is {value}, but must be {expected}."));
}
