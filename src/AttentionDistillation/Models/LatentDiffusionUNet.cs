using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>What a latent-diffusion U-Net is conditioned on besides the time; everything a model was not built for must stay null.</summary>
public sealed record UNetConditions
{
    /// <summary>No conditions, for a model without prompt.</summary>
    public static UNetConditions None { get; } = new();

    /// <summary>The prompt's states, [B, S, context width].</summary>
    public Tensor? Context { get; init; }

    /// <summary>bool [B, S], true = real token; null when nothing is padded (Stable Diffusion attends to its padding).</summary>
    public Tensor? ContextMask { get; init; }

    /// <summary>Class numbers, int64 [B].</summary>
    public Tensor? ClassLabels { get; init; }

    /// <summary>Pooled text, [B, pooled width] (SDXL).</summary>
    public Tensor? PooledText { get; init; }

    /// <summary>Original size, crop and target size, [B, time ids] (SDXL).</summary>
    public Tensor? TimeIds { get; init; }

    /// <summary>Added to the skip connections, one tensor each in the order they are made (ControlNet); null for none.</summary>
    public IReadOnlyList<Tensor>? SkipResiduals { get; init; }

    /// <summary>Added to the middle's output, [B, C, h, w] (ControlNet); null for none.</summary>
    public Tensor? MiddleResidual { get; init; }

    /// <summary>Added inside each stage on the way down, one tensor per level (T2I-Adapter); null for none.</summary>
    public IReadOnlyList<Tensor>? StageFeatures { get; init; }

    /// <summary>The conditions that a batch holds, under diffusers' names.</summary>
    public static UNetConditions Of(Batch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        Tensor? Find(string name) => batch.TryGet(name, out var tensor) ? tensor : null;
        return new()
        {
            Context = Find("encoder_hidden_states"),
            ContextMask = Find("encoder_attention_mask"),
            ClassLabels = Find("class_labels"),
            PooledText = Find("text_embeds"),
            TimeIds = Find("time_ids"),
        };
    }
}

/// <summary>
/// The U-Net of latent diffusion with self-attention and cross-attention (<c>UNet2DConditionModel</c> in diffusers).
/// </summary>
/// <remarks>
/// Traces number the attention layers in the order they run: down, middle, up; in each transformer block first self (from H W image tokens to
/// themselves, [B, H, H W, H W]), then cross ([B, H, H W, S]); <see cref="Attentions"/> lists them with their names and grids. Hidden state 0 is
/// the first convolution's output as tokens [B, H W, C], hidden state k + 1 the residual stream after attention layer k. Features, [B, C, H, W]:
/// <c>down_blocks.N</c> (the stage's output, halved but for the last), <c>mid_block</c>, <c>up_blocks.N</c>; <c>time_embedding</c> is [B, 4 C].
/// </remarks>
public sealed class LatentDiffusionUNet : nn.Module<Tensor, Tensor, UNetConditions, ForwardTrace?, Tensor>, IHubModel
{
    private const string MiddleName = "mid_block";

    private readonly Conv2d inputConvolution;
    private readonly TimestepEmbedding timeEmbedding;
    private readonly Embedding? classEmbedding;
    private readonly VectorEmbedding? addedEmbedding;
    private readonly ModuleList<DownStage> downStages;
    private readonly MiddleStage? middleStage;
    private readonly ModuleList<UpStage> upStages;
    private readonly GroupNorm outputNorm;
    private readonly Conv2d outputConvolution;
    private readonly Func<Tensor, Tensor> activation;

    /// <summary>Builds the model with weights drawn from a seed, as PyTorch's defaults draw them.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public LatentDiffusionUNet(LatentDiffusionUNetConfig config, long seed)
        : this(config, SeededLayers.FanIn(seed)) { }

    internal LatentDiffusionUNet(LatentDiffusionUNetConfig config, SeededLayers layers)
        : base(nameof(LatentDiffusionUNet))
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        Config = config;
        activation = Activation.Find(config.ActivationName);
        var levels = config.Levels;
        inputConvolution = layers.Convolution(config.InputChannels, levels[0].Channels, 3, padding: 1);
        timeEmbedding = new TimestepEmbedding(config.Time, config.TimeWidth, layers, config.ActivationName);
        classEmbedding = config.Classes > 0 ? layers.Embedding(config.Classes, config.TimeWidth) : null;
        addedEmbedding =
            config.PooledTextWidth > 0
                ? new VectorEmbedding(config.PooledTextWidth + config.TimeIdCount * config.TimeIdWidth, config.TimeWidth, layers)
                : null;
        var skips = new Stack<long>([levels[0].Channels]);
        int layer = 0;
        StagePlace Next(UNetLevel level, int blocks, bool isLast)
        {
            var place = new StagePlace(level, layer, isLast);
            layer += blocks * place.AttentionsPerBlock(config);
            return place;
        }
        var down = new List<DownStage>();
        for (int number = 0; number < levels.Count; number++)
        {
            var place = Next(levels[number], levels[number].ResidualBlocks, number == levels.Count - 1);
            down.Add(new DownStage(config, place, levels[Math.Max(number - 1, 0)].Channels, layers));
            for (int block = 0; block < levels[number].ResidualBlocks + (place.IsLast ? 0 : 1); block++)
                skips.Push(levels[number].Channels);
        }
        downStages = new ModuleList<DownStage>([.. down]);
        middleStage = config.MiddleDepth is { } depth
            ? new MiddleStage(config, Next(levels[^1] with { TransformerDepth = depth }, 1, true), layers)
            : null;
        var up = new List<UpStage>();
        for (int number = levels.Count - 1; number >= 0; number--)
        {
            int blocks = levels[number].ResidualBlocks + 1;
            long[] joined = [.. Enumerable.Range(0, blocks).Select(_ => skips.Pop())];
            long input = levels[Math.Min(number + 1, levels.Count - 1)].Channels;
            up.Add(new UpStage(config, Next(levels[number], blocks, number == 0), input, joined, layers));
        }
        upStages = new ModuleList<UpStage>([.. up]);
        outputNorm = layers.GroupNorm(config.NormGroups, levels[0].Channels, config.NormEpsilon);
        outputConvolution = layers.Convolution(levels[0].Channels, config.OutputChannels, 3, padding: 1);
        RegisterComponents();
        Attentions = [.. ListAttentions()];
        StageNames =
        [
            .. Enumerable.Range(0, levels.Count).Select(number => $"down_blocks.{number}"),
            .. middleStage is null ? Array.Empty<string>() : [MiddleName],
            .. Enumerable.Range(0, levels.Count).Select(number => $"up_blocks.{number}"),
        ];
        Capabilities = new TraceCapabilities(Architecture, layer, [TimeFeature, .. StageNames]);
    }

    /// <summary>The feature that holds the time's vector, what is added to it included, [B, 4 C].</summary>
    public const string TimeFeature = "time_embedding";

    /// <summary>The configuration the model was built from.</summary>
    public LatentDiffusionUNetConfig Config { get; }

    /// <summary>Every attention layer in the order of its number, to be looked up, adapted or replaced.</summary>
    public IReadOnlyList<AttentionPlace> Attentions { get; }

    /// <summary>Names of the stages, which are also features.</summary>
    public IReadOnlyList<string> StageNames { get; }

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public string Architecture => "UNet2DConditionModel";

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <summary>Predicts noise, velocity or the clean image, whatever the model was trained for.</summary>
    /// <param name="sample">[B, input channels, H, W]; H and W of any size of at least 2^(levels - 1).</param>
    /// <param name="times">[B] (or [1], for all alike), whole numbers or not.</param>
    /// <param name="conditions">Prompt, classes, added features.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>
    /// [B, output channels, H, W]. When the trace does not want the output, the pass ends after the stage with the last thing recorded and an
    /// empty tensor ([0]) is returned.
    /// </returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a condition is missing or not known to the model.</exception>
    public override Tensor forward(Tensor sample, Tensor times, UNetConditions conditions, ForwardTrace? trace)
    {
        Check(sample, times, conditions);
        using var scope = NewDisposeScope();
        var time = TimeVector(sample, times, conditions);
        trace?.RecordFeature(TimeFeature, time);
        var inputs = new DenoiserInputs(time, conditions.Context, conditions.ContextMask, trace);
        var image = ImageLayout.Convolve(inputConvolution, sample);
        if (trace?.WantsHidden(0) == true)
            trace.RecordHidden(0, SpatialTransformer.Tokens(image));
        var run = new StageRun(this, trace, scope);
        var skips = new List<Tensor> { image };
        for (int number = 0; number < downStages.Count; number++)
        {
            if (run.IsOver(skips.Count == 1 ? -1 : LastLayer(number - 1)))
                return run.Stop(sample);
            var outputs = downStages[number].call(image, conditions.StageFeatures?[number], inputs);
            image = outputs[^1];
            skips.AddRange(outputs);
            trace?.RecordFeature(StageNames[number], image);
        }
        AddResiduals(skips, conditions.SkipResiduals);
        if (run.IsOver(LastLayer(downStages.Count - 1)))
            return run.Stop(sample);
        int stage = downStages.Count;
        if (middleStage is not null)
        {
            image = middleStage.call(image, inputs);
            if (conditions.MiddleResidual is { } residual)
                image = image + residual;
            trace?.RecordFeature(StageNames[stage], image);
            stage++;
        }
        for (int number = 0; number < upStages.Count; number++, stage++)
        {
            if (run.IsOver(LastLayer(stage - 1)))
                return run.Stop(sample);
            int count = Config.Levels[^(number + 1)].ResidualBlocks + 1;
            Tensor[] joined = [.. skips.TakeLast(count).Reverse()];
            skips.RemoveRange(skips.Count - count, count);
            long[] size = skips.Count == 0 ? [] : [skips[^1].size(2), skips[^1].size(3)];
            image = upStages[number].call(image, joined, size, inputs);
            trace?.RecordFeature(StageNames[stage], image);
        }
        var output = ImageLayout.Convolve(outputConvolution, activation(outputNorm.call(image)));
        if (trace?.WantsOutput == true)
            trace.RecordOutput(output);
        trace?.MoveOut(scope);
        return output.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Runs the model on a batch's <c>sample</c> [B, C, H, W], <c>timestep</c> [B] and, under diffusers' names, <c>encoder_hidden_states</c>,
    /// <c>encoder_attention_mask</c>, <c>class_labels</c>, <c>text_embeds</c>, <c>time_ids</c>; records into the trace.
    /// </summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch["sample"], batch["timestep"], UNetConditions.Of(batch), trace);
    }

    /// <inheritdoc/>
    public JsonObject ToHubConfig() => LatentDiffusionFormat.Write(Config);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters() =>
        named_parameters()
            .ToDictionary(pair => LatentDiffusionFormat.ToHub(pair.name), pair => (Tensor)pair.parameter, StringComparer.Ordinal);

    /// <inheritdoc/>
    public string CanonicalName(string name) => name;

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => false;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> TiedNames => HubNames.NothingTied;

    private int SkipsOf(int number) => Config.Levels[number].ResidualBlocks + (number == downStages.Count - 1 ? 0 : 1);

    private int LastLayer(int stage) =>
        Attentions
            .Where(place => StageNames.Take(stage + 1).Any(name => place.Name.StartsWith(name + ".", StringComparison.Ordinal)))
            .Select(place => place.Layer)
            .DefaultIfEmpty(-1)
            .Max();

    private Tensor TimeVector(Tensor sample, Tensor times, UNetConditions conditions)
    {
        using var scope = NewDisposeScope();
        var time = timeEmbedding.call(times);
        if (classEmbedding is not null)
            time = time + classEmbedding.call(conditions.ClassLabels!);
        if (addedEmbedding is not null)
        {
            var sinusoid = new SinusoidalTime(Config.TimeIdWidth, Config.FlipSineToCosine, Config.FrequencyShift);
            var ids = sinusoid.Of(conditions.TimeIds!.flatten(), time.dtype).view(conditions.TimeIds!.size(0), -1);
            time = time + addedEmbedding.call(cat([conditions.PooledText!, ids], -1));
        }
        return time.expand(sample.size(0), time.size(1)).MoveToOuterDisposeScope();
    }

    private static void AddResiduals(List<Tensor> skips, IReadOnlyList<Tensor>? residuals)
    {
        for (int number = 0; residuals is not null && number < skips.Count; number++)
            skips[number] = skips[number] + residuals[number];
    }

    private void Check(Tensor sample, Tensor times, UNetConditions conditions)
    {
        ArgumentNullException.ThrowIfNull(conditions);
        Shapes.RequireExact(sample, [-1, Config.InputChannels, -1, -1]);
        Shapes.RequireExact(times, [-1]);
        if (times.size(0) != sample.size(0) && times.size(0) != 1)
            throw new ArgumentException(
                $"There are {times.size(0)} times for {sample.size(0)} samples: give one each, or one for all."
            );
        long least = 1L << (Config.Levels.Count - 1);
        if (sample.size(2) < least || sample.size(3) < least)
            throw new ArgumentException(
                $"The model halves its input {Config.Levels.Count - 1} times, so height and width must be {least} or more, but the sample is {Shapes.Describe(sample)}."
            );
        Require(
            conditions.Context,
            Config.ContextWidth is not null,
            nameof(conditions.Context),
            $"[B, S, {Config.ContextWidth}]"
        );
        Require(conditions.ClassLabels, Config.Classes > 0, nameof(conditions.ClassLabels), "int64 [B]");
        Require(
            conditions.PooledText,
            Config.PooledTextWidth > 0,
            nameof(conditions.PooledText),
            $"[B, {Config.PooledTextWidth}]"
        );
        Require(conditions.TimeIds, Config.TimeIdCount > 0, nameof(conditions.TimeIds), $"[B, {Config.TimeIdCount}]");
        if (conditions.Context is { } context)
            Shapes.RequireExact(context, [sample.size(0), -1, Config.ContextWidth!.Value]);
        RequireCount(conditions.StageFeatures, downStages.Count, nameof(conditions.StageFeatures));
        int skips = 1 + Enumerable.Range(0, downStages.Count).Sum(SkipsOf);
        RequireCount(conditions.SkipResiduals, skips, nameof(conditions.SkipResiduals));
        if (conditions.MiddleResidual is not null && middleStage is null)
            throw new ArgumentException("The model has no middle, so nothing can be added to it.");
    }

    private static void Require(Tensor? tensor, bool isNeeded, string name, string shape)
    {
        if (tensor is null == isNeeded)
            throw new ArgumentException(
                isNeeded
                    ? $"The model needs {nameof(UNetConditions)}.{name}, {shape}."
                    : $"The model was built without {nameof(UNetConditions)}.{name}: leave it null."
            );
    }

    private static void RequireCount(IReadOnlyList<Tensor>? tensors, int count, string name)
    {
        if (tensors is not null && tensors.Count != count)
            throw new ArgumentException($"{nameof(UNetConditions)}.{name} must hold {count} tensors, but holds {tensors.Count}.");
    }

    private IEnumerable<AttentionPlace> ListAttentions()
    {
        var stages = downStages
            .Select((stage, number) => (Name: $"down_blocks.{number}", stage.Transformers, Reduction: 1 << number))
            .Concat(
                middleStage is null ? [] : [(Name: MiddleName, middleStage.Transformers, Reduction: 1 << (downStages.Count - 1))]
            )
            .Concat(
                upStages.Select(
                    (stage, number) =>
                        (Name: $"up_blocks.{number}", stage.Transformers, Reduction: 1 << (upStages.Count - 1 - number))
                )
            );
        foreach (var stage in stages)
        foreach (var (transformer, number) in stage.Transformers.Select((transformer, number) => (transformer, number)))
        foreach (var (block, depth) in transformer.Blocks.Select((block, depth) => (block, depth)))
        foreach (var attention in block.Attentions)
        {
            string name =
                $"{stage.Name}.attentions.{number}.transformer_blocks.{depth}.{(attention.IsCross ? "attn2" : "attn1")}";
            yield return new AttentionPlace(attention.Layer, name, stage.Reduction, attention);
        }
    }

    /// <summary>Whether a pass that nobody wants the output of has recorded everything.</summary>
    private sealed class StageRun(LatentDiffusionUNet model, ForwardTrace? trace, DisposeScope scope)
    {
        private readonly bool mayStop = trace is { WantsOutput: false } && !model.Capabilities.Features.Any(trace.WantsFeature);

        public bool IsOver(int lastLayer) => mayStop && lastLayer >= trace!.LastLayerNeeded;

        public Tensor Stop(Tensor sample)
        {
            trace!.MoveOut(scope);
            return empty(0, dtype: sample.dtype, device: sample.device).MoveToOuterDisposeScope();
        }
    }
}
