namespace AttentionDistillation.Attention;

/// <summary>What a caller wants recorded of a forward pass. Combine requests with <c>+</c>. Negative layers count from the end (-1 = last).</summary>
public sealed class TraceRequest
{
    private TraceRequest(
        IEnumerable<int> attention,
        IEnumerable<int> hidden,
        IEnumerable<string> features,
        bool allAttention,
        bool allHidden
    )
    {
        (AttentionLayers, HiddenLayers, FeatureNames) = (
            [.. attention.Distinct()],
            [.. hidden.Distinct()],
            [.. features.Distinct()]
        );
        (EveryAttention, EveryHidden) = (allAttention, allHidden);
    }

    /// <summary>Record nothing but the model's output.</summary>
    public static TraceRequest Nothing { get; } = new([], [], [], false, false);

    /// <summary>The attention call of the last layer.</summary>
    public static TraceRequest LastAttention { get; } = Attention(-1);

    /// <summary>The attention calls of all layers.</summary>
    public static TraceRequest AllAttention { get; } = new([], [], [], true, false);

    /// <summary>The hidden states after the embedding (0) and after every layer (1 ... number of layers).</summary>
    public static TraceRequest AllHidden { get; } = new([], [], [], false, true);

    /// <summary>The attention calls of some layers, numbered from 0.</summary>
    public static TraceRequest Attention(params int[] layers) => new(layers, [], [], false, false);

    /// <summary>Hidden states: 0 is the embedding's output, k the output of the k-th layer (as Hugging Face numbers them).</summary>
    public static TraceRequest Hidden(params int[] states) => new([], states, [], false, false);

    /// <summary>Named features that the model offers, for example <c>stage3</c>.</summary>
    public static TraceRequest Features(params string[] names) => new([], [], names, false, false);

    /// <summary>Both requests.</summary>
    public static TraceRequest operator +(TraceRequest first, TraceRequest second) => first.And(second);

    /// <summary>Both requests.</summary>
    public TraceRequest And(TraceRequest other) =>
        new(
            AttentionLayers.Concat(other.AttentionLayers),
            HiddenLayers.Concat(other.HiddenLayers),
            FeatureNames.Concat(other.FeatureNames),
            EveryAttention || other.EveryAttention,
            EveryHidden || other.EveryHidden
        );

    internal int[] AttentionLayers { get; }
    internal int[] HiddenLayers { get; }
    internal string[] FeatureNames { get; }
    internal bool EveryAttention { get; }
    internal bool EveryHidden { get; }
}

/// <summary>What a model can record.</summary>
/// <param name="Model">The model in words, for error messages.</param>
/// <param name="Layers">Number of attention layers; hidden states are numbered 0 to <paramref name="Layers"/> unless <see cref="LastHiddenState"/> says otherwise.</param>
/// <param name="Features">Names of further features.</param>
public sealed record TraceCapabilities(string Model, int Layers, params string[] Features)
{
    /// <summary>
    /// The number of the last hidden state, where there is not one after every attention layer: stages of a hierarchical model, blocks of a
    /// convolutional one. Null means <see cref="Layers"/>.
    /// </summary>
    public int? LastHiddenState { get; init; }

    /// <summary>Attention heads of every layer; 0 when layers differ or it is not known before a forward pass.</summary>
    public int Heads { get; init; }

    /// <summary>Width C of the hidden states; 0 when layers differ or it is not known before a forward pass.</summary>
    public int HiddenWidth { get; init; }
}
