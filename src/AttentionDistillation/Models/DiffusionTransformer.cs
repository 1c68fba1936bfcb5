using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>What a diffusion transformer is conditioned on besides the time; everything a model was not built for must stay null.</summary>
public sealed record TransformerConditions
{
    /// <summary>No conditions.</summary>
    public static TransformerConditions None { get; } = new();

    /// <summary>Class numbers, int64 [B]; the number <see cref="DiffusionTransformerConfig.Classes"/> stands for "no class".</summary>
    public Tensor? ClassLabels { get; init; }

    /// <summary>The prompt's states, [B, S, context width].</summary>
    public Tensor? Context { get; init; }

    /// <summary>bool [B, S], true = real token; null when nothing is padded.</summary>
    public Tensor? ContextMask { get; init; }

    /// <summary>Added to the tokens before each block, one [B, L, C] per block (adapters, control branches); null for none.</summary>
    public IReadOnlyList<Tensor>? BlockFeatures { get; init; }

    /// <summary>The conditions that a batch holds, under diffusers' names.</summary>
    public static TransformerConditions Of(Batch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        Tensor? Find(string name) => batch.TryGet(name, out var tensor) ? tensor : null;
        return new()
        {
            ClassLabels = Find("class_labels"),
            Context = Find("encoder_hidden_states"),
            ContextMask = Find("encoder_attention_mask"),
        };
    }
}

/// <summary>
/// A diffusion transformer for images or videos: patches become tokens, blocks are modulated by time and class (adaLN-Zero), a prompt enters by
/// cross-attention (<c>DiTTransformer2DModel</c> in diffusers for class-conditional images).
/// </summary>
/// <remarks>
/// Traces number the attention layers in the order they run, in each block self ([B, H, L, L], L = T x rows x columns, frame by frame, row by row),
/// then cross ([B, H, L, S]) where there is a prompt. Hidden state 0 is the embedded tokens [B, L, C], hidden state k + 1 the residual stream after
/// attention layer k, the feed-forward included where it is the block's last. Feature <c>conditioning</c> is [B, C]: time and class.
/// </remarks>
public sealed class DiffusionTransformer : nn.Module<Tensor, Tensor, TransformerConditions, ForwardTrace?, Tensor>, IHubModel
{
    private readonly Conv2d patches;
    private readonly TimestepEmbedding timeEmbedding;
    private readonly Embedding? classEmbedding;
    private readonly Parameter? placeTable;
    private readonly Parameter? frameTable;
    private readonly ModuleList<DiffusionTransformerBlock> blocks;
    private readonly AdaptiveNorm? adaptiveOutputNorm;
    private readonly LayerNorm? outputNorm;
    private readonly Linear output;
    private readonly AxialRotary? rotary;

    /// <summary>Builds the model with weights drawn from a seed, modulations and output starting at zero.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public DiffusionTransformer(DiffusionTransformerConfig config, long seed)
        : this(config, SeededLayers.FanIn(seed)) { }

    internal DiffusionTransformer(DiffusionTransformerConfig config, SeededLayers layers)
        : base(nameof(DiffusionTransformer))
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        Config = config;
        long width = config.HiddenSize;
        patches = layers.Convolution(config.InputChannels, width, config.PatchSize, stride: config.PatchSize);
        timeEmbedding = new TimestepEmbedding(config.Time, width, layers);
        if (config.Classes > 0)
        {
            classEmbedding = layers.Embedding(config.Classes + 1, width);
            using var guard = no_grad();
            classEmbedding.weight!.mul_(config.ClassDeviation);
        }
        if (config.Positions == TokenPositions.Learned)
        {
            placeTable = layers.NormalParameter(config.PositionDeviation, config.Grid * config.Grid, width);
            if (config.Frames > 1)
                frameTable = layers.NormalParameter(config.FrameDeviation, config.Frames, width);
        }
        if (config.Positions == TokenPositions.Rotary)
            rotary = new AxialRotary(config.Frames, config.Grid, config.Grid, width / config.Heads);
        blocks = new ModuleList<DiffusionTransformerBlock>([
            .. Enumerable.Range(0, config.Layers).Select(number => new DiffusionTransformerBlock(config, number, rotary, layers)),
        ]);
        if (config.ModulatesOutput)
            adaptiveOutputNorm = new AdaptiveNorm(width, width, layers, config.NormEpsilon);
        else
            outputNorm = layers.LayerNorm(width, config.NormEpsilon);
        output = layers.ZeroLinear(width, config.PatchSize * config.PatchSize * config.OutputChannels);
        RegisterComponents();
        Attentions =
        [
            .. blocks.SelectMany(
                (block, number) =>
                    block.Attentions.Select(attention => new AttentionPlace(
                        attention.Layer,
                        $"transformer_blocks.{number}.{(attention.IsCross ? "attn2" : "attn1")}",
                        checked((int)config.PatchSize),
                        attention
                    ))
            ),
        ];
        Capabilities = new TraceCapabilities(nameof(DiffusionTransformer), Attentions.Count, ConditioningFeature)
        {
            Heads = (int)config.Heads,
            HiddenWidth = (int)width,
        };
    }

    /// <summary>The feature that holds the vector of time and class, [B, C].</summary>
    public const string ConditioningFeature = "conditioning";

    /// <summary>The configuration the model was built from.</summary>
    public DiffusionTransformerConfig Config { get; }

    /// <summary>Every attention layer in the order of its number, to be looked up, adapted or replaced.</summary>
    public IReadOnlyList<AttentionPlace> Attentions { get; }

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public string Architecture => DiffusionTransformerFormat.ClassName;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <summary>Predicts noise, velocity or the clean sample, whatever the model was trained for.</summary>
    /// <param name="sample">[B, input channels, H, W], or [B, input channels, T, H, W] of a video model.</param>
    /// <param name="times">[B] (or [1], for all alike).</param>
    /// <param name="conditions">Classes, prompt, added features.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>
    /// The sample's shape with the output channels. When the trace does not want the output, the pass ends after the block with the last thing
    /// recorded and an empty tensor ([0]) is returned.
    /// </returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a condition is missing or not known to the model.</exception>
    public override Tensor forward(Tensor sample, Tensor times, TransformerConditions conditions, ForwardTrace? trace)
    {
        Check(sample, times, conditions);
        using var scope = NewDisposeScope();
        var condition = timeEmbedding.call(times);
        if (classEmbedding is not null)
            condition = condition + classEmbedding.call(conditions.ClassLabels!);
        condition = condition.expand(sample.size(0), Config.HiddenSize);
        trace?.RecordFeature(ConditioningFeature, condition);
        var inputs = new DenoiserInputs(condition, conditions.Context, conditions.ContextMask, trace);
        long rows = sample.size(-2) / Config.PatchSize,
            columns = sample.size(-1) / Config.PatchSize;
        var hidden = Embed(sample, rows, columns);
        trace?.RecordHidden(0, hidden);
        int last = trace is { WantsOutput: false } ? trace.LastLayerNeeded : Attentions.Count - 1;
        int perBlock = Attentions.Count / blocks.Count;
        for (int number = 0; number * perBlock <= last; number++)
        {
            if (conditions.BlockFeatures is { } features)
                hidden = hidden + features[number];
            hidden = blocks[number].call(hidden, inputs);
        }
        trace?.MoveOut(scope);
        if (trace is { WantsOutput: false })
            return empty(0, dtype: sample.dtype, device: sample.device).MoveToOuterDisposeScope();
        var normed = adaptiveOutputNorm is not null ? adaptiveOutputNorm.call(hidden, condition) : outputNorm!.call(hidden);
        var prediction = Unpatch(output.Project(normed), rows, columns);
        trace?.RecordOutput(prediction);
        return prediction.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Runs the model on a batch's <c>sample</c>, <c>timestep</c> [B] and, under diffusers' names, <c>class_labels</c>,
    /// <c>encoder_hidden_states</c>, <c>encoder_attention_mask</c>; records into the trace.
    /// </summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch["sample"], batch["timestep"], TransformerConditions.Of(batch), trace);
    }

    /// <summary>Class numbers of which some are replaced by "no class", to train a model for classifier-free guidance.</summary>
    /// <param name="labels">int64 [B].</param>
    /// <param name="probability">How likely a label is dropped (DiT: 0.1).</param>
    /// <param name="generator">Draws; on the CPU.</param>
    public Tensor DropLabels(Tensor labels, double probability, Generator generator)
    {
        if (Config.Classes == 0)
            throw new InvalidOperationException("The model knows no classes.");
        using var scope = NewDisposeScope();
        var drop = rand(labels.size(0), generator: generator).lt(probability).to(labels.device);
        return labels.masked_fill(drop, Config.Classes).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// A video model with this image model's weights and full attention over all frames; the frames' vectors (or angles) are new, drawn from the seed.
    /// </summary>
    /// <param name="frames">T, 2 or more.</param>
    /// <param name="seed">Seed of the frames' vectors.</param>
    /// <exception cref="InvalidOperationException">The model is a video model already.</exception>
    public DiffusionTransformer Inflate(long frames, long seed)
    {
        if (Config.Frames > 1)
            throw new InvalidOperationException($"The model has {Config.Frames} frames already.");
        var video = new DiffusionTransformer(Config with { Frames = frames }, seed);
        using var guard = no_grad();
        var own = named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter, StringComparer.Ordinal);
        foreach (var (name, parameter) in video.named_parameters())
            if (own.TryGetValue(name, out var source))
                parameter.copy_(source);
        return video;
    }

    /// <inheritdoc/>
    public JsonObject ToHubConfig() => DiffusionTransformerFormat.Write(Config);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters() =>
        DiffusionTransformerFormat.Parameters(Config, named_parameters());

    /// <inheritdoc/>
    public string CanonicalName(string name) => name;

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => name == DiffusionTransformerFormat.PositionBuffer;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> TiedNames => DiffusionTransformerFormat.Tied(Config);

    private Tensor Embed(Tensor sample, long rows, long columns)
    {
        using var scope = NewDisposeScope();
        var images = sample.dim() == 5 ? sample.transpose(1, 2).flatten(0, 1) : sample;
        var tokens = SpatialTransformer
            .Tokens(ImageLayout.Convolve(patches, images))
            .reshape(sample.size(0), -1, Config.HiddenSize);
        if (placeTable is not null)
        {
            var places = placeTable.unsqueeze(0);
            if (frameTable is not null)
                places = places + frameTable.unsqueeze(1);
            tokens = tokens + places.flatten(0, 1);
        }
        else if (Config.Positions == TokenPositions.SineCosine)
        {
            var places =
                Config.Frames > 1
                    ? SineCosinePositions.Video(Config.Frames, rows, columns, Config.HiddenSize)
                    : SineCosinePositions.Image(rows, columns, Config.HiddenSize, Config.Grid, Config.Grid);
            tokens = tokens + places.to(tokens.dtype).to(tokens.device);
        }
        return tokens.MoveToOuterDisposeScope();
    }

    // [B, L, p p channels] to [B, channels, (T,) rows p, columns p].
    private Tensor Unpatch(Tensor tokens, long rows, long columns)
    {
        using var scope = NewDisposeScope();
        long patch = Config.PatchSize,
            channels = Config.OutputChannels;
        var pixels = tokens
            .view(-1, Config.Frames, rows, columns, patch, patch, channels)
            .permute(0, 6, 1, 2, 4, 3, 5)
            .reshape(tokens.size(0), channels, Config.Frames, rows * patch, columns * patch);
        return (Config.Frames > 1 ? pixels : pixels.squeeze(2)).MoveToOuterDisposeScope();
    }

    private void Check(Tensor sample, Tensor times, TransformerConditions conditions)
    {
        ArgumentNullException.ThrowIfNull(conditions);
        if (Config.Frames > 1)
            Shapes.RequireExact(sample, [-1, Config.InputChannels, Config.Frames, -1, -1]);
        else
            Shapes.RequireExact(sample, [-1, Config.InputChannels, -1, -1]);
        Shapes.RequireExact(times, [-1]);
        if (times.size(0) != sample.size(0) && times.size(0) != 1)
            throw new ArgumentException(
                $"There are {times.size(0)} times for {sample.size(0)} samples: give one each, or one for all."
            );
        bool isUsual = sample.size(-2) == Config.SampleSize && sample.size(-1) == Config.SampleSize;
        if (!isUsual && Config.Positions != TokenPositions.SineCosine)
            throw new ArgumentException(
                $"With {Config.Positions} positions samples must be {Config.SampleSize} x {Config.SampleSize}, but the sample is {Shapes.Describe(sample)}."
            );
        if (sample.size(-2) % Config.PatchSize != 0 || sample.size(-1) % Config.PatchSize != 0)
            throw new ArgumentException(
                $"Patches of {Config.PatchSize} must divide height and width, but the sample is {Shapes.Describe(sample)}."
            );
        Require(conditions.ClassLabels, Config.Classes > 0, nameof(conditions.ClassLabels), "int64 [B]");
        Require(
            conditions.Context,
            Config.ContextWidth is not null,
            nameof(conditions.Context),
            $"[B, S, {Config.ContextWidth}]"
        );
        if (conditions.Context is { } context)
            Shapes.RequireExact(context, [sample.size(0), -1, Config.ContextWidth!.Value]);
        if (conditions.BlockFeatures is { } features && features.Count != blocks.Count)
            throw new ArgumentException(
                $"{nameof(TransformerConditions)}.{nameof(conditions.BlockFeatures)} must hold {blocks.Count} tensors, but holds {features.Count}."
            );
    }

    private static void Require(Tensor? tensor, bool isNeeded, string name, string shape)
    {
        if (tensor is null == isNeeded)
            throw new ArgumentException(
                isNeeded
                    ? $"The model needs {nameof(TransformerConditions)}.{name}, {shape}."
                    : $"The model was built without {nameof(TransformerConditions)}.{name}: leave it null."
            );
    }
}
