using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;

namespace AttentionDistillation.Models;

/// <summary>How a residual network begins.</summary>
public enum ResNetStem
{
    /// <summary>A 7 x 7 convolution of stride 2 and a 3 x 3 maximum of stride 2, for images of about 224.</summary>
    ImageNet,

    /// <summary>A 3 x 3 convolution of stride 1, for images of about 32 (He et al., 2015, section 4.2).</summary>
    Cifar,
}

/// <summary>What a residual block computes.</summary>
public enum ResNetBlock
{
    /// <summary>Two 3 x 3 convolutions.</summary>
    Basic,

    /// <summary>1 x 1 to a quarter of the width, 3 x 3, 1 x 1.</summary>
    Bottleneck,
}

/// <summary>What goes past a block whose input and output differ in size (He et al., 2015, section 3.3).</summary>
public enum ResNetShortcut
{
    /// <summary>A 1 x 1 convolution with batch norm: option B.</summary>
    Projection,

    /// <summary>Every second pixel, new channels zero, no parameters: option A.</summary>
    ZeroPadding,
}

/// <summary>
/// Sizes and options of a residual network (He et al., "Deep Residual Learning for Image Recognition", 2015). The defaults are those of ResNet-50.
/// </summary>
public sealed record ResNetConfig
{
    /// <summary>How it begins.</summary>
    public ResNetStem Stem { get; init; } = ResNetStem.ImageNet;

    /// <summary>Channels after the stem.</summary>
    public long StemWidth { get; init; } = 64;

    /// <summary>Channels after each stage.</summary>
    public IReadOnlyList<long> Widths { get; init; } = [256, 512, 1024, 2048];

    /// <summary>Blocks of each stage.</summary>
    public IReadOnlyList<long> Depths { get; init; } = [3, 4, 6, 3];

    /// <summary>What a block computes.</summary>
    public ResNetBlock Block { get; init; } = ResNetBlock.Bottleneck;

    /// <summary>What goes past a block that changes size.</summary>
    public ResNetShortcut Shortcut { get; init; } = ResNetShortcut.Projection;

    /// <summary>
    /// Name of the activation of the stem and after each sum (see <see cref="Activation"/>). Inside a block it is always <c>relu</c>, as in
    /// transformers.
    /// </summary>
    public string HiddenActivation { get; init; } = "relu";

    /// <summary>Whether the first stage halves the image, too.</summary>
    public bool DownsamplesInFirstStage { get; init; }

    /// <summary>
    /// Whether a bottleneck block halves the image in its first 1 x 1 convolution (as in the paper) instead of in the 3 x 3 one (as torchvision).
    /// </summary>
    public bool DownsamplesInBottleneck { get; init; }

    /// <summary>Whether the last batch norm of every block starts at 0 (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1).</summary>
    public bool ZeroInitialResidual { get; init; }

    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>Names of the classes of a classification head, in order; 1,000 as of ImageNet, 10 in the CIFAR presets.</summary>
    public IReadOnlyList<string> Labels { get; init; } = TextEncoderConfig.DefaultLabels(VisionTransformerConfig.ImageNetClasses);

    /// <summary>What a classifier predicts, as in transformers' <c>problem_type</c>; null when it is not said.</summary>
    public string? ProblemType { get; init; }

    /// <summary>ResNet-18: 11,689,512 parameters with 1,000 classes (torchvision).</summary>
    public static ResNetConfig ResNet18 { get; } = Basic(2, 2, 2, 2);

    /// <summary>ResNet-34: 21,797,672 parameters with 1,000 classes (torchvision).</summary>
    public static ResNetConfig ResNet34 { get; } = Basic(3, 4, 6, 3);

    /// <summary>ResNet-50: 25,557,032 parameters with 1,000 classes (torchvision).</summary>
    public static ResNetConfig ResNet50 { get; } = new();

    /// <summary>ResNet-101: 44,549,160 parameters with 1,000 classes (torchvision).</summary>
    public static ResNetConfig ResNet101 { get; } = new() { Depths = [3, 4, 23, 3] };

    /// <summary>ResNet-152: 60,192,808 parameters with 1,000 classes (torchvision).</summary>
    public static ResNetConfig ResNet152 { get; } = new() { Depths = [3, 8, 36, 3] };

    /// <summary>ResNet-18 with the stem for small images: 11.17 million parameters with 10 classes.</summary>
    public static ResNetConfig ResNet18Cifar { get; } = Small(ResNet18);

    /// <summary>ResNet-34 with the stem for small images: 21.28 million parameters with 10 classes.</summary>
    public static ResNetConfig ResNet34Cifar { get; } = Small(ResNet34);

    /// <summary>ResNet-50 with the stem for small images: 23.52 million parameters with 10 classes.</summary>
    public static ResNetConfig ResNet50Cifar { get; } = Small(ResNet50);

    /// <summary>
    /// ResNet-n for CIFAR, three stages of 16, 32 and 64 channels (He et al., 2015, section 4.2 and table 6): 20 layers have 0.27, 32 have 0.46, 44
    /// have 0.66, 56 have 0.85 and 110 have 1.7 million parameters. Shortcuts have none; much distillation work uses
    /// <see cref="ResNetShortcut.Projection"/> instead.
    /// </summary>
    /// <param name="layers">6 n + 2.</param>
    /// <exception cref="ArgumentException">The number is not 8, 14, 20, ...</exception>
    public static ResNetConfig Cifar(int layers)
    {
        if (layers < 8 || (layers - 2) % 6 != 0)
            throw new ArgumentException(
                $"A CIFAR ResNet has 6 n + 2 layers (8, 14, 20, 32, 44, 56, 110), but {layers} were asked for.",
                nameof(layers)
            );
        long blocks = (layers - 2) / 6;
        return new()
        {
            Stem = ResNetStem.Cifar,
            StemWidth = 16,
            Widths = [16, 32, 64],
            Depths = [blocks, blocks, blocks],
            Block = ResNetBlock.Basic,
            Shortcut = ResNetShortcut.ZeroPadding,
            Labels = TextEncoderConfig.DefaultLabels(10),
        };
    }

    private static ResNetConfig Basic(params long[] depths) =>
        new()
        {
            Block = ResNetBlock.Basic,
            Widths = [64, 128, 256, 512],
            Depths = depths,
        };

    private static ResNetConfig Small(ResNetConfig config) =>
        config with
        {
            Stem = ResNetStem.Cifar,
            Labels = TextEncoderConfig.DefaultLabels(10),
        };

    /// <summary>Bottleneck blocks compute at this fraction of their width (He et al., 2015, table 1).</summary>
    internal const long BottleneckReduction = 4;

    /// <summary>Checks every number.</summary>
    /// <exception cref="ArgumentException">Something is out of its range; the message says what and how to mend it.</exception>
    internal void Validate()
    {
        ConfigCheck.Positive(this, StemWidth, nameof(StemWidth));
        ConfigCheck.Positive(this, Channels, nameof(Channels));
        ConfigCheck.Positive(this, Labels.Count, nameof(Labels));
        ConfigCheck.Positive(this, Widths.Count, nameof(Widths));
        if (Widths.Count != Depths.Count)
            throw ConfigCheck.Wrong(
                this,
                nameof(Depths),
                $"[{string.Join(", ", Depths)}]",
                $"{Widths.Count} numbers, one for each of {nameof(Widths)}"
            );
        foreach (long width in Widths)
            ConfigCheck.Positive(this, width, nameof(Widths));
        foreach (long depth in Depths)
            ConfigCheck.Positive(this, depth, nameof(Depths));
        if (Block == ResNetBlock.Bottleneck && Widths.Any(width => width % BottleneckReduction != 0))
            throw ConfigCheck.Wrong(
                this,
                nameof(Widths),
                $"[{string.Join(", ", Widths)}]",
                $"multiples of {BottleneckReduction} with {nameof(ResNetBlock.Bottleneck)} blocks"
            );
        if (Shortcut == ResNetShortcut.ZeroPadding && Widths.Prepend(StemWidth).Zip(Widths).Any(pair => pair.Second < pair.First))
            throw ConfigCheck.Wrong(
                this,
                nameof(Shortcut),
                Shortcut,
                $"{nameof(ResNetShortcut.Projection)} where a stage is narrower than the one before it"
            );
        _ = Activation.Find(HiddenActivation);
    }

    internal static ResNetConfig FromJson(ConfigReader reader)
    {
        VisionConfigFormat.RefuseUnsupported(reader);
        var start = new ResNetConfig();
        string type = reader.Text("layer_type") ?? "bottleneck";
        return start with
        {
            Channels = reader.Integer("num_channels", start.Channels),
            StemWidth = reader.Integer("embedding_size", start.StemWidth),
            Widths = reader.Integers("hidden_sizes", start.Widths),
            Depths = reader.Integers("depths", start.Depths),
            Block = type switch
            {
                "basic" => ResNetBlock.Basic,
                "bottleneck" => ResNetBlock.Bottleneck,
                _ => throw new NotSupportedException(
                    $"layer_type is '{type}', of which only 'basic' and 'bottleneck' are supported."
                ),
            },
            HiddenActivation = reader.Text("hidden_act") ?? start.HiddenActivation,
            DownsamplesInFirstStage = reader.Flag("downsample_in_first_stage", start.DownsamplesInFirstStage),
            DownsamplesInBottleneck = reader.Flag("downsample_in_bottleneck", start.DownsamplesInBottleneck),
            Labels = reader.Labels(),
            ProblemType = reader.Text("problem_type"),
        };
    }

    /// <summary>The options under Hugging Face's names.</summary>
    /// <exception cref="NotSupportedException">The configuration has no form there.</exception>
    internal JsonObject ToJson()
    {
        if (Stem != ResNetStem.ImageNet || Shortcut != ResNetShortcut.Projection)
            throw new NotSupportedException(
                $"Hugging Face's 'resnet' has no {nameof(ResNetStem.Cifar)} stem and no {nameof(ResNetShortcut.ZeroPadding)} shortcut. "
                    + "Write the tensors of HubParameters() with SafeTensorsWriter, or build an ImageNet preset."
            );
        return new JsonObject
        {
            ["model_type"] = "resnet",
            ["num_channels"] = Channels,
            ["embedding_size"] = StemWidth,
            ["hidden_sizes"] = new JsonArray([.. Widths.Select(width => JsonValue.Create(width))]),
            ["depths"] = new JsonArray([.. Depths.Select(depth => JsonValue.Create(depth))]),
            ["layer_type"] = Block == ResNetBlock.Basic ? "basic" : "bottleneck",
            ["hidden_act"] = HiddenActivation,
            ["downsample_in_first_stage"] = DownsamplesInFirstStage,
            ["downsample_in_bottleneck"] = DownsamplesInBottleneck,
        }.WithLabels(Labels, ProblemType);
    }
}
