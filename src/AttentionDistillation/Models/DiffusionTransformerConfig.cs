using AttentionDistillation.Models.Blocks;

namespace AttentionDistillation.Models;

/// <summary>How a diffusion transformer knows the places of its tokens.</summary>
public enum TokenPositions
{
    /// <summary>Fixed sines and cosines, added to the tokens (DiT); per axis, frames included.</summary>
    SineCosine,

    /// <summary>A learned vector per place and one per frame, added to the tokens.</summary>
    Learned,

    /// <summary>Queries and keys are rotated by frame, row and column.</summary>
    Rotary,
}

/// <summary>Sizes of a diffusion transformer (Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023).</summary>
public sealed record DiffusionTransformerConfig
{
    /// <summary>DiT-S/2: 33 million parameters.</summary>
    public static DiffusionTransformerConfig Small2 { get; } =
        new()
        {
            HiddenSize = 384,
            Layers = 12,
            Heads = 6,
        };

    /// <summary>DiT-B/2: 130 million parameters.</summary>
    public static DiffusionTransformerConfig Base2 { get; } =
        new()
        {
            HiddenSize = 768,
            Layers = 12,
            Heads = 12,
        };

    /// <summary>DiT-L/2: 458 million parameters.</summary>
    public static DiffusionTransformerConfig Large2 { get; } =
        new()
        {
            HiddenSize = 1024,
            Layers = 24,
            Heads = 16,
        };

    /// <summary>DiT-XL/2: 675 million parameters.</summary>
    public static DiffusionTransformerConfig ExtraLarge2 { get; } = new();

    /// <summary>
    /// Three blocks of width 64 on 16 tokens of 4 x 4 pixels with cross-attention to a prompt, about 268,000 parameters with the prompt's tables:
    /// for tests and small studies on images [3, 16, 16]. Gates start open, positions learned with unit variance.
    /// </summary>
    public static DiffusionTransformerConfig Tiny { get; } =
        new()
        {
            SampleSize = 16,
            InputChannels = 3,
            OutputChannels = 3,
            PatchSize = 4,
            HiddenSize = 64,
            Layers = 3,
            Heads = 4,
            FeedForwardRatio = 3,
            FeedForwardActivation = "gelu",
            Classes = 0,
            ContextWidth = 64,
            Positions = TokenPositions.Learned,
            Time = new SinusoidalTime(64, FlipSineToCosine: false, DownscaleShift: 1, Scale: 200, MaximumPeriod: 200),
            GateOffset = 1,
            ModulatesOutput = false,
        };

    /// <summary>Height and width of the samples it was made for. With fixed or rotary positions others may be given.</summary>
    public long SampleSize { get; init; } = 32;

    /// <summary>T, frames of a video [B, C, T, H, W]; 1 for images [B, C, H, W].</summary>
    public long Frames { get; init; } = 1;

    /// <summary>Channels of the samples.</summary>
    public long InputChannels { get; init; } = 4;

    /// <summary>Channels of the prediction; twice the input's where variances are learned (DiT).</summary>
    public long OutputChannels { get; init; } = 8;

    /// <summary>Side of the patches that become tokens; divides height and width.</summary>
    public long PatchSize { get; init; } = 2;

    /// <summary>C, divisible by <see cref="Heads"/>.</summary>
    public long HiddenSize { get; init; } = 1152;

    /// <summary>Number of blocks.</summary>
    public int Layers { get; init; } = 28;

    /// <summary>H.</summary>
    public long Heads { get; init; } = 16;

    /// <summary>Inner width of the feed-forward blocks in units of C.</summary>
    public long FeedForwardRatio { get; init; } = 4;

    /// <summary>Name of the feed-forward's activation (see <see cref="Activation"/>).</summary>
    public string FeedForwardActivation { get; init; } = "gelu_pytorch_tanh";

    /// <summary>Number of classes with a learned vector added to the time's; 0 for none. One more vector stands for "no class".</summary>
    public long Classes { get; init; } = 1000;

    /// <summary>
    /// Standard deviation of class vectors at the start: 0.02 in the paper's code; small models that train for hundreds of steps only hear a class
    /// that starts louder (1).
    /// </summary>
    public double ClassDeviation { get; init; } = 0.02;

    /// <summary>Width of a prompt's states, for cross-attention after each self-attention; null for none.</summary>
    public long? ContextWidth { get; init; }

    /// <summary>How tokens know their places.</summary>
    public TokenPositions Positions { get; init; } = TokenPositions.SineCosine;

    /// <summary>Standard deviation of learned positions at the start. Small values (.1, .02) can keep a model from telling places apart for long.</summary>
    public double PositionDeviation { get; init; } = 1.0;

    /// <summary>Standard deviation of learned frame vectors at the start.</summary>
    public double FrameDeviation { get; init; } = 0.5;

    /// <summary>Sines and cosines of the time.</summary>
    public SinusoidalTime Time { get; init; } = new(256);

    /// <summary>Added to every gate: 0 makes each block start as the identity (adaLN-Zero), 1 as a plain block.</summary>
    public double GateOffset { get; init; }

    /// <summary>Whether the condition shifts and scales the output's norm (DiT), or the norm has weights of its own.</summary>
    public bool ModulatesOutput { get; init; } = true;

    /// <summary>Epsilon of the norms before attention and before the output.</summary>
    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary>Epsilon of the norm before the feed-forward block (diffusers' conversion of DiT has another here).</summary>
    public double FeedForwardNormEpsilon { get; init; } = 1e-6;

    /// <summary>Rows, and columns, of tokens of a sample of the usual size.</summary>
    public long Grid => SampleSize / PatchSize;

    /// <summary>L, the tokens of a sample of the usual size.</summary>
    public long Tokens => Frames * Grid * Grid;

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    internal void Validate()
    {
        foreach (
            var (value, name) in new[]
            {
                (SampleSize, nameof(SampleSize)),
                (Frames, nameof(Frames)),
                (InputChannels, nameof(InputChannels)),
                (OutputChannels, nameof(OutputChannels)),
                (PatchSize, nameof(PatchSize)),
                (HiddenSize, nameof(HiddenSize)),
                (Layers, nameof(Layers)),
                (Heads, nameof(Heads)),
                (FeedForwardRatio, nameof(FeedForwardRatio)),
            }
        )
            if (value < 1)
                throw Wrong(name, value, "1 or more");
        if (SampleSize % PatchSize != 0)
            throw Wrong(nameof(PatchSize), PatchSize, $"a divisor of {nameof(SampleSize)} = {SampleSize}");
        if (HiddenSize % Heads != 0)
            throw Wrong(nameof(Heads), Heads, $"a divisor of {nameof(HiddenSize)} = {HiddenSize}");
        long divisor = Frames > 1 ? 16 : 4;
        if (Positions == TokenPositions.SineCosine && HiddenSize % divisor != 0)
            throw Wrong(nameof(HiddenSize), HiddenSize, $"divisible by {divisor} for positions of sines and cosines");
        if (Positions == TokenPositions.Rotary && HiddenSize / Heads % 2 != 0)
            throw Wrong(
                nameof(Heads),
                Heads,
                $"such that the head width, here {HiddenSize / Heads}, is even for rotary positions"
            );
        if (Classes < 0 || ContextWidth < 1)
            throw Wrong(
                $"{nameof(Classes)}, {nameof(ContextWidth)}",
                (Classes, ContextWidth),
                "0 or more, and 1 or more or null"
            );
        if (!(ClassDeviation > 0))
            throw Wrong(nameof(ClassDeviation), ClassDeviation, "above 0");
        if (!(NormEpsilon > 0) || !(FeedForwardNormEpsilon > 0))
            throw Wrong(nameof(NormEpsilon), NormEpsilon, "above 0");
        _ = Activation.Find(FeedForwardActivation);
        Time.Validate();
    }

    private static ArgumentException Wrong(string name, object value, string expected) =>
        new(FormattableString.Invariant($"{nameof(DiffusionTransformerConfig)}.{name} is {value}, but must be {expected}."));
}
