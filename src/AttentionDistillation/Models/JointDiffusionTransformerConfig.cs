using AttentionDistillation.Models.Blocks;

namespace AttentionDistillation.Models;

/// <summary>Sizes of a diffusion transformer with joint attention of image and text (Esser et al., "Scaling Rectified Flow Transformers", 2024).</summary>
public sealed record JointDiffusionTransformerConfig
{
    /// <summary>Stable Diffusion 3, medium: 24 blocks of width 1536, 2,028,328,000 parameters.</summary>
    public static JointDiffusionTransformerConfig StableDiffusion3Medium { get; } = new();

    /// <summary>Two blocks of width 32 on latents of 8 x 8: for tests and small studies.</summary>
    public static JointDiffusionTransformerConfig Tiny { get; } =
        new()
        {
            SampleSize = 8,
            InputChannels = 4,
            OutputChannels = 4,
            HiddenSize = 32,
            Layers = 2,
            Heads = 4,
            ContextWidth = 16,
            PooledWidth = 24,
            PositionGrid = 8,
        };

    /// <summary>Height and width of the latents it was made for; others up to the position grid may be given.</summary>
    public long SampleSize { get; init; } = 128;

    /// <summary>Channels of the latents.</summary>
    public long InputChannels { get; init; } = 16;

    /// <summary>Channels of the prediction.</summary>
    public long OutputChannels { get; init; } = 16;

    /// <summary>Side of the patches that become tokens.</summary>
    public long PatchSize { get; init; } = 2;

    /// <summary>C, divisible by <see cref="Heads"/>.</summary>
    public long HiddenSize { get; init; } = 1536;

    /// <summary>Number of blocks.</summary>
    public int Layers { get; init; } = 24;

    /// <summary>H.</summary>
    public long Heads { get; init; } = 24;

    /// <summary>Width of the prompt's states.</summary>
    public long ContextWidth { get; init; } = 4096;

    /// <summary>Width of the pooled prompt.</summary>
    public long PooledWidth { get; init; } = 2048;

    /// <summary>Rows and columns of the table of fixed positions, whose middle a sample of fewer tokens uses.</summary>
    public long PositionGrid { get; init; } = 192;

    /// <summary>Epsilon of the norms.</summary>
    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary>Sines and cosines of the time, in steps of 0 to 1000.</summary>
    public SinusoidalTime Time { get; init; } = new(256);

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    internal void Validate()
    {
        foreach (
            var (value, name) in new[]
            {
                (SampleSize, nameof(SampleSize)),
                (InputChannels, nameof(InputChannels)),
                (OutputChannels, nameof(OutputChannels)),
                (PatchSize, nameof(PatchSize)),
                (HiddenSize, nameof(HiddenSize)),
                (Layers, nameof(Layers)),
                (Heads, nameof(Heads)),
                (ContextWidth, nameof(ContextWidth)),
                (PooledWidth, nameof(PooledWidth)),
            }
        )
            if (value < 1)
                throw Wrong(name, value, "1 or more");
        if (SampleSize % PatchSize != 0)
            throw Wrong(nameof(PatchSize), PatchSize, $"a divisor of {nameof(SampleSize)} = {SampleSize}");
        if (HiddenSize % Heads != 0 || HiddenSize % 4 != 0)
            throw Wrong(nameof(HiddenSize), HiddenSize, $"divisible by 4 and by {nameof(Heads)} = {Heads}");
        if (PositionGrid < SampleSize / PatchSize)
            throw Wrong(nameof(PositionGrid), PositionGrid, $"{SampleSize / PatchSize} or more, the tokens in a row of a sample");
        if (!(NormEpsilon > 0))
            throw Wrong(nameof(NormEpsilon), NormEpsilon, "above 0");
        Time.Validate();
    }

    private static ArgumentException Wrong(string name, object value, string expected) =>
        new(FormattableString.Invariant($"{nameof(JointDiffusionTransformerConfig)}.{name} is {value}, but must be {expected}."));
}
