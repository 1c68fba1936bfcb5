using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// CLIP's text tower as a model of its own. Without projection (<c>CLIPTextModel</c> in transformers) its output is the normalised last hidden
/// state [B, L, C]; with it (<c>CLIPTextModelWithProjection</c>) the projected text [B, projection], not normalised. The features
/// <c>last_hidden_state</c> and <c>pooler_output</c> are there either way.
/// </summary>
public sealed class ClipTextModel : nn.Module<Tensor, Tensor?, ForwardTrace?, Tensor>, IHubModel
{
    private readonly ClipTextTower text;
    private readonly Linear? textProjection;
    private readonly HubNames names;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="withProjection">Whether the pooled state is projected.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public ClipTextModel(ClipTextConfig config, bool withProjection, long seed)
        : this(config, new SeededLayers(seed, ClipInitialisation.Drawn(config)), ClipNames.Text(withProjection, true)) { }

    internal ClipTextModel(ClipTextConfig config, SeededLayers layers, HubNames names)
        : base(names.Architecture)
    {
        this.names = names;
        text = new ClipTextTower(config, layers, names.Architecture);
        if (names.Head.ContainsKey(nameof(textProjection)))
            textProjection = ClipModel.Projection(layers, config, config.ProjectionSize, config.InitializerFactor);
        Capabilities = ClipNames.Describe(text, textProjection is null ? null : ClipModel.TextEmbeds);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public ClipTextConfig Config => text.Config;

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public string Architecture => names.Architecture;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> TiedNames => HubNames.NothingTied;

    /// <summary>Runs the model.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="mask">bool [B, L] (or numbers, 0 = padding), true = real token; null when nothing is padded.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>[B, L, C] or [B, projection]; empty ([0]) when the trace does not want the output.</returns>
    public override Tensor forward(Tensor inputIds, Tensor? mask, ForwardTrace? trace)
    {
        using var scope = NewDisposeScope();
        var keep = mask is null || mask.dtype == ScalarType.Bool ? mask : mask.ne(0);
        var hidden = text.call(inputIds, keep, trace);
        var output = hidden;
        if (trace is null || trace.RunsToTheEnd)
            output = ClipNames.Finish(hidden, text.Pool(hidden, inputIds), textProjection, ClipModel.TextEmbeds, trace);
        return ForwardTrace.End(trace, scope, output);
    }

    /// <summary>Runs the model on a batch's token numbers and mask.</summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch.InputIds, batch.Mask, trace);
    }

    /// <inheritdoc/>
    public JsonObject ToHubConfig() => Config.ToJson();

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters() => ClipNames.Tensors(this, names);

    /// <inheritdoc/>
    public string CanonicalName(string name) => name;

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => names.IsHarmlessExtra(name);
}

/// <summary>
/// CLIP's vision tower as a model of its own. Without projection (<c>CLIPVisionModel</c> in transformers) its output is the last hidden state
/// [B, L, C]; with it (<c>CLIPVisionModelWithProjection</c>) the projected image [B, projection], not normalised. The features
/// <c>last_hidden_state</c> and <c>pooler_output</c> are there either way.
/// </summary>
public sealed class ClipVisionModel : nn.Module<Tensor, ForwardTrace?, Tensor>, IHubModel
{
    private readonly ClipVisionTower vision;
    private readonly Linear? visualProjection;
    private readonly HubNames names;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="withProjection">Whether the pooled state is projected.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public ClipVisionModel(ClipVisionConfig config, bool withProjection, long seed)
        : this(config, new SeededLayers(seed, ClipInitialisation.Drawn(config)), ClipNames.Vision(withProjection, true)) { }

    internal ClipVisionModel(ClipVisionConfig config, SeededLayers layers, HubNames names)
        : base(names.Architecture)
    {
        this.names = names;
        vision = new ClipVisionTower(config, layers, names.Architecture);
        if (names.Head.ContainsKey(nameof(visualProjection)))
            visualProjection = ClipModel.Projection(layers, config, config.ProjectionSize, config.InitializerFactor);
        Capabilities = ClipNames.Describe(vision, visualProjection is null ? null : ClipModel.ImageEmbeds);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public ClipVisionConfig Config => vision.Config;

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public string Architecture => names.Architecture;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> TiedNames => HubNames.NothingTied;

    /// <summary>Runs the model.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>[B, L, C] or [B, projection]; empty ([0]) when the trace does not want the output.</returns>
    public override Tensor forward(Tensor images, ForwardTrace? trace)
    {
        using var scope = NewDisposeScope();
        var hidden = vision.call(images, trace);
        var output = hidden;
        if (trace is null || trace.RunsToTheEnd)
            output = ClipNames.Finish(hidden, vision.Pool(hidden), visualProjection, ClipModel.ImageEmbeds, trace);
        return ForwardTrace.End(trace, scope, output);
    }

    /// <summary>Runs the model on a batch's <c>pixel_values</c>.</summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch[ImageModel.PixelValues], trace);
    }

    /// <inheritdoc/>
    public JsonObject ToHubConfig() => Config.ToJson(ConfigExtras);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters() => ClipNames.Tensors(this, names);

    /// <inheritdoc/>
    public string CanonicalName(string name) => name;

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => names.IsHarmlessExtra(name);
}
