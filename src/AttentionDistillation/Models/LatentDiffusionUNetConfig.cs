using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;

namespace AttentionDistillation.Models;

/// <summary>One resolution of a latent-diffusion U-Net, used on the way down and on the way up.</summary>
/// <param name="Channels">Channels of its feature maps.</param>
/// <param name="TransformerDepth">Transformer blocks after each residual block; 0 for a resolution without attention.</param>
/// <param name="Heads">Attention heads; must divide <paramref name="Channels"/>.</param>
/// <param name="ResidualBlocks">Residual blocks on the way down; the way up has one more.</param>
public sealed record UNetLevel(long Channels, int TransformerDepth, long Heads, int ResidualBlocks = 2);

/// <summary>
/// Sizes of a latent-diffusion U-Net, after <c>UNet2DConditionModel</c> in diffusers (Rombach et al., "High-Resolution Image Synthesis with
/// Latent Diffusion Models", 2022).
/// </summary>
public sealed record LatentDiffusionUNetConfig
{
    /// <summary>Stable Diffusion 1.5: 859,520,964 parameters.</summary>
    public static LatentDiffusionUNetConfig StableDiffusion15 { get; } = new();

    /// <summary>Stable Diffusion 2.1: 865,910,724 parameters.</summary>
    public static LatentDiffusionUNetConfig StableDiffusion21 { get; } =
        new()
        {
            Levels = [new(320, 1, 5), new(640, 1, 10), new(1280, 1, 20), new(1280, 0, 20)],
            ContextWidth = 1024,
            LinearProjections = true,
            SampleSize = 96,
        };

    /// <summary>Stable Diffusion XL, base: 2,567,463,684 parameters.</summary>
    public static LatentDiffusionUNetConfig StableDiffusionXl { get; } =
        new()
        {
            Levels = [new(320, 0, 5), new(640, 2, 10), new(1280, 10, 20)],
            MiddleDepth = 10,
            ContextWidth = 2048,
            LinearProjections = true,
            SampleSize = 128,
            PooledTextWidth = 1280,
            TimeIdCount = 6,
            TimeIdWidth = 256,
        };

    /// <summary>Two resolutions of 16 and 32 channels with all parts, 267,172 parameters: for tests and small studies.</summary>
    public static LatentDiffusionUNetConfig Tiny { get; } =
        new()
        {
            SampleSize = 8,
            Levels = [new(16, 1, 2, 1), new(32, 1, 4, 1)],
            ContextWidth = 16,
            NormGroups = 8,
        };

    /// <summary>Height and width of the latents it was made for; others may be given.</summary>
    public long SampleSize { get; init; } = 64;

    /// <summary>Channels of the latents.</summary>
    public long InputChannels { get; init; } = 4;

    /// <summary>Channels of the prediction.</summary>
    public long OutputChannels { get; init; } = 4;

    /// <summary>The resolutions, from the input's downwards; each but the last halves the image.</summary>
    public IReadOnlyList<UNetLevel> Levels { get; init; } = [new(320, 1, 8), new(640, 1, 8), new(1280, 1, 8), new(1280, 0, 8)];

    /// <summary>Transformer blocks in the middle; 0 for two residual blocks alone, null for no middle at all.</summary>
    public int? MiddleDepth { get; init; } = 1;

    /// <summary>Width of the prompt's states; null for a model with self-attention alone.</summary>
    public long? ContextWidth { get; init; } = 768;

    /// <summary>Whether the projections around the transformer blocks are linear layers (SD 2, SDXL) or 1 x 1 convolutions (SD 1).</summary>
    public bool LinearProjections { get; init; }

    /// <summary>Groups of the group norms; divides every level's channels.</summary>
    public long NormGroups { get; init; } = 32;

    /// <summary>Epsilon of the residual blocks' and of the output's norms.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Name of the activation of residual blocks and time embedding.</summary>
    public string ActivationName { get; init; } = "silu";

    /// <summary>Dropout probability in residual blocks.</summary>
    public double Dropout { get; init; }

    /// <summary>Whether the time scales and shifts the second norm of residual blocks instead of being added.</summary>
    public bool TimeScalesAndShifts { get; init; }

    /// <summary>Whether cosines come before sines in the time's sinusoid.</summary>
    public bool FlipSineToCosine { get; init; } = true;

    /// <summary>Shift of the sinusoid's frequencies (see <see cref="SinusoidalTime.DownscaleShift"/>).</summary>
    public double FrequencyShift { get; init; }

    /// <summary>Number of classes with a learned vector added to the time's; 0 for none.</summary>
    public long Classes { get; init; }

    /// <summary>Width of a pooled text vector added to the time's together with the time ids (SDXL); 0 for none.</summary>
    public long PooledTextWidth { get; init; }

    /// <summary>How many numbers describe the image's size and crop (SDXL: 6).</summary>
    public int TimeIdCount { get; init; }

    /// <summary>Width of each of those numbers' sinusoid.</summary>
    public long TimeIdWidth { get; init; }

    /// <summary>Width of the time's vector.</summary>
    public long TimeWidth => 4 * Levels[0].Channels;

    /// <summary>The time's sinusoid.</summary>
    public SinusoidalTime Time => new(Levels[0].Channels, FlipSineToCosine, FrequencyShift);

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    internal void Validate()
    {
        if (Levels.Count == 0)
            throw Wrong(nameof(Levels), "empty", "one resolution or more");
        foreach (var (level, number) in Levels.Select((level, number) => (level, number)))
        {
            string name = $"{nameof(Levels)}[{number}]";
            if (level.Channels < 1 || level.Channels % NormGroups != 0)
                throw Wrong(name, level, $"of a channel count that {nameof(NormGroups)} = {NormGroups} divides");
            if (level.TransformerDepth < 0 || level.ResidualBlocks < 1)
                throw Wrong(name, level, "of depth 0 or more and of 1 residual block or more");
            if (level.Heads < 1 || level.Channels % level.Heads != 0)
                throw Wrong(name, level, "of heads that divide its channels");
        }
        if (MiddleDepth < 0)
            throw Wrong(nameof(MiddleDepth), MiddleDepth, "0 or more, or null");
        if (InputChannels < 1 || OutputChannels < 1)
            throw Wrong($"{nameof(InputChannels)}, {nameof(OutputChannels)}", (InputChannels, OutputChannels), "1 or more");
        if (!(NormEpsilon > 0))
            throw Wrong(nameof(NormEpsilon), NormEpsilon, "above 0");
        if (!(Dropout is >= 0 and < 1))
            throw Wrong(nameof(Dropout), Dropout, "from 0 to below 1");
        if (PooledTextWidth > 0 != TimeIdCount > 0 || TimeIdCount > 0 && TimeIdWidth < 2)
            throw Wrong(
                nameof(PooledTextWidth),
                PooledTextWidth,
                $"given together with {nameof(TimeIdCount)} and {nameof(TimeIdWidth)}, or all three 0"
            );
        _ = Activation.Find(ActivationName);
        Time.Validate();
    }

    private ArgumentException Wrong(string name, object? value, string expected) =>
        new(FormattableString.Invariant($"{nameof(LatentDiffusionUNetConfig)}.{name} is {value}, but must be {expected}."));
}
