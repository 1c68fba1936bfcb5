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
/// What the models of the BERT, RoBERTa and DistilBERT families share: embeddings, encoder, trace, early stop, and names in checkpoints. A model of
/// a family adds its head.
/// </summary>
public abstract class TextEncoder : nn.Module<Tensor, Tensor?, Tensor?, ForwardTrace?, Tensor>, IHubModel
{
    private readonly EncoderEmbeddings embeddings;
    private readonly TransformerEncoder encoder;
    private readonly HubNames names;

    private protected TextEncoder(TextEncoderConfig config, SeededLayers layers, HubNames names, params string[] features)
        : base(names.Architecture)
    {
        config.Validate();
        (EncoderConfig, this.names) = (config, names);
        embeddings = new EncoderEmbeddings(config, layers);
        encoder = new TransformerEncoder(config, layers);
        Capabilities = new TraceCapabilities(names.Architecture, config.Layers, features)
        {
            Heads = (int)config.Heads,
            HiddenWidth = (int)config.HiddenSize,
        };
    }

    /// <summary>What the configuration shares with the other families.</summary>
    public TextEncoderConfig EncoderConfig { get; }

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public string Architecture => names.Architecture;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <summary>The attention layers, in order.</summary>
    public IReadOnlyList<MultiHeadAttention> AttentionLayers => [.. encoder.Layers.Select(layer => layer.Attention)];

    /// <summary>Puts another form of attention into every layer.</summary>
    /// <param name="form">Gives the form of each layer, numbered from 0; null is softmax attention over all keys.</param>
    public void SetAttention(Func<int, IAttentionForm?> form)
    {
        ArgumentNullException.ThrowIfNull(form);
        var layers = AttentionLayers;
        for (int layer = 0; layer < layers.Count; layer++)
            layers[layer].Form = form(layer);
    }

    /// <summary>The word table [V, C].</summary>
    private protected Tensor WordTable() => embeddings.WordTable;

    /// <summary>The position table [positions, C].</summary>
    private protected Parameter PositionTable => embeddings.PositionTable;

    /// <summary>Runs the model.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="mask">bool [B, L] (or numbers, 0 = padding), true = real token; null when nothing is padded.</param>
    /// <param name="tokenTypeIds">int64 [B, L]; null for segment 0 everywhere.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>
    /// The model's output. When the trace does not want the output, the pass ends with the last thing recorded and an empty tensor ([0]) is returned.
    /// </returns>
    /// <exception cref="ArgumentException">Shapes do not fit, the input is too long, or the model has no segments.</exception>
    public override Tensor forward(Tensor inputIds, Tensor? mask, Tensor? tokenTypeIds, ForwardTrace? trace)
    {
        using var scope = NewDisposeScope();
        long choices = 1;
        if (TakesChoices)
        {
            Shapes.Require(inputIds, "[B, N, L]");
            choices = inputIds.size(1);
            (inputIds, mask, tokenTypeIds) = (inputIds.flatten(0, 1), mask?.flatten(0, 1), tokenTypeIds?.flatten(0, 1));
        }
        if (mask is not null)
            Shapes.RequireExact(mask, inputIds.shape);
        if (tokenTypeIds is not null)
            Shapes.RequireExact(tokenTypeIds, inputIds.shape);
        var keep = mask is null || mask.dtype == ScalarType.Bool ? mask : mask.ne(0);
        var embedded = embeddings.call(inputIds, tokenTypeIds);
        var hidden = encoder.call(embedded, keep, trace);
        if (trace is null)
            return Chosen(Head(hidden, null), choices).MoveToOuterDisposeScope();
        Tensor output;
        if (trace.WantsOutput || Capabilities.Features.Any(trace.WantsFeature))
        {
            output = Chosen(Head(hidden, trace), choices);
            if (trace.WantsOutput)
                trace.RecordOutput(output);
        }
        else
            output = empty(0, dtype: embedded.dtype, device: embedded.device);
        trace.MoveOut(scope);
        return scope.MoveToOuter(output);
    }

    /// <summary>Runs the model on a batch's token numbers, mask and, if the family has segments, token types; records into the trace.</summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch.InputIds, batch.Mask, EncoderConfig.TokenTypes > 0 ? batch.TokenTypeIds : null, trace);
    }

    /// <summary>
    /// Copies the embeddings and encoder layers of another model, for example of a pretrained language model into a fresh classifier. Heads and
    /// poolers stay as they are.
    /// </summary>
    /// <param name="other">A model of the same sizes; its weights are converted to this model's device and element type.</param>
    /// <exception cref="ArgumentException">The encoders differ; the message lists every difference.</exception>
    public void LoadEncoderFrom(TextEncoder other)
    {
        ArgumentNullException.ThrowIfNull(other);
        var source = other.EncoderParameters();
        var target = EncoderParameters();
        string[] differences =
        [
            .. target.Keys.Except(source.Keys).Select(name => $"{name} is missing there"),
            .. source.Keys.Except(target.Keys).Select(name => $"{name} is missing here"),
            .. target
                .Where(pair => source.TryGetValue(pair.Key, out var twin) && !twin.shape.SequenceEqual(pair.Value.shape))
                .Select(pair =>
                    $"{pair.Key} is {Shapes.Describe(source[pair.Key])} there and {Shapes.Describe(pair.Value)} here"
                ),
        ];
        if (differences.Length > 0)
            throw new ArgumentException(
                $"The encoder of {other.Architecture} does not fit {Architecture}: {string.Join("; ", differences)}. Build both from configurations of the same sizes.",
                nameof(other)
            );
        using var guard = no_grad();
        foreach (var (name, parameter) in target)
            parameter.copy_(source[name]);
    }

    /// <inheritdoc/>
    public JsonObject ToHubConfig() => HubConfig();

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters() =>
        named_parameters()
            .SelectMany(pair => MultiHeadAttention.Separate(pair.name, pair.parameter))
            .ToDictionary(part => names.ToHub(part.Name), part => part.Value, StringComparer.Ordinal);

    /// <inheritdoc/>
    public string CanonicalName(string name) => names.Canonical(name);

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => names.IsHarmlessExtra(name);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> TiedNames => EncoderConfig.TieWordEmbeddings ? names.Tied : HubNames.NothingTied;

    /// <summary>The head: from the last hidden state [B, L, C] to the output, recording the features it has.</summary>
    private protected abstract Tensor Head(Tensor hidden, ForwardTrace? trace);

    /// <summary>True for a model whose inputs are [B, N, L], N choices an example, and whose output is [B, N].</summary>
    private protected virtual bool TakesChoices => false;

    private Tensor Chosen(Tensor output, long choices) => TakesChoices ? output.view(-1, choices) : output;

    /// <summary>The configuration as Hugging Face writes it, without what a loaded one held besides.</summary>
    private protected abstract JsonObject HubConfig();

    /// <summary>Starts and ends of answers as features, from scores [B, L, 2].</summary>
    private protected static void RecordSpans(Tensor scores, ForwardTrace? trace)
    {
        trace?.RecordFeature(StartLogits, scores.select(-1, 0));
        trace?.RecordFeature(EndLogits, scores.select(-1, 1));
    }

    /// <summary>The feature that holds a bare encoder's pooled first token, [B, C].</summary>
    public const string PoolerOutput = "pooler_output";

    /// <summary>The feature that holds the scores of an answer's first token, [B, L].</summary>
    public const string StartLogits = "start_logits";

    /// <summary>The feature that holds the scores of an answer's last token, [B, L].</summary>
    public const string EndLogits = "end_logits";

    private Dictionary<string, Parameter> EncoderParameters() =>
        named_parameters()
            .Where(pair =>
                pair.name.StartsWith(nameof(embeddings) + ".", StringComparison.Ordinal)
                || pair.name.StartsWith(nameof(encoder) + ".", StringComparison.Ordinal)
            )
            .ToDictionary(pair => pair.name, pair => pair.parameter, StringComparer.Ordinal);
}
