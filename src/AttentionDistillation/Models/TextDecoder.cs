using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// What the decoders of all families share: embeddings, layers, final norm, cache, trace, exchangeable attention, and names in checkpoints. A
/// model adds its head.
/// </summary>
/// <remarks>Hidden states are numbered as transformers does: 0 the embedding's output, the last the output of the last layer AFTER the final norm.</remarks>
public abstract class TextDecoder : nn.Module<DecoderInput, ForwardTrace?, Tensor>, IHubModel
{
    private readonly Embedding words;
    private readonly Embedding? positions;
    private readonly ModuleList<DecoderLayer> layers;
    private readonly nn.Module<Tensor, Tensor> norm;
    private readonly Dropout? dropout;
    private readonly RotaryPositions? rotary;
    private readonly DecoderNames names;

    private protected TextDecoder(
        DecoderConfig config,
        string architecture,
        DecoderNames names,
        SeededLayers make,
        params string[] headFeatures
    )
        : base(architecture)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        (DecoderConfig, Architecture, this.names) = (config, architecture, names);
        words = make.Embedding(config.VocabularySize, config.HiddenSize, config.EmbeddingPadding);
        var parts = DecoderParts.Of(config, make);
        positions = parts.Positions;
        layers = new ModuleList<DecoderLayer>([.. parts.Layers]);
        norm = parts.Norm;
        rotary = parts.Rotary;
        dropout = parts.EmbeddingDropout > 0 ? nn.Dropout(parts.EmbeddingDropout) : null;
        Capabilities = new TraceCapabilities(
            architecture,
            config.Layers,
            [.. DecoderFeatures.All(config.Layers), .. headFeatures]
        )
        {
            Heads = (int)config.Heads,
            HiddenWidth = (int)config.HiddenSize,
        };
    }

    /// <summary>What the configuration shares with the other families.</summary>
    public DecoderConfig DecoderConfig { get; }

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public string Architecture { get; }

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <summary>The layers, for their attention (<see cref="GroupedQueryAttention.Form"/>) and weights.</summary>
    public IReadOnlyList<DecoderLayer> DecoderLayers => [.. layers];

    /// <summary>The word table [V, C].</summary>
    public Parameter WordTable => words.weight!;

    /// <summary>The position table [positions, C]; null for rotary models.</summary>
    public Parameter? PositionTable => positions?.weight;

    /// <summary>The normalisation after the last layer.</summary>
    public nn.Module<Tensor, Tensor> FinalNorm => norm;

    /// <summary>Where the weights are.</summary>
    public Device Device => WordTable.device;

    /// <summary>Puts another form of attention into a layer.</summary>
    /// <param name="layer">The layer's number; negative counts from the end.</param>
    /// <param name="form">How values are mixed; a form with weights is registered with the model.</param>
    public void SetAttention(int layer, IAttentionForm form) =>
        layers[layer < 0 ? layers.Count + layer : layer].Attention.Form = form;

    /// <summary>Puts forms of attention into all layers.</summary>
    /// <param name="form">Gives the form of each layer, numbered from 0.</param>
    public void SetAttention(Func<int, IAttentionForm> form)
    {
        ArgumentNullException.ThrowIfNull(form);
        for (int layer = 0; layer < layers.Count; layer++)
            SetAttention(layer, form(layer));
    }

    /// <summary>The words' embeddings, the input of <see cref="DecoderInput.FromEmbeddings"/>.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <returns>[B, L, C].</returns>
    public Tensor Embed(Tensor inputIds) => words.call(inputIds);

    /// <summary>The rotation of positions 0 ... length - 1 on the model's device; null for learned positions.</summary>
    internal Rotation? RotationOf(long length, ScalarType type) => rotary?.At(0, length, type, WordTable.device);

    /// <summary>An empty cache for this model.</summary>
    /// <param name="capacity">Tokens to allocate storage for at the first use.</param>
    public KeyValueCache NewCache(long capacity) => new(layers.Count, capacity);

    /// <summary>Runs the model on token numbers.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>The model's output.</returns>
    public Tensor Run(Tensor inputIds, Tensor? mask, ForwardTrace? trace = null) => call(new DecoderInput(inputIds, mask), trace);

    /// <summary>
    /// Runs the model on a batch's <c>input_ids</c> or <c>inputs_embeds</c>, <c>attention_mask</c>, and, if it has them, <c>position_ids</c> and
    /// <c>token_type_ids</c>; records into the trace.
    /// </summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        var input = batch.TryGet("inputs_embeds", out var embeddings)
            ? DecoderInput.FromEmbeddings(embeddings, batch.Mask)
            : new DecoderInput(batch.InputIds, batch.Mask);
        batch.TryGet("position_ids", out var places);
        call(input with { Positions = places, TokenTypeIds = positions is null ? null : batch.TokenTypeIds }, trace);
    }

    /// <summary>Runs the model.</summary>
    /// <param name="input">Tokens or embeddings, padding, cache.</param>
    /// <param name="trace">Records what it wants; null for none. With a cache every layer runs, whatever the trace wants.</param>
    /// <returns>
    /// The model's output. When the trace does not want the output, the pass ends with the last thing recorded and an empty tensor ([0]) is returned.
    /// </returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the input is too long for learned positions.</exception>
    public override Tensor forward(DecoderInput input, ForwardTrace? trace)
    {
        ArgumentNullException.ThrowIfNull(input);
        using var scope = NewDisposeScope();
        var pass = NewPass(input, trace);
        try
        {
            var hidden = RunLayers(input, pass, trace);
            bool wantsHead = trace is null || trace.WantsOutput || Capabilities.Features.Any(trace.WantsFeature);
            var output = hidden is not null && wantsHead ? Head(hidden, input, trace) : empty(0, device: Device);
            if (trace?.WantsOutput == true)
                trace.RecordOutput(output);
            foreach (string feature in HeadFeatures)
                if (trace?.WantsFeature(feature) == true)
                    pass.Keep(trace.Feature(feature));
            if (pass.Mask is not null && !ReferenceEquals(pass.Mask, input.Mask) && trace?.Attentions.Count > 0)
                pass.Keep(pass.Mask);
            pass.HandOut(scope);
            return output.MoveToOuterDisposeScope();
        }
        catch
        {
            pass.Abandon();
            throw;
        }
    }

    /// <inheritdoc/>
    public JsonObject ToHubConfig() =>
        ConfigExtras is { } read
        && JsonNode.DeepEquals(DecoderConfigFormat.Normal(this, read), DecoderConfigFormat.Write(DecoderConfig))
            ? new JsonObject { ["model_type"] = DecoderConfigFormat.ModelType(DecoderConfig) }
            : DecoderConfigFormat.Write(DecoderConfig);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters()
    {
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (name, tensor) in names.BodyOf(this))
            tensors.Add(names.Prefix + name, tensor);
        foreach (var (name, tensor) in HeadParameters)
            tensors.Add(name, tensor);
        return tensors;
    }

    /// <inheritdoc/>
    public string CanonicalName(string name) => names.Canonical(name);

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => names.IsHarmlessExtra(name);

    /// <inheritdoc/>
    public virtual IReadOnlyDictionary<string, string> TiedNames => HubNames.NothingTied;

    /// <summary>The projections of the layers by their names in checkpoints, without the ending <c>.weight</c>.</summary>
    public IEnumerable<(string Name, JointLinear Layer, string Projection)> Projections() =>
        names.ProjectionsOf(this).Select(item => (names.Prefix + item.Name, item.Layer, item.Projection));

    /// <summary>The head: from the last hidden state [B, L, C], after the final norm, to the output.</summary>
    private protected abstract Tensor Head(Tensor hidden, DecoderInput input, ForwardTrace? trace);

    /// <summary>Features of the head.</summary>
    private protected virtual IReadOnlyList<string> HeadFeatures => [];

    /// <summary>The head's tensors by their names in checkpoints.</summary>
    private protected virtual IEnumerable<(string Name, Tensor Tensor)> HeadParameters => [];

    /// <summary>The word table's name in checkpoints.</summary>
    private protected string WordTableName => names.Prefix + names.WordTable;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            rotary?.Dispose();
        base.Dispose(disposing);
    }

    private DecoderPass NewPass(DecoderInput input, ForwardTrace? trace)
    {
        long past = input.Cache?.Length ?? 0,
            length = input.Length;
        if (length < 1)
            throw new ArgumentException("The input has no tokens.", nameof(input));
        if (input.InputEmbeddings is { } given && given.size(2) != DecoderConfig.HiddenSize)
            throw new ArgumentException(
                $"Embeddings must be [B, L, {DecoderConfig.HiddenSize}], but are {Shapes.Describe(given)}.",
                nameof(input)
            );
        if (input.Cache is not null && input.Cache.Layers != layers.Count)
            throw new ArgumentException(
                $"The cache has {input.Cache.Layers} layers, the model {layers.Count}. Make it with NewCache.",
                nameof(input)
            );
        if (input.Mask is not null)
        {
            var mask = input.Mask;
            if (mask.dim() != 2 || mask.size(0) != input.Batch || mask.size(1) != past + length)
                throw new ArgumentException(
                    $"The mask must be [{input.Batch}, {past + length}] ({past} tokens in the cache, {length} new), but is {Shapes.Describe(mask)}.",
                    nameof(input)
                );
        }
        if (input.Positions is { } places)
            Shapes.RequireExact(places, [places.size(0) == 1 ? 1 : input.Batch, length]);
        if (input.Heads is { } heads && (heads.Factors.size(0) != layers.Count || heads.Factors.size(1) != DecoderConfig.Heads))
            throw new ArgumentException(
                $"Head factors must be [{layers.Count}, {DecoderConfig.Heads}], but are {Shapes.Describe(heads.Factors)}.",
                nameof(input)
            );
        if (positions is null && input.TokenTypeIds is not null)
            throw new ArgumentException($"{Architecture} has no token types: leave TokenTypeIds null.", nameof(input));
        return new DecoderPass
        {
            Mask = input.Mask is null || input.Mask.dtype == ScalarType.Bool ? input.Mask : input.Mask.ne(0),
            IsPaddedOnTheRight = input.IsPaddedOnTheRight,
            Cache = input.Cache,
            Trace = trace,
            Heads = input.Heads,
            Rotation =
                rotary is null ? null
                : input.Positions is not null ? rotary.At(input.Positions, WordTable.dtype)
                : rotary.At(past, length, WordTable.dtype, WordTable.device),
        };
    }

    /// <summary>The last hidden state after the final norm; null when the trace needs less.</summary>
    private Tensor? RunLayers(DecoderInput input, DecoderPass pass, ForwardTrace? trace)
    {
        var current = EmbedAll(input);
        int last = trace is null || pass.Cache is not null ? layers.Count - 1 : trace.LastLayerNeeded;
        if (trace?.WantsHidden(0) == true)
            trace.RecordHidden(0, pass.Keep(current));
        for (int number = 0; number <= last; number++)
        {
            var next = layers[number].call(current, pass);
            if (trace?.WantsHidden(number) != true)
                current.Dispose();
            current = next;
            if (trace?.StopsAfterAttentionInputs(number) == true)
                return null;
            if (number < layers.Count - 1 && trace?.WantsHidden(number + 1) == true)
                trace.RecordHidden(number + 1, pass.Keep(current));
        }
        if (last < layers.Count - 1)
            return null;
        var normed = norm.call(current);
        if (trace?.WantsHidden(layers.Count) == true)
            trace.RecordHidden(layers.Count, pass.Keep(normed));
        return normed;
    }

    private Tensor EmbedAll(DecoderInput input)
    {
        var embedded = input.InputIds is null ? input.InputEmbeddings!.alias() : words.call(input.InputIds);
        if (positions is not null)
        {
            long past = input.Cache?.Length ?? 0,
                longest = positions.weight!.size(0);
            if (input.Positions is null && past + input.Length > longest)
                throw new ArgumentException(
                    $"The input reaches position {past + input.Length - 1}, but {Architecture} has positions 0 to {longest - 1}. Shorten it.",
                    nameof(input)
                );
            var places =
                input.Positions ?? arange(past, past + input.Length, dtype: ScalarType.Int64, device: Device).unsqueeze(0);
            embedded = embedded + positions.call(places);
            if (input.TokenTypeIds is not null)
                embedded = embedded + words.call(input.TokenTypeIds);
        }
        return dropout is null ? embedded : dropout.call(embedded);
    }
}
