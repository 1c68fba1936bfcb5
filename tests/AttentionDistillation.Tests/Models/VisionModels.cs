using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>Small models of every vision family, and what they are run on.</summary>
internal static class VisionModels
{
    internal static readonly VitConfig Vit = new()
    {
        HiddenSize = 16,
        Layers = 3,
        Heads = 4,
        IntermediateSize = 32,
        ImageSize = 12,
        PatchSize = 4,
        Labels = ["a", "b", "c"],
    };

    internal static readonly DeitConfig Deit = new()
    {
        HiddenSize = 16,
        Layers = 3,
        Heads = 4,
        IntermediateSize = 32,
        ImageSize = 12,
        PatchSize = 4,
        Labels = ["a", "b", "c"],
    };

    internal static readonly ResNetConfig Bottleneck = new()
    {
        StemWidth = 8,
        Widths = [16, 24],
        Depths = [1, 2],
        Labels = ["a", "b", "c"],
    };

    internal static readonly ResNetConfig Basic = Bottleneck with { Block = ResNetBlock.Basic, Widths = [8, 12] };

    internal static readonly ClipConfig Clip = new()
    {
        ProjectionSize = 6,
        Text = new()
        {
            VocabularySize = 30,
            HiddenSize = 16,
            IntermediateSize = 32,
            Layers = 2,
            Heads = 4,
            MaximumPositions = 10,
            EndToken = 29,
            ProjectionSize = 6,
        },
        Vision = new()
        {
            HiddenSize = 16,
            IntermediateSize = 32,
            Layers = 3,
            Heads = 2,
            ImageSize = 12,
            PatchSize = 4,
            ProjectionSize = 6,
        },
    };

    internal static readonly HierarchicalConfig TinyVit = HierarchicalConfig.TinyVit([8, 12, 16], 0.0, [1, 2, 1], [3, 2]) with
    {
        ImageSize = 24,
        Stages =
        [
            .. HierarchicalConfig
                .TinyVit([8, 12, 16], 0.0, [1, 2, 1], [3, 2])
                .Stages.Select((stage, number) => number == 0 ? stage : stage with { Heads = 2 }),
        ],
        Labels = ["a", "b", "c"],
    };

    internal static readonly HierarchicalConfig Shifted = new()
    {
        Stem = HierarchicalStem.Patches,
        PatchSize = 2,
        ImageSize = 24,
        Downsampling = HierarchicalDownsampling.PatchMerging,
        PadsBeforeNorm = false,
        NormalisesBeforeMean = true,
        Labels = ["a", "b", "c"],
        Stages =
        [
            new()
            {
                Depth = 2,
                Width = 8,
                Heads = 2,
                Window = 4,
                ShiftsWindows = true,
                Bias = PositionBias.Signed,
                LocalKernel = 0,
            },
            new()
            {
                Block = HierarchicalBlock.ConvNext,
                Depth = 1,
                Width = 12,
            },
            new()
            {
                Depth = 1,
                Width = 16,
                Heads = 4,
                Bias = PositionBias.Absolute,
            },
        ],
    };

    internal static readonly SegmentationUNetConfig UNet = new()
    {
        Widths = [4, 6, 8],
        Convolutions = 1,
        BottleneckLayers = 2,
        BottleneckHeads = 2,
        Classes = 5,
    };

    /// <summary>A model by name, its weights drawn from seed 1.</summary>
    internal static ImageModel Build(string name) =>
        name switch
        {
            "vit" => new VitModel(Vit, 1),
            "vit-classifier" => new VitForImageClassification(Vit, 1),
            "deit" => new DeitModel(Deit, 1),
            "deit-classifier" => new DeitForImageClassification(Deit, 1),
            "deit-teacher" => new DeitForImageClassificationWithTeacher(Deit, 1),
            "resnet" => new ResNetModel(Bottleneck, 1),
            "resnet-bottleneck" => new ResNetForImageClassification(Bottleneck, 1),
            "resnet-basic" => new ResNetForImageClassification(Basic, 1),
            "resnet-cifar" => new ResNetForImageClassification(ResNetConfig.Cifar(8), 1),
            "tinyvit" => new HierarchicalVisionTransformer(TinyVit, 1),
            "shifted" => new HierarchicalVisionTransformer(Shifted, 1),
            "unet" => new SegmentationUNet(UNet, 1),
            _ => throw new ArgumentException($"No model '{name}'."),
        };

    internal static readonly string[] Names =
    [
        "vit",
        "vit-classifier",
        "deit",
        "deit-classifier",
        "deit-teacher",
        "resnet",
        "resnet-bottleneck",
        "resnet-basic",
        "resnet-cifar",
        "tinyvit",
        "shifted",
        "unet",
    ];

    /// <summary>The images' side a model by name takes.</summary>
    internal static long Side(string name) => name.StartsWith("vit") || name.StartsWith("deit") ? 12 : 24;

    internal static Tensor Images(long batch, long height, long width, long seed = 3)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn([batch, 3, height, width], generator: generator);
    }

    internal static Tensor Images(string name, long batch = 2) => Images(batch, Side(name), Side(name));

    internal static Tensor Ids() =>
        tensor(
            new long[,]
            {
                { 5, 6, 29, 0, 0 },
                { 7, 8, 9, 10, 29 },
            }
        );

    /// <summary>Everything a model can record, of a batch.</summary>
    internal static ForwardTrace RunAll(ITracedModel model, Batch batch)
    {
        var request = TraceRequest.AllAttention + TraceRequest.AllHidden + TraceRequest.Features(model.Capabilities.Features);
        var trace = new ForwardTrace(request, model.Capabilities);
        model.Run(batch, trace);
        return trace;
    }
}
