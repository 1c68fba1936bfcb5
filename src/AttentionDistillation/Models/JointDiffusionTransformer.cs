using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>What a joint diffusion transformer is conditioned on besides the time.</summary>
/// <param name="Context">The prompt's states, [B, S, context width].</param>
/// <param name="Pooled">The pooled prompt, [B, pooled width].</param>
/// <param name="ContextMask">bool [B, S], true = real token; null when nothing is padded (Stable Diffusion 3 attends to its padding).</param>
public sealed record JointConditions(Tensor Context, Tensor Pooled, Tensor? ContextMask);

/// <summary>
/// A diffusion transformer in which image and text tokens attend to each other in both directions (<c>SD3Transformer2DModel</c> in diffusers).
/// </summary>
/// <remarks>
/// A trace's attention layer k is block k's one attention, [B, H, L + S, L + S], the L image tokens first (row by row), then the S text tokens.
/// Hidden state 0 is the embedded image [B, L, C], hidden state k + 1 the image stream after block k. Feature <c>conditioning</c> is [B, C].
/// </remarks>
public sealed class JointDiffusionTransformer : nn.Module<Tensor, Tensor, JointConditions, ForwardTrace?, Tensor>, IHubModel
{
    private readonly Conv2d patches;
    private readonly Tensor places;
    private readonly TimestepEmbedding timeEmbedding;
    private readonly VectorEmbedding textEmbedding;
    private readonly Linear contextEmbedding;
    private readonly ModuleList<JointTransformerBlock> blocks;
    private readonly AdaptiveNorm outputNorm;
    private readonly Linear output;

    /// <summary>Builds the model with weights drawn from a seed, modulations and output starting at zero.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public JointDiffusionTransformer(JointDiffusionTransformerConfig config, long seed)
        : this(config, SeededLayers.FanIn(seed)) { }

    internal JointDiffusionTransformer(JointDiffusionTransformerConfig config, SeededLayers layers)
        : base(nameof(JointDiffusionTransformer))
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        Config = config;
        long width = config.HiddenSize,
            grid = config.SampleSize / config.PatchSize;
        patches = layers.Convolution(config.InputChannels, width, config.PatchSize, stride: config.PatchSize);
        places = PlacesOf(config, grid, layers).DetachFromDisposeScope();
        timeEmbedding = new TimestepEmbedding(config.Time, width, layers);
        textEmbedding = new VectorEmbedding(config.PooledWidth, width, layers);
        contextEmbedding = layers.Linear(config.ContextWidth, width);
        blocks = new ModuleList<JointTransformerBlock>([
            .. Enumerable.Range(0, config.Layers).Select(number => new JointTransformerBlock(config, number, layers)),
        ]);
        outputNorm = new AdaptiveNorm(width, width, layers, config.NormEpsilon, scaleFirst: true);
        output = layers.ZeroLinear(width, config.PatchSize * config.PatchSize * config.OutputChannels);
        RegisterComponents();
        Capabilities = new TraceCapabilities(Architecture, config.Layers, DiffusionTransformer.ConditioningFeature)
        {
            Heads = (int)config.Heads,
            HiddenWidth = (int)width,
        };
    }

    /// <summary>The configuration the model was built from.</summary>
    public JointDiffusionTransformerConfig Config { get; }

    /// <summary>The blocks, whose mixing can be replaced.</summary>
    public IEnumerable<JointTransformerBlock> Blocks => blocks;

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public string Architecture => JointDiffusionTransformerFormat.ClassName;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <summary>Predicts the velocity of a rectified flow (or whatever the model was trained for).</summary>
    /// <param name="sample">[B, input channels, H, W].</param>
    /// <param name="times">[B] (or [1]), in the units the model was trained with: steps of 0 to 1000.</param>
    /// <param name="conditions">The prompt.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>
    /// [B, output channels, H, W]. When the trace does not want the output, the pass ends after the block with the last thing recorded and an
    /// empty tensor ([0]) is returned.
    /// </returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public override Tensor forward(Tensor sample, Tensor times, JointConditions conditions, ForwardTrace? trace)
    {
        ArgumentNullException.ThrowIfNull(conditions);
        Shapes.RequireExact(sample, [-1, Config.InputChannels, -1, -1]);
        Shapes.RequireExact(times, [-1]);
        Shapes.RequireExact(conditions.Context, [sample.size(0), -1, Config.ContextWidth]);
        Shapes.RequireExact(conditions.Pooled, [sample.size(0), Config.PooledWidth]);
        using var scope = NewDisposeScope();
        long patch = Config.PatchSize,
            rows = sample.size(2) / patch,
            columns = sample.size(3) / patch;
        var image = SpatialTransformer.Tokens(ImageLayout.Convolve(patches, sample)) + Middle(sample, rows, columns);
        var condition = timeEmbedding.call(times) + textEmbedding.call(conditions.Pooled);
        trace?.RecordFeature(DiffusionTransformer.ConditioningFeature, condition);
        trace?.RecordHidden(0, image);
        var inputs = new DenoiserInputs(condition, null, conditions.ContextMask, trace);
        Tensor? text = contextEmbedding.Project(conditions.Context);
        int last = trace is { WantsOutput: false } ? trace.LastLayerNeeded : blocks.Count - 1;
        for (int number = 0; number <= last; number++)
            (image, text) = blocks[number].call(image, text!, inputs);
        trace?.MoveOut(scope);
        if (trace is { WantsOutput: false })
            return empty(0, dtype: sample.dtype, device: sample.device).MoveToOuterDisposeScope();
        var prediction = output
            .Project(outputNorm.call(image, condition))
            .view(-1, rows, columns, patch, patch, Config.OutputChannels)
            .permute(0, 5, 1, 3, 2, 4)
            .reshape(sample.size(0), Config.OutputChannels, rows * patch, columns * patch);
        trace?.RecordOutput(prediction);
        return prediction.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Runs the model on a batch's <c>sample</c>, <c>timestep</c>, <c>encoder_hidden_states</c>, <c>pooled_projections</c> and, if there is one,
    /// <c>encoder_attention_mask</c>; records into the trace.
    /// </summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        var mask = batch.TryGet("encoder_attention_mask", out var given) ? given : null;
        var conditions = new JointConditions(batch["encoder_hidden_states"], batch["pooled_projections"], mask);
        call(batch["sample"], batch["timestep"], conditions, trace);
    }

    /// <inheritdoc/>
    public JsonObject ToHubConfig() => JointDiffusionTransformerFormat.Write(Config);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters() =>
        named_parameters()
            .Select(pair => (pair.name, Value: (Tensor)pair.parameter))
            .Append((name: nameof(places), Value: get_buffer(nameof(places))!))
            .ToDictionary(pair => JointDiffusionTransformerFormat.ToHub(pair.name), pair => pair.Value, StringComparer.Ordinal);

    /// <inheritdoc/>
    public string CanonicalName(string name) => name;

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => false;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> TiedNames => HubNames.NothingTied;

    // The middle of the table, as the model was trained with crops of it.
    private Tensor Middle(Tensor sample, long rows, long columns)
    {
        if (
            rows > Config.PositionGrid
            || columns > Config.PositionGrid
            || sample.size(2) % Config.PatchSize != 0
            || sample.size(3) % Config.PatchSize != 0
        )
            throw new ArgumentException(
                $"Patches of {Config.PatchSize} must divide height and width, and give at most {Config.PositionGrid} rows and columns, but the sample is {Shapes.Describe(sample)}."
            );
        return get_buffer(nameof(places))!
            .view(Config.PositionGrid, Config.PositionGrid, Config.HiddenSize)
            .narrow(0, (Config.PositionGrid - rows) / 2, rows)
            .narrow(1, (Config.PositionGrid - columns) / 2, columns)
            .reshape(1, rows * columns, Config.HiddenSize);
    }

    private static Tensor PlacesOf(JointDiffusionTransformerConfig config, long grid, SeededLayers layers)
    {
        if (layers.Device.type == DeviceType.META)
            return layers.ZeroParameter(1, config.PositionGrid * config.PositionGrid, config.HiddenSize).detach();
        return SineCosinePositions
            .Image(config.PositionGrid, config.PositionGrid, config.HiddenSize, grid, grid)
            .unsqueeze(0)
            .to(layers.Type)
            .to(layers.Device);
    }
}
