using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>
/// CLIP's text tower: causal pre-norm layers and a final norm. Its output is the normalised last hidden state [B, L, C]; the feature
/// <c>pooler_output</c> is that state at the token that ends the text, [B, C].
/// </summary>
public sealed class ClipTextTower : nn.Module<Tensor, Tensor?, ForwardTrace?, Tensor>, ITracedModel
{
    private readonly Embedding tokens;
    private readonly Embedding positions;
    private readonly ModuleList<PreNormLayer> layers;
    private readonly LayerNorm norm;
    private readonly long endToken;

    internal ClipTextTower(ClipTextConfig config, SeededLayers make, string model)
        : base(nameof(ClipTextTower))
    {
        config.Validate();
        Config = config;
        endToken = config.EndToken;
        tokens = make.Embedding(config.VocabularySize, config.HiddenSize);
        positions = make.Embedding(config.MaximumPositions, config.HiddenSize);
        var options = config.LayerOptions(isCausal: true);
        layers = new ModuleList<PreNormLayer>([
            .. Enumerable.Range(0, config.Layers).Select(number => new PreNormLayer(options, make, number)),
        ]);
        norm = make.LayerNorm(config.HiddenSize, config.NormEpsilon);
        Capabilities = ClipInitialisation.Describe(config, model);
        RegisterComponents();
        ClipInitialisation.Apply(this, config);
    }

    /// <summary>The configuration the tower was built from.</summary>
    public ClipTextConfig Config { get; }

    /// <inheritdoc/>
    public TraceCapabilities Capabilities { get; }

    /// <summary>Runs the tower.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="mask">bool [B, L] (or numbers, 0 = padding), true = real token; null when nothing is padded.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>[B, L, C]; empty ([0]) when the trace wants neither output nor features.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the text is too long.</exception>
    public override Tensor forward(Tensor inputIds, Tensor? mask, ForwardTrace? trace)
    {
        Shapes.Require(inputIds, "[B, L]");
        if (mask is not null)
            Shapes.RequireExact(mask, inputIds.shape);
        long length = inputIds.size(1);
        if (length > Config.MaximumPositions)
            throw new ArgumentException(
                $"The text has {length} tokens, but the model has positions for {Config.MaximumPositions}. Truncate it, keeping its end token.",
                nameof(inputIds)
            );
        using var scope = NewDisposeScope();
        var keep = mask is null || mask.dtype == ScalarType.Bool ? mask : mask.ne(0);
        var places = arange(length, dtype: ScalarType.Int64, device: inputIds.device).unsqueeze(0);
        var embedded = tokens.call(inputIds) + positions.call(places);
        var hidden = LayerStack.Run(layers, embedded, keep, trace);
        var output = empty(0, dtype: embedded.dtype, device: embedded.device);
        if (trace is null || trace.RunsToTheEnd)
        {
            output = norm.call(hidden);
            if (trace?.WantsFeature(ClipModel.PoolerOutput) == true)
                trace.RecordFeature(ClipModel.PoolerOutput, Pool(output, inputIds));
        }
        return ForwardTrace.End(trace, scope, output);
    }

    /// <summary>Runs the tower on a batch's token numbers and mask.</summary>
    public void Run(Batch batch, ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(trace);
        call(batch.InputIds, batch.Mask, trace);
    }

    /// <summary>The state that stands for each text.</summary>
    /// <param name="hidden">The normalised last hidden state [B, L, C].</param>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <returns>[B, C]: at the first end token, or, with the legacy end token 2, at the highest token number.</returns>
    public Tensor Pool(Tensor hidden, Tensor inputIds)
    {
        using var scope = NewDisposeScope();
        var mark = endToken == ClipTextConfig.LegacyEndToken ? inputIds : inputIds.eq(endToken).to(ScalarType.Int32);
        var place = mark.argmax(-1).view(-1, 1, 1).expand(-1, 1, hidden.size(2));
        return hidden.gather(1, place).squeeze(1).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// CLIP's vision tower: a ViT with a norm before its layers. Its output is the last hidden state [B, L, C], not normalised; the feature
/// <c>pooler_output</c> is its class token, normalised, [B, C].
/// </summary>
public sealed class ClipVisionTower : ImageModel
{
    private readonly VisionEmbeddings embeddings;
    private readonly LayerNorm embeddingNorm;
    private readonly ModuleList<PreNormLayer> layers;
    private readonly LayerNorm poolerNorm;

    internal ClipVisionTower(ClipVisionConfig config, SeededLayers make, string model)
        : base(ClipInitialisation.Describe(config, model), config.Channels)
    {
        config.Validate();
        Config = config;
        embeddings = new VisionEmbeddings(
            config.ImageSize,
            config.Channels,
            config.PatchSize,
            config.HiddenSize,
            make,
            config.InitializerRange * config.InitializerFactor,
            config.InterpolatesPositions,
            patchBias: false
        );
        embeddingNorm = make.LayerNorm(config.HiddenSize, config.NormEpsilon);
        var options = config.LayerOptions(isCausal: false);
        layers = new ModuleList<PreNormLayer>([
            .. Enumerable.Range(0, config.Layers).Select(number => new PreNormLayer(options, make, number)),
        ]);
        poolerNorm = make.LayerNorm(config.HiddenSize, config.NormEpsilon);
        RegisterComponents();
        ClipInitialisation.Apply(this, config);
    }

    /// <summary>The configuration the tower was built from.</summary>
    public ClipVisionConfig Config { get; }

    /// <summary>The state that stands for each image: the class token, normalised.</summary>
    /// <param name="hidden">The last hidden state [B, L, C].</param>
    /// <returns>[B, C].</returns>
    public Tensor Pool(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        return poolerNorm.call(hidden.select(1, 0)).MoveToOuterDisposeScope();
    }

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        var hidden = LayerStack.Run(layers, embeddingNorm.call(embeddings.call(images)), null, trace);
        if (trace is not null && !trace.RunsToTheEnd)
            return Nothing(images);
        if (trace?.WantsFeature(ClipModel.PoolerOutput) == true)
            trace.RecordFeature(ClipModel.PoolerOutput, Pool(hidden));
        return hidden;
    }
}

/// <summary>The initial weights of CLIP's towers (transformers' rules, after section 2.4 of the paper): smaller the deeper the tower.</summary>
internal static class ClipInitialisation
{
    public static TraceCapabilities Describe(ClipTowerConfig config, string model) =>
        new(model, config.Layers, ClipModel.PoolerOutput) { Heads = (int)config.Heads, HiddenWidth = (int)config.HiddenSize };

    /// <summary>The standard deviation that a tower's layers are made with, before <see cref="Apply"/>.</summary>
    public static double Drawn(ClipTowerConfig config) => config.InitializerRange * config.InitializerFactor;

    /// <summary>Brings weights drawn with <see cref="Drawn"/> to the deviations of their kind.</summary>
    public static void Apply(nn.Module tower, ClipTowerConfig config)
    {
        double drawn = Drawn(config);
        if (drawn == 0.0)
            return;
        double outer = Math.Pow(config.HiddenSize, -0.5) * config.InitializerFactor;
        double inner = outer * Math.Pow(2.0 * config.Layers, -0.5);
        double wide = Math.Pow(2.0 * config.HiddenSize, -0.5) * config.InitializerFactor;
        using var guard = no_grad();
        foreach (var (name, parameter) in tower.named_parameters())
        {
            double? wanted =
                name.EndsWith("classToken", StringComparison.Ordinal)
                || name.EndsWith("attention.output.weight", StringComparison.Ordinal)
                    ? outer
                : name.EndsWith("feedForward.inner.weight", StringComparison.Ordinal) ? wide
                : name.EndsWith("feedForward.outer.weight", StringComparison.Ordinal) ? inner
                : name.Contains(".attention.", StringComparison.Ordinal) && name.EndsWith("weight", StringComparison.Ordinal)
                    ? inner
                : null;
            if (wanted is { } deviation)
                parameter.mul_(deviation / drawn);
        }
    }
}
