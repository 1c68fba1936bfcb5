using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>Sizes and options of a <see cref="NeuralAttentiveCircuit"/>. The defaults are a small model for images of 32 x 32.</summary>
public sealed record CircuitConfig
{
    /// <summary>Pixels of the images.</summary>
    public ImageSize ImageSize { get; init; } = 32;

    /// <summary>Pixels of a patch.</summary>
    public ImageSize PatchSize { get; init; } = 8;

    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>C, width of states.</summary>
    public long Width { get; init; } = 48;

    /// <summary>H; divides <see cref="Width"/>.</summary>
    public long Heads { get; init; } = 4;

    /// <summary>K, width of codes.</summary>
    public long CodeWidth { get; init; } = 48;

    /// <summary>S, width of signatures.</summary>
    public long SignatureWidth { get; init; } = 16;

    /// <summary>Latents (the circuit's modules) that read images and exchange states.</summary>
    public int Latents { get; init; } = 12;

    /// <summary>Latents that read out.</summary>
    public int OutputLatents { get; init; } = 4;

    /// <summary>Propagators between read-in and read-out; a student of m2mKD has this number plus 2 modules.</summary>
    public int Propagators { get; init; } = 2;

    /// <summary>Width inside the gated feed-forward parts over C.</summary>
    public double FeedForwardRatio { get; init; } = 2;

    /// <summary>Bandwidth of the signature kernel.</summary>
    public double Bandwidth { get; init; } = 1.0;

    /// <summary>Greatest distance 1 − cos of an edge between latents (0.9 in the code); null for none. Read-out edges are never cut.</summary>
    public double? Truncation { get; init; } = 0.9;

    /// <summary>Temperature of kernels drawn in training.</summary>
    public double SampleTemperature { get; init; } = 0.5;

    /// <summary>τ of the read-out's softmax over latents.</summary>
    public double PoolTemperature { get; init; } = 1.0;

    /// <summary>Initial layer scale of branches, and initial gain of codes.</summary>
    public double LayerScale { get; init; } = 0.1;

    /// <summary>Standard deviation of the initial weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>Number of classes.</summary>
    public int Classes { get; init; } = 12;

    /// <summary>The width of the model that modules are stitched into; null for a circuit without stitches.</summary>
    public long? StitchWidth { get; init; }

    /// <summary>Tokens of an image, the class token included: the states of a lone module.</summary>
    public long Tokens => ImageSize.Whole(PatchSize).Area + 1;

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    public void Validate()
    {
        ConfigCheck.Positive(this, ImageSize, nameof(ImageSize));
        ConfigCheck.Positive(this, PatchSize, nameof(PatchSize));
        ConfigCheck.Positive(this, Channels, nameof(Channels));
        ConfigCheck.Positive(this, Width, nameof(Width));
        ConfigCheck.Positive(this, Heads, nameof(Heads));
        ConfigCheck.Positive(this, CodeWidth, nameof(CodeWidth));
        ConfigCheck.Positive(this, SignatureWidth, nameof(SignatureWidth));
        ConfigCheck.Positive(this, Latents, nameof(Latents));
        ConfigCheck.Positive(this, OutputLatents, nameof(OutputLatents));
        ConfigCheck.Positive(this, Propagators, nameof(Propagators));
        ConfigCheck.Positive(this, StitchWidth ?? 1, nameof(StitchWidth));
        ConfigCheck.AboveZero(this, FeedForwardRatio, nameof(FeedForwardRatio));
        ConfigCheck.AboveZero(this, Bandwidth, nameof(Bandwidth));
        ConfigCheck.AboveZero(this, Truncation ?? 1, nameof(Truncation));
        ConfigCheck.AboveZero(this, SampleTemperature, nameof(SampleTemperature));
        ConfigCheck.AboveZero(this, PoolTemperature, nameof(PoolTemperature));
        ConfigCheck.NotNegative(this, LayerScale, nameof(LayerScale));
        ConfigCheck.NotNegative(this, InitializerRange, nameof(InitializerRange));
        if (Classes < 2)
            throw ConfigCheck.Wrong(this, nameof(Classes), Classes, "2 or more");
        if (Width % Heads != 0)
            throw ConfigCheck.Wrong(this, nameof(Heads), Heads, $"a divisor of {nameof(Width)} = {Width}");
        if (Tokens < 2)
            throw ConfigCheck.Wrong(this, nameof(PatchSize), PatchSize, $"no larger than {nameof(ImageSize)} = {ImageSize}");
    }
}
