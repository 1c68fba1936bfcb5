using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// CLIP, both towers (<c>CLIPModel</c> in transformers). Its output is the similarity of every image with every text, scaled, [images, texts].
/// </summary>
/// <remarks>
/// <para>Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, section 2.3 and figure 3.</para>
/// <para>
/// One trace serves both towers. Attention layers are numbered through, those of the vision tower first (<see cref="VisionLayer"/>,
/// <see cref="TextLayer"/>), and so are hidden states (<see cref="VisionHidden"/>, <see cref="TextHidden"/>). A tower that nothing is wanted of does
/// not run, so a batch may then lack its input. Each tower is also an <see cref="ITracedModel"/> of its own.
/// </para>
/// </remarks>
public sealed class ClipModel : nn.Module<Tensor, Tensor, Tensor?, ForwardTrace?, Tensor>, IHubModel
{
    /// <summary>The feature of a tower that holds the state that stands for the whole input, [B, C].</summary>
    public const string PoolerOutput = "pooler_output";

    /// <summary>The feature that holds the projected images, of length 1, [images, projection].</summary>
    public const string ImageEmbeds = "image_embeds";

    /// <summary>The feature that holds the projected texts, of length 1, [texts, projection].</summary>
    public const string TextEmbeds = "text_embeds";

    /// <summary>The feature that holds scaled similarities, [images, texts].</summary>
    public const string LogitsPerImage = "logits_per_image";

    /// <summary>The feature that holds scaled similarities, [texts, images].</summary>
    public const string LogitsPerText = "logits_per_text";

    private readonly ClipTextTower text;
    private readonly ClipVisionTower vision;
    private readonly Linear textProjection;
    private readonly Linear visualProjection;
    private readonly Parameter logitScale;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public ClipModel(ClipConfig config, long seed)
        : this(
            config,
            new SeededLayers(seed, ClipInitialisation.Drawn(config.Text)),
            new SeededLayers(Seeds.Derive(seed, "vision tower"), ClipInitialisation.Drawn(config.Vision))
        ) { }

    internal ClipModel(ClipConfig config, SeededLayers layers)
        : this(config, layers, layers) { }

    private ClipModel(ClipConfig config, SeededLayers ofText, SeededLayers ofVision)
        : base(ClipNames.Joint.Architecture)
    {
        config.Validate();
        Config = config;
        text = new ClipTextTower(config.Text, ofText, "CLIP's text tower");
        vision = new ClipVisionTower(config.Vision, ofVision, "CLIP's vision tower");
        textProjection = Projection(ofText, config.Text, config.ProjectionSize, config.InitializerFactor);
        visualProjection = Projection(ofVision, config.Vision, config.ProjectionSize, config.InitializerFactor);
        logitScale = ofText.ZeroParameter();
        using (no_grad())
            logitScale.fill_(config.InitialLogitScale);
        int last = config.Vision.Layers + config.Text.Layers;
        Capabilities = new TraceCapabilities(Architecture, last, ImageEmbeds, TextEmbeds, LogitsPerImage, LogitsPerText)
        {
            LastHiddenState = last + 1,
        };
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public ClipConfig Config { get; }

    /// <summary>The text tower, which can be run and traced alone.</summary>
    public ClipTextTower Text => text;

    /// <summary>The vision tower, which can be run and traced alone.</summary>
    public ClipVisionTower Vision => vision;

    /// <summary>The natural logarithm of the factor on similarities, a scalar.</summary>
    public Parameter LogitScale => logitScale;

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public string Architecture => ClipNames.Joint.Architecture;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> TiedNames => HubNames.NothingTied;

    /// <summary>The number of a vision layer in this model's traces.</summary>
    public int VisionLayer(int layer) => Place(layer, vision.Capabilities.Layers, 0);

    /// <summary>The number of a text layer in this model's traces; negative counts from the tower's end.</summary>
    public int TextLayer(int layer) => Place(layer, text.Capabilities.Layers, vision.Capabilities.Layers);

    /// <summary>The number of a hidden state of the vision tower in this model's traces; negative counts from the tower's end.</summary>
    public int VisionHidden(int state) => Place(state, vision.Capabilities.Layers + 1, 0);

    /// <summary>The number of a hidden state of the text tower in this model's traces; negative counts from the tower's end.</summary>
    public int TextHidden(int state) => Place(state, text.Capabilities.Layers + 1, vision.Capabilities.Layers + 1);

    /// <summary>Compares images with texts.</summary>
    /// <param name="images">[images, channels, height, width].</param>
    /// <param name="inputIds">int64 [texts, L].</param>
    /// <param name="mask">bool [texts, L] (or numbers, 0 = padding), true = real token; null when nothing is padded.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>Scaled similarities [images, texts]; empty ([0]) when the trace does not want the output.</returns>
    public override Tensor forward(Tensor images, Tensor inputIds, Tensor? mask, ForwardTrace? trace) =>
        Compare(images, inputIds, mask, trace);

    /// <summary>Runs the towers that the trace wants something of, on a batch's <c>pixel_values</c>, token numbers and mask.</summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        bool similarities = WantsSimilarities(trace);
        Compare(
            similarities || trace.WantsFeature(ImageEmbeds) || Wants(trace, vision, 0) ? batch[ImageModel.PixelValues] : null,
            similarities || trace.WantsFeature(TextEmbeds) || Wants(trace, text, vision.Capabilities.Layers)
                ? batch.InputIds
                : null,
            batch.Mask,
            trace
        );
    }

    /// <summary>Projected images, of length 1.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <returns>[B, projection].</returns>
    public Tensor EncodeImages(Tensor images)
    {
        using var scope = NewDisposeScope();
        return Project(vision.Pool(vision.call(images, null)), visualProjection).MoveToOuterDisposeScope();
    }

    /// <summary>Projected texts, of length 1.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <returns>[B, projection].</returns>
    public Tensor EncodeTexts(Tensor inputIds, Tensor? mask)
    {
        using var scope = NewDisposeScope();
        return Project(text.Pool(text.call(inputIds, mask, null), inputIds), textProjection).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public JsonObject ToHubConfig() => Config.ToJson(ConfigExtras);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters() => ClipNames.Tensors(this, ClipNames.Joint);

    /// <inheritdoc/>
    public string CanonicalName(string name) => name;

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => ClipNames.Joint.IsHarmlessExtra(name);

    private Tensor Compare(Tensor? images, Tensor? inputIds, Tensor? mask, ForwardTrace? trace)
    {
        using var scope = NewDisposeScope();
        bool similarities = trace is null || WantsSimilarities(trace);
        Tensor? ofImages = null,
            ofTexts = null;
        if (images is not null)
        {
            var part = Part(trace, vision, 0, similarities || trace!.WantsFeature(ImageEmbeds));
            var hidden = vision.call(images, part);
            if (part is null || part.WantsOutput)
                ofImages = Project(vision.Pool(hidden), visualProjection);
            Hand(part, trace, 0, vision.Capabilities.Layers);
        }
        if (inputIds is not null)
        {
            var part = Part(trace, text, vision.Capabilities.Layers, similarities || trace!.WantsFeature(TextEmbeds));
            var hidden = text.call(inputIds, mask, part);
            if (part is null || part.WantsOutput)
                ofTexts = Project(text.Pool(hidden, inputIds), textProjection);
            Hand(part, trace, vision.Capabilities.Layers, text.Capabilities.Layers);
        }
        var output = similarities
            ? matmul(ofImages!, ofTexts!.t()) * logitScale.exp()
            : empty(0, dtype: logitScale.dtype, device: logitScale.device);
        if (trace is not null)
        {
            if (ofImages is not null)
                trace.RecordFeature(ImageEmbeds, ofImages);
            if (ofTexts is not null)
                trace.RecordFeature(TextEmbeds, ofTexts);
            if (trace.WantsFeature(LogitsPerImage))
                trace.RecordFeature(LogitsPerImage, output.alias());
            if (trace.WantsFeature(LogitsPerText))
                trace.RecordFeature(LogitsPerText, output.t());
        }
        return ForwardTrace.End(trace, scope, output);
    }

    private static bool WantsSimilarities(ForwardTrace trace) =>
        trace.WantsOutput || trace.WantsFeature(LogitsPerImage) || trace.WantsFeature(LogitsPerText);

    // Attention layers of a tower start at a place, its hidden states at that place, plus one for the text tower.
    private static int HiddenPlace(int start) => start == 0 ? 0 : start + 1;

    private static bool Wants(ForwardTrace trace, ITracedModel tower, int start) =>
        Enumerable.Range(start, tower.Capabilities.Layers).Any(trace.WantsAttention)
        || Enumerable.Range(HiddenPlace(start), tower.Capabilities.Layers + 1).Any(trace.WantsHidden);

    private static ForwardTrace? Part(ForwardTrace? trace, ITracedModel tower, int start, bool wantsOutput)
    {
        if (trace is null)
            return null;
        int layers = tower.Capabilities.Layers;
        var request =
            TraceRequest.Attention([.. Enumerable.Range(0, layers).Where(layer => trace.WantsAttention(start + layer))])
            + TraceRequest.Hidden([
                .. Enumerable.Range(0, layers + 1).Where(state => trace.WantsHidden(HiddenPlace(start) + state)),
            ]);
        return new ForwardTrace(request, tower.Capabilities, wantsOutput);
    }

    private static void Hand(ForwardTrace? part, ForwardTrace? trace, int start, int layers)
    {
        if (part is null)
            return;
        foreach (var (layer, state) in part.Attentions)
            trace!.RecordAttention(start + layer, state);
        for (int state = 0; state <= layers; state++)
            if (part.WantsHidden(state))
                trace!.RecordHidden(HiddenPlace(start) + state, part.Hidden(state));
    }

    private static Tensor Project(Tensor pooled, Linear projection)
    {
        var projected = projection.call(pooled);
        return projected / projected.norm(-1, keepdim: true);
    }

    internal static Linear Projection(SeededLayers layers, ClipTowerConfig config, long width, double factor)
    {
        var projection = layers.Linear(config.HiddenSize, width, hasBias: false);
        double drawn = ClipInitialisation.Drawn(config);
        using var guard = no_grad();
        if (drawn > 0.0)
            projection.weight.mul_(Math.Pow(config.HiddenSize, -0.5) * factor / drawn);
        return projection;
    }

    private static int Place(int number, int count, int start)
    {
        int index = number < 0 ? count + number : number;
        return index >= 0 && index < count
            ? start + index
            : throw new ArgumentOutOfRangeException(
                nameof(number),
                number,
                $"The tower has numbers 0 to {count - 1} (or -1 to -{count}, counted from the end)."
            );
    }
}
