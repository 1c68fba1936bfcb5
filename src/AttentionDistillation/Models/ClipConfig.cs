using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>What both towers of CLIP have in common.</summary>
public abstract record ClipTowerConfig
{
    /// <summary>C, width of the hidden states.</summary>
    public long HiddenSize { get; init; }

    /// <summary>Inner width of the feed-forward blocks.</summary>
    public long IntermediateSize { get; init; }

    /// <summary>Number of layers.</summary>
    public int Layers { get; init; } = 12;

    /// <summary>H, number of attention heads; divides <see cref="HiddenSize"/>.</summary>
    public long Heads { get; init; }

    /// <summary>Width of the projection of a tower that stands alone.</summary>
    public long ProjectionSize { get; init; } = 512;

    /// <summary>Name of the activation (see <see cref="Activation"/>).</summary>
    public string HiddenActivation { get; init; } = "quick_gelu";

    /// <summary>Dropout probability of attention weights.</summary>
    public double AttentionDropout { get; init; }

    /// <summary>Epsilon of the layer normalisations.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Standard deviation of the initial embeddings.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>Factor on all initial weights.</summary>
    public double InitializerFactor { get; init; } = 1.0;

    internal PreNormOptions LayerOptions(bool isCausal) =>
        new()
        {
            Width = HiddenSize,
            Heads = Heads,
            InnerWidth = IntermediateSize,
            Layers = Layers,
            Activation = HiddenActivation,
            NormEpsilon = NormEpsilon,
            AttentionDropout = AttentionDropout,
            IsCausal = isCausal,
        };

    internal virtual void Validate()
    {
        ConfigCheck.Positive(this, HiddenSize, nameof(HiddenSize));
        ConfigCheck.Positive(this, IntermediateSize, nameof(IntermediateSize));
        ConfigCheck.Positive(this, Layers, nameof(Layers));
        ConfigCheck.Positive(this, Heads, nameof(Heads));
        ConfigCheck.Positive(this, ProjectionSize, nameof(ProjectionSize));
        ConfigCheck.Probability(this, AttentionDropout, nameof(AttentionDropout));
        ConfigCheck.AboveZero(this, NormEpsilon, nameof(NormEpsilon));
        ConfigCheck.NotNegative(this, InitializerRange, nameof(InitializerRange));
        ConfigCheck.NotNegative(this, InitializerFactor, nameof(InitializerFactor));
        if (HiddenSize % Heads != 0)
            throw ConfigCheck.Wrong(this, nameof(Heads), Heads, $"a divisor of {nameof(HiddenSize)} = {HiddenSize}");
        _ = Activation.Find(HiddenActivation);
    }

    private protected static T ReadTower<T>(ConfigReader reader, T start)
        where T : ClipTowerConfig
    {
        VisionConfigFormat.RefuseUnsupported(reader);
        return start with
        {
            HiddenSize = reader.Integer("hidden_size", start.HiddenSize),
            IntermediateSize = reader.Integer("intermediate_size", start.IntermediateSize),
            Layers = checked((int)reader.Integer("num_hidden_layers", start.Layers)),
            Heads = reader.Integer("num_attention_heads", start.Heads),
            ProjectionSize = reader.Integer("projection_dim", start.ProjectionSize),
            HiddenActivation = reader.Text("hidden_act") ?? start.HiddenActivation,
            AttentionDropout = reader.Number("attention_dropout", start.AttentionDropout),
            NormEpsilon = reader.Number("layer_norm_eps", start.NormEpsilon),
            InitializerRange = reader.Number("initializer_range", start.InitializerRange),
            InitializerFactor = reader.Number("initializer_factor", start.InitializerFactor),
        };
    }

    private protected JsonObject WriteTower(string modelType) =>
        new()
        {
            ["model_type"] = modelType,
            ["hidden_size"] = HiddenSize,
            ["intermediate_size"] = IntermediateSize,
            ["num_hidden_layers"] = Layers,
            ["num_attention_heads"] = Heads,
            ["projection_dim"] = ProjectionSize,
            ["hidden_act"] = HiddenActivation,
            ["attention_dropout"] = AttentionDropout,
            ["layer_norm_eps"] = NormEpsilon,
            ["initializer_range"] = InitializerRange,
            ["initializer_factor"] = InitializerFactor,
        };
}

/// <summary>Sizes and options of CLIP's text tower. The defaults are those of CLIP ViT-B/32.</summary>
public sealed record ClipTextConfig : ClipTowerConfig
{
    /// <summary>The end token of configurations written before transformers knew the right one: then the highest token number marks the end.</summary>
    internal const long LegacyEndToken = 2;

    /// <summary>The defaults.</summary>
    public ClipTextConfig() => (HiddenSize, IntermediateSize, Heads) = (512, 2048, 8);

    /// <summary>V, size of the vocabulary.</summary>
    public long VocabularySize { get; init; } = 49408;

    /// <summary>Rows of the position table.</summary>
    public long MaximumPositions { get; init; } = 77;

    /// <summary>
    /// The token that ends a text, whose state stands for the whole; the first one counts. With 2 it is the highest token number of the text, as in
    /// checkpoints of OpenAI's time.
    /// </summary>
    public long EndToken { get; init; } = 49407;

    internal override void Validate()
    {
        base.Validate();
        ConfigCheck.Positive(this, VocabularySize, nameof(VocabularySize));
        ConfigCheck.Positive(this, MaximumPositions, nameof(MaximumPositions));
        if (EndToken != LegacyEndToken && (EndToken < 0 || EndToken >= VocabularySize))
            throw ConfigCheck.Wrong(
                this,
                nameof(EndToken),
                EndToken,
                $"a token, 0 to {VocabularySize - 1}, or {LegacyEndToken} for the highest token of a text"
            );
    }

    internal static ClipTextConfig FromJson(ConfigReader reader)
    {
        var start = new ClipTextConfig();
        return ReadTower(reader, start) with
        {
            VocabularySize = reader.Integer("vocab_size", start.VocabularySize),
            MaximumPositions = reader.Integer("max_position_embeddings", start.MaximumPositions),
            EndToken = reader.OptionalInteger("eos_token_id", start.EndToken) ?? start.EndToken,
        };
    }

    internal JsonObject ToJson()
    {
        var json = WriteTower("clip_text_model");
        json["vocab_size"] = VocabularySize;
        json["max_position_embeddings"] = MaximumPositions;
        json["eos_token_id"] = EndToken;
        return json;
    }
}

/// <summary>Sizes and options of CLIP's vision tower. The defaults are those of CLIP ViT-B/32.</summary>
public sealed record ClipVisionConfig : ClipTowerConfig
{
    /// <summary>The defaults.</summary>
    public ClipVisionConfig() => (HiddenSize, IntermediateSize, Heads) = (768, 3072, 12);

    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>Pixels of the images that the positions are learned for.</summary>
    public ImageSize ImageSize { get; init; } = 224;

    /// <summary>Pixels of a patch.</summary>
    public ImageSize PatchSize { get; init; } = 32;

    /// <summary>Whether images of another size are taken, with positions interpolated bicubically; false refuses them.</summary>
    public bool InterpolatesPositions { get; init; } = true;

    internal override void Validate()
    {
        base.Validate();
        ConfigCheck.Positive(this, Channels, nameof(Channels));
        ConfigCheck.Positive(this, ImageSize, nameof(ImageSize));
        ConfigCheck.Positive(this, PatchSize, nameof(PatchSize));
        if (ImageSize.Whole(PatchSize).Area < 1)
            throw ConfigCheck.Wrong(this, nameof(PatchSize), PatchSize, $"no larger than {nameof(ImageSize)} = {ImageSize}");
    }

    internal static ClipVisionConfig FromJson(ConfigReader reader)
    {
        var start = new ClipVisionConfig();
        return ReadTower(reader, start) with
        {
            Channels = reader.Integer("num_channels", start.Channels),
            ImageSize = reader.Size("image_size", start.ImageSize),
            PatchSize = reader.Size("patch_size", start.PatchSize),
        };
    }

    internal JsonObject ToJson(JsonObject? before)
    {
        var json = WriteTower("clip_vision_model");
        json["num_channels"] = Channels;
        json["image_size"] = VisionConfigFormat.Size(ImageSize, before?["image_size"]);
        json["patch_size"] = VisionConfigFormat.Size(PatchSize, before?["patch_size"]);
        return json;
    }
}

/// <summary>
/// Sizes and options of a CLIP model (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, tables 19, 20).
/// </summary>
public sealed record ClipConfig
{
    /// <summary>The text tower.</summary>
    public ClipTextConfig Text { get; init; } = new();

    /// <summary>The vision tower.</summary>
    public ClipVisionConfig Vision { get; init; } = new();

    /// <summary>Width of the space that both towers are projected to.</summary>
    public long ProjectionSize { get; init; } = 512;

    /// <summary>Natural logarithm of the initial factor on the similarities, 1 / 0.07 (section 2.5).</summary>
    public double InitialLogitScale { get; init; } = 2.6592;

    /// <summary>Factor on the initial weights of the projections.</summary>
    public double InitializerFactor { get; init; } = 1.0;

    /// <summary>CLIP ViT-B/32: 151,277,313 parameters.</summary>
    public static ClipConfig Base32 { get; } = new();

    /// <summary>CLIP ViT-B/16: 149,620,737 parameters.</summary>
    public static ClipConfig Base16 { get; } = new() { Vision = new() { PatchSize = 16 } };

    /// <summary>CLIP ViT-L/14: 427,616,513 parameters.</summary>
    public static ClipConfig Large14 { get; } =
        new()
        {
            ProjectionSize = 768,
            Text = new()
            {
                HiddenSize = 768,
                IntermediateSize = 3072,
                Heads = 12,
                ProjectionSize = 768,
            },
            Vision = new()
            {
                HiddenSize = 1024,
                IntermediateSize = 4096,
                Layers = 24,
                Heads = 16,
                PatchSize = 14,
                ProjectionSize = 768,
            },
        };

    internal void Validate()
    {
        Text.Validate();
        Vision.Validate();
        ConfigCheck.Positive(this, ProjectionSize, nameof(ProjectionSize));
        ConfigCheck.NotNegative(this, InitializerFactor, nameof(InitializerFactor));
        if (!double.IsFinite(InitialLogitScale))
            throw ConfigCheck.Wrong(this, nameof(InitialLogitScale), InitialLogitScale, "finite, for example 2.6592");
    }

    internal static ClipConfig FromJson(ConfigReader reader)
    {
        VisionConfigFormat.RefuseUnsupported(reader);
        var start = new ClipConfig();
        return start with
        {
            Text = ClipTextConfig.FromJson(Tower(reader, "text_config")),
            Vision = ClipVisionConfig.FromJson(Tower(reader, "vision_config")),
            ProjectionSize = reader.Integer("projection_dim", start.ProjectionSize),
            InitialLogitScale = reader.Number("logit_scale_init_value", start.InitialLogitScale),
            InitializerFactor = reader.Number("initializer_factor", start.InitializerFactor),
        };
    }

    internal JsonObject ToJson(JsonObject? before) =>
        new()
        {
            ["model_type"] = "clip",
            ["projection_dim"] = ProjectionSize,
            ["logit_scale_init_value"] = InitialLogitScale,
            ["initializer_factor"] = InitializerFactor,
            ["text_config"] = Overlay(before?["text_config"] as JsonObject, Text.ToJson(), new ClipTextConfig().ToJson()),
            ["vision_config"] = Overlay(
                before?["vision_config"] as JsonObject,
                Vision.ToJson(before?["vision_config"] as JsonObject),
                new ClipVisionConfig().ToJson(null)
            ),
        };

    // Where the older text_config_dict is given, transformers lets it decide.
    private static ConfigReader Tower(ConfigReader reader, string name) =>
        reader.Section(reader.Json[$"{name}_dict"] is null ? name : $"{name}_dict");

    /// <summary>What a loaded section held, with our options where they stood there or are no defaults.</summary>
    private static JsonObject Overlay(JsonObject? before, JsonObject ours, JsonObject defaults)
    {
        if (before is null)
            return ours;
        var json = before.DeepClone().AsObject();
        foreach (var (name, value) in ours)
            if (before.ContainsKey(name) || !JsonNode.DeepEquals(value, defaults[name]))
                json[name] = value?.DeepClone();
        return json;
    }
}
