using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>What ViT and DeiT have in common. The defaults are those of the base models: 12 layers of 768, patches of 16, images of 224.</summary>
public abstract record VisionTransformerConfig
{
    /// <summary>C, width of the hidden states.</summary>
    public long HiddenSize { get; init; } = 768;

    /// <summary>Number of layers.</summary>
    public int Layers { get; init; } = 12;

    /// <summary>H, number of attention heads; divides <see cref="HiddenSize"/>.</summary>
    public long Heads { get; init; } = 12;

    /// <summary>Inner width of the feed-forward blocks.</summary>
    public long IntermediateSize { get; init; } = 3072;

    /// <summary>Name of the activation (see <see cref="Activation"/>).</summary>
    public string HiddenActivation { get; init; } = "gelu";

    /// <summary>Pixels of the images that the positions are learned for.</summary>
    public ImageSize ImageSize { get; init; } = 224;

    /// <summary>Pixels of a patch.</summary>
    public ImageSize PatchSize { get; init; } = 16;

    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>Whether query, key and value projections have biases.</summary>
    public bool QkvBias { get; init; } = true;

    /// <summary>
    /// Whether images of another size are taken, with positions interpolated bicubically (transformers' <c>interpolate_pos_encoding=True</c>);
    /// false refuses them. Images of <see cref="ImageSize"/> are the same either way.
    /// </summary>
    public bool InterpolatesPositions { get; init; } = true;

    /// <summary>Dropout probability of embeddings and of the outputs of both branches of a layer.</summary>
    public double HiddenDropout { get; init; }

    /// <summary>Dropout probability of attention weights.</summary>
    public double AttentionDropout { get; init; }

    /// <summary>Stochastic depth of the last layer, from 0 at the first; not part of Hugging Face's configuration.</summary>
    public double DropPathRate { get; init; }

    /// <summary>Epsilon of the layer normalisations.</summary>
    public double NormEpsilon { get; init; } = 1e-12;

    /// <summary>Standard deviation of the initial weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>Whether a bare encoder has a pooler.</summary>
    public bool AddPooler { get; init; } = true;

    /// <summary>Width of the pooler's output; null means <see cref="HiddenSize"/>.</summary>
    public long? PoolerSize { get; init; }

    /// <summary>Name of the pooler's activation.</summary>
    public string PoolerActivation { get; init; } = "tanh";

    /// <summary>Names of the classes of a classification head, in order; 1,000 as of ImageNet.</summary>
    public IReadOnlyList<string> Labels { get; init; } = TextEncoderConfig.DefaultLabels(ImageNetClasses);

    /// <summary>What a classifier predicts, as in transformers' <c>problem_type</c>; null when it is not said.</summary>
    public string? ProblemType { get; init; }

    /// <summary>Patches of an image of <see cref="ImageSize"/>.</summary>
    public ImageSize Grid => ImageSize.Whole(PatchSize);

    internal const int ImageNetClasses = 1000;

    internal PreNormOptions LayerOptions =>
        new()
        {
            Width = HiddenSize,
            Heads = Heads,
            InnerWidth = IntermediateSize,
            Layers = Layers,
            Activation = HiddenActivation,
            NormEpsilon = NormEpsilon,
            Dropout = HiddenDropout,
            AttentionDropout = AttentionDropout,
            DropPathRate = DropPathRate,
            QkvBias = QkvBias,
        };

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    internal void Validate()
    {
        ConfigCheck.Positive(this, HiddenSize, nameof(HiddenSize));
        ConfigCheck.Positive(this, Layers, nameof(Layers));
        ConfigCheck.Positive(this, Heads, nameof(Heads));
        ConfigCheck.Positive(this, IntermediateSize, nameof(IntermediateSize));
        ConfigCheck.Positive(this, Channels, nameof(Channels));
        ConfigCheck.Positive(this, ImageSize, nameof(ImageSize));
        ConfigCheck.Positive(this, PatchSize, nameof(PatchSize));
        ConfigCheck.Positive(this, PoolerSize ?? HiddenSize, nameof(PoolerSize));
        ConfigCheck.Positive(this, Labels.Count, nameof(Labels));
        ConfigCheck.Probability(this, HiddenDropout, nameof(HiddenDropout));
        ConfigCheck.Probability(this, AttentionDropout, nameof(AttentionDropout));
        ConfigCheck.Probability(this, DropPathRate, nameof(DropPathRate));
        ConfigCheck.AboveZero(this, NormEpsilon, nameof(NormEpsilon));
        ConfigCheck.NotNegative(this, InitializerRange, nameof(InitializerRange));
        if (HiddenSize % Heads != 0)
            throw ConfigCheck.Wrong(this, nameof(Heads), Heads, $"a divisor of {nameof(HiddenSize)} = {HiddenSize}");
        if (Grid.Area < 1)
            throw ConfigCheck.Wrong(this, nameof(PatchSize), PatchSize, $"no larger than {nameof(ImageSize)} = {ImageSize}");
        _ = Activation.Find(HiddenActivation);
        _ = Activation.Find(PoolerActivation);
    }

    /// <summary>Reads the options that ViT and DeiT name alike.</summary>
    private protected static T Read<T>(ConfigReader reader, T start)
        where T : VisionTransformerConfig
    {
        VisionConfigFormat.RefuseUnsupported(reader);
        return start with
        {
            HiddenSize = reader.Integer("hidden_size", start.HiddenSize),
            Layers = checked((int)reader.Integer("num_hidden_layers", start.Layers)),
            Heads = reader.Integer("num_attention_heads", start.Heads),
            IntermediateSize = reader.Integer("intermediate_size", start.IntermediateSize),
            HiddenActivation = reader.Text("hidden_act") ?? start.HiddenActivation,
            ImageSize = reader.Size("image_size", start.ImageSize),
            PatchSize = reader.Size("patch_size", start.PatchSize),
            Channels = reader.Integer("num_channels", start.Channels),
            QkvBias = reader.Flag("qkv_bias", start.QkvBias),
            HiddenDropout = reader.Number("hidden_dropout_prob", start.HiddenDropout),
            AttentionDropout = reader.Number("attention_probs_dropout_prob", start.AttentionDropout),
            NormEpsilon = reader.Number("layer_norm_eps", start.NormEpsilon),
            InitializerRange = reader.Number("initializer_range", start.InitializerRange),
            PoolerSize = reader.OptionalInteger("pooler_output_size", null),
            PoolerActivation = reader.Text("pooler_act") ?? start.PoolerActivation,
            Labels = reader.Labels(),
            ProblemType = reader.Text("problem_type"),
        };
    }

    /// <summary>Writes the options under Hugging Face's names.</summary>
    /// <param name="modelType">The family.</param>
    /// <param name="before">What the model was loaded from, or null.</param>
    internal JsonObject ToJson(string modelType, JsonObject? before) =>
        new JsonObject
        {
            ["model_type"] = modelType,
            ["hidden_size"] = HiddenSize,
            ["num_hidden_layers"] = Layers,
            ["num_attention_heads"] = Heads,
            ["intermediate_size"] = IntermediateSize,
            ["hidden_act"] = HiddenActivation,
            ["image_size"] = VisionConfigFormat.Size(ImageSize, before?["image_size"]),
            ["patch_size"] = VisionConfigFormat.Size(PatchSize, before?["patch_size"]),
            ["num_channels"] = Channels,
            ["qkv_bias"] = QkvBias,
            ["hidden_dropout_prob"] = HiddenDropout,
            ["attention_probs_dropout_prob"] = AttentionDropout,
            ["layer_norm_eps"] = NormEpsilon,
            ["initializer_range"] = InitializerRange,
            ["pooler_output_size"] = PoolerSize,
            ["pooler_act"] = PoolerActivation,
        }.WithLabels(Labels, ProblemType);
}
