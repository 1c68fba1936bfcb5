using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>What a <see cref="ConvolutionalClassifier"/> ends in.</summary>
public enum ClassifierHead
{
    /// <summary>A linear layer with bias.</summary>
    Linear,

    /// <summary>Cosines between the features and a vector a class, times a constant (LDAM and its like give the constant in the loss).</summary>
    Cosine,
}

/// <summary>Sizes of a <see cref="ConvolutionalClassifier"/>. The defaults are a teacher for images of 32 x 32 with 40 thousand parameters.</summary>
public sealed record ConvolutionalClassifierConfig
{
    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>Channels after each convolution.</summary>
    public IReadOnlyList<long> Widths { get; init; } = [12, 12, 24, 24, 48, 48];

    /// <summary>The step of each convolution.</summary>
    public IReadOnlyList<long> Strides { get; init; } = [1, 2, 1, 2, 1, 2];

    /// <summary>Number of classes.</summary>
    public int Classes { get; init; } = 12;

    /// <summary>The last layer.</summary>
    public ClassifierHead Head { get; init; }

    /// <summary>Factor on the cosines of <see cref="ClassifierHead.Cosine"/>.</summary>
    public double CosineScale { get; init; } = 1;

    /// <summary>Checks the sizes.</summary>
    /// <exception cref="ArgumentException">A size is out of its range; the message names it.</exception>
    public void Validate()
    {
        if (Widths.Count == 0 || Widths.Count != Strides.Count)
            throw new ArgumentException(
                $"There are {Widths.Count} widths and {Strides.Count} strides. Give one of each a convolution, at least one."
            );
        if (Channels < 1 || Widths.Any(width => width < 1) || Strides.Any(stride => stride < 1))
            throw new ArgumentException("Channels, widths and strides must be 1 or above.");
        if (Classes < 2)
            throw new ArgumentException($"Classes is {Classes}. A classifier needs at least 2.");
        if (!(CosineScale > 0))
            throw new ArgumentException($"CosineScale is {CosineScale}. It must be above 0.");
    }
}

/// <summary>
/// A plain convolutional net: 3 x 3 convolutions with batch norm and ReLU, the maximum over the image, a last layer. Its output is scores [B, classes];
/// hidden state k is the map after convolution k, [B, C, height, width], and the feature <see cref="PooledFeatures"/> what the last layer sees, [B, C].
/// </summary>
/// <remarks>The teacher of small image studies: it learns in a few passes what a small vision transformer needs many for, and has no attention.</remarks>
public sealed class ConvolutionalClassifier : ImageModel
{
    /// <summary>The feature that holds what the last layer sees, [B, C].</summary>
    public const string PooledFeatures = "pooled_features";

    private readonly ModuleList<ConvolutionNorm> convolutions;
    private readonly Linear classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what.</exception>
    public ConvolutionalClassifier(ConvolutionalClassifierConfig config, long seed)
        : base(Describe(config), config.Channels)
    {
        Config = config;
        var layers = new SeededLayers(seed, 1 / Math.Sqrt(config.Widths[^1]));
        convolutions = new ModuleList<ConvolutionNorm>([
            .. Enumerable
                .Range(0, config.Widths.Count)
                .Select(number => new ConvolutionNorm(
                    number == 0 ? config.Channels : config.Widths[number - 1],
                    config.Widths[number],
                    3,
                    layers,
                    config.Strides[number],
                    activation: "relu"
                )),
        ]);
        classifier = layers.Linear(config.Widths[^1], config.Classes, hasBias: config.Head == ClassifierHead.Linear);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public ConvolutionalClassifierConfig Config { get; }

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        var pooled = ConvolutionStack.Pooled(convolutions, images, map => map.amax([2L, 3L]), PooledFeatures, trace);
        if (pooled is null)
            return Nothing(images);
        return Config.Head == ClassifierHead.Linear
            ? classifier.call(pooled)
            : nn.functional.linear(nn.functional.normalize(pooled, dim: 1), nn.functional.normalize(classifier.weight!, dim: 1))
                * Config.CosineScale;
    }

    private static TraceCapabilities Describe(ConvolutionalClassifierConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        return new TraceCapabilities(nameof(ConvolutionalClassifier), 0, PooledFeatures)
        {
            LastHiddenState = config.Widths.Count,
        };
    }
}
