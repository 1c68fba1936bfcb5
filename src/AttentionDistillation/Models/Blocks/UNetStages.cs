using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The sizes of a stage: where it stands between the feature maps of a U-Net.</summary>
/// <param name="Level">Its resolution.</param>
/// <param name="FirstLayer">Number of its first attention layer.</param>
/// <param name="IsLast">True for the stage after which the resolution does not change.</param>
internal sealed record StagePlace(UNetLevel Level, int FirstLayer, bool IsLast)
{
    /// <summary>Attention layers that follow one residual block.</summary>
    public int AttentionsPerBlock(LatentDiffusionUNetConfig config) =>
        Level.TransformerDepth * (config.ContextWidth is null ? 1 : 2);

    public ResidualBlock2d Residual(LatentDiffusionUNetConfig config, long input, SeededLayers layers) =>
        new(
            input,
            Level.Channels,
            config.TimeWidth,
            config.NormGroups,
            config.NormEpsilon,
            layers,
            config.ActivationName,
            config.Dropout,
            config.TimeScalesAndShifts
        );

    public SpatialTransformer Transformer(LatentDiffusionUNetConfig config, int number, SeededLayers layers) =>
        new(
            Level.Channels,
            Level.Heads,
            Level.TransformerDepth,
            config.ContextWidth,
            config.NormGroups,
            config.LinearProjections,
            FirstLayer + number * AttentionsPerBlock(config),
            layers
        );
}

/// <summary>One resolution on the way down: residual blocks, each followed by a transformer where the level has attention, then a halving.</summary>
internal sealed class DownStage : nn.Module<Tensor, Tensor?, DenoiserInputs, Tensor[]>
{
    private readonly ModuleList<ResidualBlock2d> residuals;
    private readonly ModuleList<SpatialTransformer>? transformers;
    private readonly Downsample2d? downsample;

    public DownStage(LatentDiffusionUNetConfig config, StagePlace place, long input, SeededLayers layers)
        : base(nameof(DownStage))
    {
        int count = place.Level.ResidualBlocks;
        residuals = new ModuleList<ResidualBlock2d>([
            .. Enumerable
                .Range(0, count)
                .Select(number => place.Residual(config, number == 0 ? input : place.Level.Channels, layers)),
        ]);
        transformers =
            place.Level.TransformerDepth == 0
                ? null
                : new ModuleList<SpatialTransformer>([
                    .. Enumerable.Range(0, count).Select(number => place.Transformer(config, number, layers)),
                ]);
        downsample = place.IsLast ? null : new Downsample2d(place.Level.Channels, layers);
        RegisterComponents();
    }

    public IEnumerable<SpatialTransformer> Transformers => transformers ?? Enumerable.Empty<SpatialTransformer>();

    /// <summary>
    /// [B, input, H, W], features to add (or null), to what each skip connection takes, the last being the stage's output. The features are added
    /// after the last transformer, [B, C, H, W], or to the output of a level without attention, halved but for the last, as diffusers does.
    /// </summary>
    public override Tensor[] forward(Tensor image, Tensor? features, DenoiserInputs inputs)
    {
        using var scope = NewDisposeScope();
        var outputs = new List<Tensor>();
        for (int number = 0; number < residuals.Count; number++)
        {
            image = residuals[number].call(image, inputs.Time);
            if (transformers is not null)
                image = transformers[number].call(image, inputs);
            if (features is not null && transformers is not null && number == residuals.Count - 1)
                image = image + features;
            outputs.Add(image);
        }
        if (downsample is not null)
            outputs.Add(image = downsample.call(image));
        if (features is not null && transformers is null)
            outputs[^1] = outputs[^1] + features;
        inputs.Trace?.MoveOut(scope);
        return [.. outputs.Select(output => output.MoveToOuterDisposeScope())];
    }
}

/// <summary>The middle: a residual block, a transformer where it has attention, a residual block.</summary>
internal sealed class MiddleStage : nn.Module<Tensor, DenoiserInputs, Tensor>
{
    private readonly ModuleList<ResidualBlock2d> residuals;
    private readonly ModuleList<SpatialTransformer>? transformers;

    public MiddleStage(LatentDiffusionUNetConfig config, StagePlace place, SeededLayers layers)
        : base(nameof(MiddleStage))
    {
        residuals = new ModuleList<ResidualBlock2d>([
            place.Residual(config, place.Level.Channels, layers),
            place.Residual(config, place.Level.Channels, layers),
        ]);
        transformers =
            place.Level.TransformerDepth == 0 ? null : new ModuleList<SpatialTransformer>([place.Transformer(config, 0, layers)]);
        RegisterComponents();
    }

    public IEnumerable<SpatialTransformer> Transformers => transformers ?? Enumerable.Empty<SpatialTransformer>();

    public override Tensor forward(Tensor image, DenoiserInputs inputs)
    {
        using var scope = NewDisposeScope();
        image = residuals[0].call(image, inputs.Time);
        if (transformers is not null)
            image = transformers[0].call(image, inputs);
        inputs.Trace?.MoveOut(scope);
        return residuals[1].call(image, inputs.Time).MoveToOuterDisposeScope();
    }
}

/// <summary>One resolution on the way up: residual blocks on the image joined with a skip connection each, transformers, then an enlargement.</summary>
internal sealed class UpStage : nn.Module<Tensor, Tensor[], long[], DenoiserInputs, Tensor>
{
    private readonly ModuleList<ResidualBlock2d> residuals;
    private readonly ModuleList<SpatialTransformer>? transformers;
    private readonly Upsample2d? upsample;

    /// <param name="config">The model.</param>
    /// <param name="place">The stage.</param>
    /// <param name="input">Channels that come from below.</param>
    /// <param name="skips">Channels of the skip connections, in the order they are joined.</param>
    /// <param name="layers">Makes the weights.</param>
    public UpStage(LatentDiffusionUNetConfig config, StagePlace place, long input, long[] skips, SeededLayers layers)
        : base(nameof(UpStage))
    {
        residuals = new ModuleList<ResidualBlock2d>([
            .. skips.Select(
                (skip, number) => place.Residual(config, (number == 0 ? input : place.Level.Channels) + skip, layers)
            ),
        ]);
        transformers =
            place.Level.TransformerDepth == 0
                ? null
                : new ModuleList<SpatialTransformer>([.. skips.Select((_, number) => place.Transformer(config, number, layers))]);
        upsample = place.IsLast ? null : new Upsample2d(place.Level.Channels, layers);
        RegisterComponents();
    }

    public IEnumerable<SpatialTransformer> Transformers => transformers ?? Enumerable.Empty<SpatialTransformer>();

    /// <summary>[B, input, H, W], the skip connections, and the size to enlarge to, to [B, C, height, width].</summary>
    public override Tensor forward(Tensor image, Tensor[] skips, long[] size, DenoiserInputs inputs)
    {
        using var scope = NewDisposeScope();
        for (int number = 0; number < residuals.Count; number++)
        {
            image = residuals[number].call(cat([image, skips[number]], 1), inputs.Time);
            if (transformers is not null)
                image = transformers[number].call(image, inputs);
        }
        if (upsample is not null)
            image = upsample.call(image, size);
        inputs.Trace?.MoveOut(scope);
        return image.MoveToOuterDisposeScope();
    }
}
