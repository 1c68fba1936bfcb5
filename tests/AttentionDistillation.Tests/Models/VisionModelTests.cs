using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>What all vision models owe: published sizes, gradients everywhere, traces, no leaks, refusals.</summary>
public sealed class VisionModelTests
{
    public static TheoryData<string> Models => [.. VisionModels.Names];

    /// <summary>Published counts: torchvision for ViT-B, -L and ResNets, timm's model cards for the others, with 1,000 classes.</summary>
    public static TheoryData<string, long> TransformerCounts =>
        new()
        {
            { "vit-tiny", 5_717_416 },
            { "vit-small", 22_050_664 },
            { "vit-base", 86_567_656 },
            { "vit-large", 304_326_632 },
            { "deit-tiny", 5_910_800 },
            { "deit-small", 22_436_432 },
            { "deit-base", 87_338_192 },
            { "clip-base32", 151_277_313 },
            { "clip-base16", 149_620_737 },
            { "clip-large14", 427_616_513 },
        };

    /// <summary>Layers are alike, so models of one and of two layers tell the size of one of any depth without building it.</summary>
    [Theory]
    [MemberData(nameof(TransformerCounts))]
    public void TransformersHaveThePublishedNumberOfParameters(string name, long count)
    {
        using var scope = NewDisposeScope();
        (int layers, Func<int, nn.Module> build) = name switch
        {
            "vit-tiny" => Vit(VitConfig.Tiny),
            "vit-small" => Vit(VitConfig.Small),
            "vit-base" => Vit(VitConfig.Base),
            "vit-large" => Vit(VitConfig.Large),
            "deit-tiny" => Deit(DeitConfig.Tiny),
            "deit-small" => Deit(DeitConfig.Small),
            "deit-base" => Deit(DeitConfig.Base),
            _ => (0, _ => throw new InvalidOperationException("CLIP has two depths.")),
        };
        if (layers == 0)
        {
            var clip = name switch
            {
                "clip-base32" => ClipConfig.Base32,
                "clip-base16" => ClipConfig.Base16,
                _ => ClipConfig.Large14,
            };
            const long Words = 32; // instead of 49,408: a word costs its row
            long least = Count(Clip(clip, 1, 1));
            long text = Count(Clip(clip, 2, 1)) - least;
            long vision = Count(Clip(clip, 1, 2)) - least;
            long words = (clip.Text.VocabularySize - Words) * clip.Text.HiddenSize;
            Assert.Equal(count, least + words + (clip.Text.Layers - 1) * text + (clip.Vision.Layers - 1) * vision);
            return;
        }
        long one = Count(build(1)),
            two = Count(build(2));
        Assert.Equal(count, one + (layers - 1) * (two - one));

        static (int, Func<int, nn.Module>) Vit(VitConfig config) =>
            (config.Layers, depth => new VitForImageClassification(config with { Layers = depth }, SeededLayers.Blank));

        static (int, Func<int, nn.Module>) Deit(DeitConfig config) =>
            (
                config.Layers,
                depth => new DeitForImageClassificationWithTeacher(config with { Layers = depth }, SeededLayers.Blank)
            );

        static ClipModel Clip(ClipConfig config, int text, int vision) =>
            new(
                config with
                {
                    Text = config.Text with { Layers = text, VocabularySize = 32, EndToken = 31 },
                    Vision = config.Vision with { Layers = vision },
                },
                SeededLayers.Blank
            );
    }

    /// <summary>ImageNet: torchvision. CIFAR: He et al., 2015, table 6, in millions to two places.</summary>
    [Fact]
    public void ResidualNetworksHaveThePublishedNumberOfParameters()
    {
        using var scope = NewDisposeScope();
        Assert.Equal(11_689_512, Count(new ResNetForImageClassification(ResNetConfig.ResNet18, SeededLayers.Blank)));
        Assert.Equal(21_797_672, Count(new ResNetForImageClassification(ResNetConfig.ResNet34, SeededLayers.Blank)));
        Assert.Equal(25_557_032, Count(new ResNetForImageClassification(ResNetConfig.ResNet50, SeededLayers.Blank)));
        Assert.Equal(44_549_160, Count(new ResNetForImageClassification(ResNetConfig.ResNet101, SeededLayers.Blank)));
        Assert.Equal(60_192_808, Count(new ResNetForImageClassification(ResNetConfig.ResNet152, SeededLayers.Blank)));
        Assert.Equal(11_173_962, Count(new ResNetForImageClassification(ResNetConfig.ResNet18Cifar, SeededLayers.Blank)));
        (int Layers, double Millions)[] cifar = [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)];
        foreach (var (layers, millions) in cifar)
        {
            double count = Count(new ResNetForImageClassification(ResNetConfig.Cifar(layers), SeededLayers.Blank)) / 1e6;
            Assert.Equal(millions, Math.Round(count, layers == 110 ? 1 : 2));
        }
    }

    /// <summary>Counted from the published code: 5.39, 11.00 and 21.20 million.</summary>
    [Fact]
    public void TinyVitsHaveThePublishedNumberOfParameters()
    {
        using var scope = NewDisposeScope();
        (HierarchicalConfig Config, double Millions)[] presets =
        [
            (HierarchicalConfig.TinyVit5M, 5.39),
            (HierarchicalConfig.TinyVit11M, 11.00),
            (HierarchicalConfig.TinyVit21M, 21.20),
        ];
        foreach (var (config, millions) in presets)
            Assert.Equal(millions, Math.Round(Count(new HierarchicalVisionTransformer(config, SeededLayers.Blank)) / 1e6, 2));
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void EveryWeightGetsAGradient(string name)
    {
        using var scope = NewDisposeScope();
        using var model = VisionModels.Build(name);
        var trace = new ForwardTrace(TraceRequest.Features(model.Capabilities.Features), model.Capabilities);
        model.Run(new Batch((ImageModel.PixelValues, VisionModels.Images(name))), trace);
        model
            .Capabilities.Features.Aggregate(
                trace.Output.square().sum(),
                (sum, feature) => sum + trace.Feature(feature).square().sum()
            )
            .backward();
        Assert.All(
            model.named_parameters(),
            pair => Assert.True(pair.parameter.grad is { } grad && grad.isfinite().all().ToBoolean(), $"{name} {pair.name}")
        );
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void TracesHoldWhatTheCapabilitiesSay(string name)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = VisionModels.Build(name);
        model.eval();
        var batch = new Batch((ImageModel.PixelValues, VisionModels.Images(name)));
        var trace = VisionModels.RunAll(model, batch);
        Assert.Equal(model.Capabilities.Layers, trace.Attentions.Count);
        int last = model.Capabilities.LastHiddenState ?? model.Capabilities.Layers;
        for (int state = 0; state <= last; state++)
        {
            Assert.Equal(2, trace.Hidden(state).size(0));
            // Each alone, without the output, is the same to the bit.
            var alone = new ForwardTrace(TraceRequest.Hidden(state), model.Capabilities, wantsOutput: false);
            model.Run(batch, alone);
            Assert.True(alone.Hidden(state).eq(trace.Hidden(state)).all().ToBoolean(), $"{name} hidden {state}");
            Assert.Throws<InvalidOperationException>(() => alone.Output);
        }
        for (int layer = 0; layer < model.Capabilities.Layers; layer++)
        {
            var alone = new ForwardTrace(TraceRequest.Attention(layer), model.Capabilities, wantsOutput: false);
            model.Run(batch, alone);
            var map = alone.Attention(layer).Probabilities();
            Assert.True(map.eq(trace.Attention(layer).Probabilities()).all().ToBoolean(), $"{name} attention {layer}");
            Assert.True(map.sum(-1).allclose(ones_like(map.sum(-1))), $"{name} attention {layer}");
        }
        if (model.Capabilities.Layers == 0)
            Assert.Contains(
                "no attention",
                Assert.Throws<ArgumentException>(() => new ForwardTrace(TraceRequest.LastAttention, model.Capabilities)).Message
            );
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void FiftyPassesLeaveNothing(string name)
    {
        using var model = VisionModels.Build(name);
        using var images = VisionModels.Images(name);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int pass = 0; pass < 50; pass++)
        {
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            var batch = new Batch((ImageModel.PixelValues, images));
            if (pass % 2 == 0)
                model.call(images, null);
            else
                VisionModels.RunAll(model, batch);
            // Output, three tensors and perhaps a bias per attention, hidden states, features: nothing in between.
            var capabilities = model.Capabilities;
            int most =
                1
                + 4 * capabilities.Layers
                + (capabilities.LastHiddenState ?? capabilities.Layers)
                + 1
                + capabilities.Features.Length;
            Assert.InRange(scope.DisposablesCount, 1, pass % 2 == 0 ? 1 : most);
        }
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    /// <summary>
    /// Memory is filled with NaN between the passes: kernels that read what they did not write (see <see cref="ImageLayout"/>) are found out.
    /// </summary>
    [Theory]
    [MemberData(nameof(Models))]
    public void Float32AgreesWithFloat64InOutputAndGradients(string name)
    {
        using var scope = NewDisposeScope();
        using var first = VisionModels.Build(name);
        rand(3).Dispose();
        using var second = VisionModels.Build(name);
        Assert.All(
            first.parameters().Zip(second.parameters()),
            pair => Assert.True(pair.First.eq(pair.Second).all().ToBoolean())
        );
        first.eval(); // batch statistics of few values would enlarge rounding
        second.eval();
        second.to(ScalarType.Float64);
        var images = VisionModels.Images(name);
        Poison();
        var output = first.call(images, null);
        var weights = randn_like(output);
        (output * weights).sum().backward();
        var exact = second.call(images.to(ScalarType.Float64), null);
        (exact * weights.to(ScalarType.Float64)).sum().backward();
        Check.Close(exact, output, 1e-4, name);
        foreach (var (narrow, wide) in first.named_parameters().Zip(second.named_parameters()))
            if (wide.parameter.grad is { } gradient)
                Check.Close(gradient, narrow.parameter.grad!, 2e-3, $"{name} {narrow.name}");
        second.to(ScalarType.BFloat16);
        var rounded = second.call(images.to(ScalarType.BFloat16), null);
        Assert.Equal(ScalarType.BFloat16, rounded.dtype);
        Check.Close(exact, rounded, 0.1, $"{name} in bfloat16");
    }

    [Theory]
    [InlineData(1, 24, 24)]
    [InlineData(3, 24, 12)]
    [InlineData(24, 12, 1)]
    public void ConvolutionsOfAnyWidthAreRight(long input, long output, long side)
    {
        using var scope = NewDisposeScope();
        using var block = new AttentionDistillation.Models.Blocks.ConvolutionNorm(input, output, 3, new SeededLayers(1, 1.0));
        block.eval();
        var map = new RandomTensors(1).Normal(2, input, side, side);
        Poison();
        var narrow = map.to(ScalarType.Float32).requires_grad_();
        var result = block.call(narrow);
        result.square().sum().backward();
        block.to(ScalarType.Float64);
        var wide = map.requires_grad_();
        var exact = block.call(wide);
        exact.square().sum().backward();
        Check.Close(exact, result, 1e-5);
        Check.Close(wide.grad!, narrow.grad!, 1e-5);
    }

    private static void Poison()
    {
        for (int size = 6; size < 18; size++)
        for (int copy = 0; copy < 8; copy++)
            full([1L << size], float.NaN).Dispose();
    }

    [Fact]
    public void MapsHaveTheShapesOfTheirStages()
    {
        using var scope = NewDisposeScope();
        using var resnet = new ResNetForImageClassification(ResNetConfig.Cifar(8), 1);
        var trace = VisionModels.RunAll(resnet, new Batch((ImageModel.PixelValues, VisionModels.Images(2, 32, 30))));
        Assert.Equal([2L, 16, 32, 30], trace.Feature("stage1").shape);
        Assert.Equal([2L, 32, 16, 15], trace.Feature("stage2").shape);
        Assert.Equal([2L, 64, 8, 8], trace.Feature("stage3").shape);
        Assert.Equal([2L, 10], trace.Output.shape);

        using var tiny = new HierarchicalVisionTransformer(VisionModels.TinyVit, 1);
        trace = VisionModels.RunAll(tiny, new Batch((ImageModel.PixelValues, VisionModels.Images(2, 28, 20))));
        Assert.Equal([2L, 8, 7, 5], trace.Feature("stage1").shape);
        Assert.Equal([2L, 12, 4, 3], trace.Feature("stage2").shape);
        Assert.Equal([2L, 16, 2, 2], trace.Feature("stage3").shape);
        Assert.Equal([2L * 2, 2, 9, 9], trace.Attention(0).Probabilities().shape);

        using var unet = new SegmentationUNet(VisionModels.UNet, 1);
        trace = VisionModels.RunAll(unet, new Batch((ImageModel.PixelValues, VisionModels.Images(2, 21, 26))));
        Assert.Equal([2L, 5, 21, 26], trace.Output.shape);
        Assert.Equal([2L, 8, 5, 6], trace.Feature("down3").shape);
        Assert.Equal([2L, 4, 21, 26], trace.Feature("up1").shape);
        Assert.Equal([2L, 2, 30, 30], trace.LastAttention.Probabilities().shape);
    }

    [Fact]
    public void StochasticDepthDropsWholeExamplesInTrainingOnly()
    {
        using var scope = NewDisposeScope();
        using var layer = new AttentionDistillation.Models.Blocks.DropPath(0.25);
        var branch = ones(4_000, 3);
        AttentionDistillation.Runtime.Seeds.SetGlobal(1, "drop path");
        var dropped = layer.call(branch);
        Assert.True(dropped.eq(dropped.narrow(1, 0, 1)).all().ToBoolean()); // an example's entries go together
        Assert.Equal([0f, 4f / 3], dropped.unique().output.data<float>().ToArray());
        Assert.InRange(dropped.mean().ToDouble(), 0.95, 1.05);
        layer.eval();
        Assert.True(layer.call(branch).eq(branch).all().ToBoolean());
        using var model = new VitForImageClassification(VisionModels.Vit with { DropPathRate = 0.9 }, 1);
        var images = VisionModels.Images("vit");
        model.eval();
        Assert.True(model.call(images, null).eq(model.call(images, null)).all().ToBoolean());
        model.train();
        Assert.False(model.call(images, null).eq(model.call(images, null)).all().ToBoolean());
        Assert.Throws<ArgumentException>(() => new AttentionDistillation.Models.Blocks.DropPath(1.0));
    }

    [Fact]
    public void LearningRatesShrinkTowardsTheInput()
    {
        using var scope = NewDisposeScope();
        using var vit = new VitForImageClassification(VisionModels.Vit, 1);
        var scales = vit.LearningRateScales(0.5);
        Assert.Equal(vit.named_parameters().Select(pair => pair.name).Order(), scales.Keys.Order());
        Assert.Equal(1.0, scales["classifier.weight"]);
        Assert.Equal(0.5, scales["layers.2.feedForward.inner.weight"]);
        Assert.Equal(0.0625, scales["embeddings.classToken"]);
        using var tiny = new HierarchicalVisionTransformer(VisionModels.TinyVit, 1);
        scales = tiny.LearningRateScales(0.5);
        Assert.Equal(0.125, scales["stem.first.convolution.weight"]); // four blocks: the stem as the first
        Assert.Equal(0.25, scales["stages.1.blocks.0.attention.qkv.weight"]);
        Assert.Equal(0.5, scales["downsamplings.1.halve.convolution.weight"]);
        Assert.Equal(1.0, scales["classifier.weight"]);
        Assert.Throws<ArgumentException>(() => vit.LearningRateScales(0));
    }

    [Fact]
    public void ImpossibleConfigurationsAreRefused()
    {
        void Refused(string word, Action build) => Assert.Contains(word, Assert.Throws<ArgumentException>(build).Message);
        Refused("Heads", () => new VitModel(VisionModels.Vit with { Heads = 5 }, 1));
        Refused("PatchSize", () => new VitModel(VisionModels.Vit with { PatchSize = 13 }, 1));
        Refused("gelu_new", () => new VitModel(VisionModels.Vit with { HiddenActivation = "gelo" }, 1));
        Refused("Labels", () => new DeitForImageClassification(VisionModels.Deit with { Labels = [] }, 1));
        Refused("Depths", () => new ResNetModel(ResNetConfig.ResNet50 with { Depths = [3] }, 1));
        Refused("Widths", () => new ResNetModel(VisionModels.Bottleneck with { Widths = [16, 22] }, 1));
        Refused(
            "Projection",
            () => new ResNetModel(VisionModels.Basic with { Widths = [8, 4], Shortcut = ResNetShortcut.ZeroPadding }, 1)
        );
        Refused("6 n + 2", () => ResNetConfig.Cifar(21));
        Refused(
            "EndToken",
            () => new ClipModel(VisionModels.Clip with { Text = VisionModels.Clip.Text with { EndToken = 30 } }, 1)
        );
        Refused(
            "stage 2",
            () =>
                new HierarchicalVisionTransformer(
                    VisionModels.TinyVit with
                    {
                        Stages = [VisionModels.TinyVit.Stages[0], VisionModels.TinyVit.Stages[1] with { Heads = 5 }],
                    },
                    1
                )
        );
        Refused(
            "maker",
            () =>
                new HierarchicalVisionTransformer(
                    VisionModels.TinyVit with
                    {
                        Stages = [VisionModels.TinyVit.Stages[0] with { Block = HierarchicalBlock.Custom }],
                    },
                    1
                )
        );
        Refused("BottleneckHeads", () => new SegmentationUNet(VisionModels.UNet with { BottleneckHeads = 3 }, 1));
        using var scope = NewDisposeScope();
        using var vit = new VitModel(VisionModels.Vit with { InterpolatesPositions = false }, 1);
        Refused("16 x 12", () => vit.call(VisionModels.Images(1, 16, 12), null));
        Refused("[-1, 3, -1, -1]", () => vit.call(zeros(1, 1, 12, 12), null));
        Refused("real numbers", () => vit.call(zeros(1, 3, 12, 12, dtype: ScalarType.Byte), null));
        using var unet = new SegmentationUNet(VisionModels.UNet, 1);
        Refused("too small", () => unet.call(VisionModels.Images(1, 3, 24), null));
        using var whole = new HierarchicalVisionTransformer(VisionModels.Shifted, 1);
        Refused("windows", () => whole.call(VisionModels.Images(1, 32, 32), null));
    }

    private static long Count(nn.Module model)
    {
        using (model)
            return model.parameters().Sum(parameter => parameter.numel());
    }
}
