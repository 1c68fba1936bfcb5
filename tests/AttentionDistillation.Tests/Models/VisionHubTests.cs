using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>Checkpoints of the vision families beyond the recorded ones: other options, and the formulas behind them written out.</summary>
public sealed class VisionHubTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Architectures =>
        [
            "ViTModel",
            "ViTModel without pooler",
            "ViTForImageClassification without qkv_bias, not square",
            "DeiTModel",
            "DeiTForImageClassification",
            "ResNetModel",
            "ResNetForImageClassification basic",
            "ResNetForImageClassification bottleneck",
            "CLIPModel",
            "CLIPTextModel",
            "CLIPTextModelWithProjection",
            "CLIPVisionModel",
            "CLIPVisionModelWithProjection",
        ];

    [Theory]
    [MemberData(nameof(Architectures))]
    public void AModelBuiltHereComesBackToTheBit(string name)
    {
        using var scope = NewDisposeScope();
        using var model = Build(name);
        var batch = new Batch((ImageModel.PixelValues, VisionModels.Images(2, 12, 12)), ("input_ids", VisionModels.Ids()));
        if (model is ResNet)
            model.Run(batch, new ForwardTrace(TraceRequest.Nothing, model.Capabilities)); // statistics that are not their start
        Hub.Save(model, folder.Path);
        using var again = Hub.Load(folder.Path);
        Assert.Equal(model.GetType(), again.GetType());
        Assert.Equal(name.Split(' ')[0], again.Architecture);
        var (before, after) = (model.HubParameters(), again.HubParameters());
        Assert.Equal(before.Keys.Order(), after.Keys.Order());
        foreach (var (key, value) in before)
            Assert.True(value.eq(after[key]).all().ToBoolean(), key);
        model.Module.eval();
        var (first, second) = (VisionModels.RunAll(model, batch), VisionModels.RunAll(again, batch));
        Assert.True(first.Output.eq(second.Output).all().ToBoolean());
        foreach (string feature in model.Capabilities.Features)
            Assert.True(first.Feature(feature).eq(second.Feature(feature)).all().ToBoolean(), feature);
    }

    private static IHubModel Build(string name) =>
        name switch
        {
            "ViTModel" => new VitModel(VisionModels.Vit with { PoolerSize = 5, PoolerActivation = "relu" }, 1),
            "ViTModel without pooler" => new VitModel(VisionModels.Vit with { AddPooler = false }, 1),
            "ViTForImageClassification without qkv_bias, not square" => new VitForImageClassification(
                VisionModels.Vit with
                {
                    QkvBias = false,
                    ImageSize = new ImageSize(12, 20),
                    PatchSize = new ImageSize(3, 4),
                    HiddenActivation = "gelu_new",
                },
                1
            ),
            "DeiTModel" => new DeitModel(VisionModels.Deit, 1),
            "DeiTForImageClassification" => new DeitForImageClassification(VisionModels.Deit, 1),
            "ResNetModel" => new ResNetModel(VisionModels.Bottleneck, 1),
            "ResNetForImageClassification basic" => new ResNetForImageClassification(VisionModels.Basic, 1),
            "ResNetForImageClassification bottleneck" => new ResNetForImageClassification(VisionModels.Bottleneck, 1),
            "CLIPModel" => new ClipModel(VisionModels.Clip, 1),
            "CLIPTextModel" => new ClipTextModel(VisionModels.Clip.Text, false, 1),
            "CLIPTextModelWithProjection" => new ClipTextModel(VisionModels.Clip.Text, true, 1),
            "CLIPVisionModel" => new ClipVisionModel(VisionModels.Clip.Vision, false, 1),
            "CLIPVisionModelWithProjection" => new ClipVisionModel(VisionModels.Clip.Vision, true, 1),
            _ => throw new ArgumentException(name),
        };

    /// <summary>transformers' ResNet written out over a checkpoint's names, with every option that changes it.</summary>
    [Theory]
    [InlineData(ResNetBlock.Basic, false, false, "relu")]
    [InlineData(ResNetBlock.Basic, true, false, "gelu")]
    [InlineData(ResNetBlock.Bottleneck, false, false, "relu")]
    [InlineData(ResNetBlock.Bottleneck, true, true, "silu")]
    public void ResidualNetworksComputeWhatTransformersDoes(ResNetBlock block, bool first, bool inBottleneck, string act)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = new ResNetForImageClassification(
            (block == ResNetBlock.Basic ? VisionModels.Basic : VisionModels.Bottleneck) with
            {
                DownsamplesInFirstStage = first,
                DownsamplesInBottleneck = inBottleneck,
                HiddenActivation = act,
            },
            1
        );
        foreach (var (name, tensor) in model.HubParameters())
            if (name.Contains("normalization", StringComparison.Ordinal) && tensor.is_floating_point())
                tensor.copy_(rand_like(tensor).add(0.5));
        model.eval();
        var weights = model.HubParameters();
        var images = VisionModels.Images(2, 30, 26);
        var activation = Activation.Find(act);

        var map = nn.functional.max_pool2d(activation(Layer(images, "resnet.embedder.embedder", 2)), 3, 2, 1);
        for (int stage = 0; stage < 2; stage++)
        for (int layer = 0; layer < model.Config.Depths[stage]; layer++)
        {
            string name = $"resnet.encoder.stages.{stage}.layers.{layer}";
            long stride = layer == 0 && (stage > 0 || first) ? 2 : 1;
            var branch =
                block == ResNetBlock.Basic
                    ? Layer(Layer(map, $"{name}.layer.0", stride).relu(), $"{name}.layer.1", 1)
                    : Layer(
                        Layer(
                                Layer(map, $"{name}.layer.0", inBottleneck ? stride : 1).relu(),
                                $"{name}.layer.1",
                                inBottleneck ? 1 : stride
                            )
                            .relu(),
                        $"{name}.layer.2",
                        1
                    );
            bool changes = weights.ContainsKey($"{name}.shortcut.convolution.weight");
            map = activation(branch + (changes ? Layer(map, $"{name}.shortcut", stride) : map));
        }
        var logits = nn.functional.linear(map.mean([2, 3]), weights["classifier.1.weight"], weights["classifier.1.bias"]);
        Check.Close(logits, model.call(images, null), 1e-5, "logits");
        Assert.Contains("resnet.embedder.embedder.normalization.num_batches_tracked", weights.Keys);

        Tensor Layer(Tensor input, string name, long stride)
        {
            var kernel = weights[$"{name}.convolution.weight"];
            long padding = kernel.size(2) / 2;
            var convolved = nn.functional.conv2d(input, kernel, strides: [stride, stride], padding: [padding, padding]);
            return nn.functional.batch_norm(
                convolved,
                weights[$"{name}.normalization.running_mean"],
                weights[$"{name}.normalization.running_var"],
                weights[$"{name}.normalization.weight"],
                weights[$"{name}.normalization.bias"]
            );
        }
    }

    /// <summary>PyTorch's bicubic interpolation without aligned corners (Keys' kernel of -0.75, borders repeated), written out.</summary>
    [Theory]
    [InlineData(5, 4)]
    [InlineData(2, 7)]
    public void PositionsAreInterpolatedBicubically(long height, long width)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var positions = new GridPositions(3, 2, 4, new SeededLayers(1, 1.0), 1.0);
        positions.to(ScalarType.Float64);
        var table = positions.Table;
        var grid = table.narrow(1, 2, 9).view(3, 3, 4);
        var expected = zeros(height, width, 4, dtype: ScalarType.Float64);
        for (long y = 0; y < height; y++)
        for (long x = 0; x < width; x++)
        for (int dy = -1; dy <= 2; dy++)
        for (int dx = -1; dx <= 2; dx++)
        {
            var (row, fy) = Source(y, height);
            var (column, fx) = Source(x, width);
            expected[y, x] += grid[Math.Clamp(row + dy, 0, 2), Math.Clamp(column + dx, 0, 2)] * (Keys(dy - fy) * Keys(dx - fx));
        }
        var actual = positions.call(new ImageSize(height, width));
        Assert.True(actual.narrow(1, 0, 2).eq(table.narrow(1, 0, 2)).all().ToBoolean());
        Check.Close(expected.view(1, -1, 4), actual.narrow(1, 2, height * width), 1e-12);
        Assert.True(positions.call(3).eq(table).all().ToBoolean());

        static (long, double) Source(long place, long size)
        {
            double at = (place + 0.5) * 3.0 / size - 0.5;
            return ((long)Math.Floor(at), at - Math.Floor(at));
        }

        static double Keys(double distance)
        {
            const double A = -0.75;
            double d = Math.Abs(distance);
            return d <= 1 ? (A + 2) * d * d * d - (A + 3) * d * d + 1
                : d < 2 ? A * (d * d * d - 5 * d * d + 8 * d - 4)
                : 0.0;
        }
    }

    [Fact]
    public void ImagesOfOtherSizesAreServed()
    {
        using var scope = NewDisposeScope();
        using var model = new DeitModel(VisionModels.Deit, 1);
        var trace = VisionModels.RunAll(model, new Batch((ImageModel.PixelValues, VisionModels.Images(2, 16, 9))));
        Assert.Equal([2L, 2 + 4 * 2, 16], trace.Output.shape); // the ninth column of pixels is no whole patch
    }

    [Fact]
    public void BothTowersOfClipAreTracedAtOnceAndAlone()
    {
        using var scope = NewDisposeScope();
        using var model = new ClipModel(VisionModels.Clip, 1);
        model.eval();
        var images = VisionModels.Images(3, 12, 12);
        var mask = VisionModels.Ids().ne(0);
        var batch = new Batch((ImageModel.PixelValues, images), ("input_ids", VisionModels.Ids()), ("attention_mask", mask));
        var joint = VisionModels.RunAll(model, batch);
        var ofText = VisionModels.RunAll(model.Text, batch);
        var ofVision = VisionModels.RunAll(model.Vision, batch);
        Assert.Equal([3L, 2], joint.Output.shape);
        Assert.True(joint.Feature(ClipModel.LogitsPerText).eq(joint.Output.t()).all().ToBoolean());
        for (int layer = 0; layer < 3; layer++)
            Same(joint.Attention(model.VisionLayer(layer)).Probabilities(), ofVision.Attention(layer).Probabilities());
        for (int layer = 0; layer < 2; layer++)
            Same(joint.Attention(model.TextLayer(layer)).Probabilities(), ofText.Attention(layer).Probabilities());
        for (int state = 0; state <= 3; state++)
            Same(joint.Hidden(model.VisionHidden(state)), ofVision.Hidden(state));
        for (int state = 0; state <= 2; state++)
            Same(joint.Hidden(model.TextHidden(state)), ofText.Hidden(state));
        Same(joint.Feature(ClipModel.ImageEmbeds), model.EncodeImages(images));
        Same(joint.Feature(ClipModel.TextEmbeds), model.EncodeTexts(VisionModels.Ids(), mask));
        Check.Close(ones(3), joint.Feature(ClipModel.ImageEmbeds).norm(-1), 1e-6);

        // What only the vision tower has to give needs no text.
        var some = new ForwardTrace(
            TraceRequest.Attention(model.VisionLayer(-1)) + TraceRequest.Features(ClipModel.ImageEmbeds),
            model.Capabilities,
            wantsOutput: false
        );
        model.Run(new Batch((ImageModel.PixelValues, images)), some);
        Same(some.Attention(model.VisionLayer(-1)).Probabilities(), ofVision.LastAttention.Probabilities());
        Assert.Throws<ArgumentOutOfRangeException>(() => model.TextLayer(2));

        static void Same(Tensor first, Tensor second) => Assert.True(first.eq(second).all().ToBoolean());
    }

    [Fact]
    public void ATextIsTakenAtItsEnd()
    {
        using var scope = NewDisposeScope();
        using var first = new ClipTextModel(VisionModels.Clip.Text with { EndToken = 9 }, true, 1);
        using var legacy = new ClipTextModel(VisionModels.Clip.Text with { EndToken = 2 }, true, 1);
        var ids = tensor(
            new long[,]
            {
                { 4, 9, 9, 28, 1 },
            }
        );
        var trace = VisionModels.RunAll(first, new Batch(("input_ids", ids)));
        Assert.True(trace.Feature(ClipModel.PoolerOutput).eq(trace.Feature("last_hidden_state").select(1, 1)).all().ToBoolean());
        trace = VisionModels.RunAll(legacy, new Batch(("input_ids", ids)));
        Assert.True(trace.Feature(ClipModel.PoolerOutput).eq(trace.Feature("last_hidden_state").select(1, 3)).all().ToBoolean());
        // Causal: what comes after the end changes nothing, and what comes before does.
        var other = tensor(
            new long[,]
            {
                { 4, 9, 7, 5, 6 },
            }
        );
        Check.Close(first.call(ids, null, null), first.call(other, null, null), 1e-6);
        Assert.Contains(
            "10",
            Assert.Throws<ArgumentException>(() => first.call(zeros(1, 11, dtype: ScalarType.Int64), null, null)).Message
        );
    }

    [Fact]
    public void EveryWeightOfClipGetsAGradientAndFiftyPassesLeaveNothing()
    {
        using var model = new ClipModel(VisionModels.Clip, 1);
        using (NewDisposeScope())
        {
            model.call(VisionModels.Images(2, 12, 12), VisionModels.Ids(), null, null).square().sum().backward();
            Assert.All(model.named_parameters(), pair => Assert.True(pair.parameter.grad is not null, pair.name));
            model.zero_grad();
        }
        using var images = VisionModels.Images(2, 12, 12);
        using var ids = VisionModels.Ids();
        using var mask = ids.ge(0).to(ScalarType.Int64);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int pass = 0; pass < 50; pass++)
        {
            using var scope = NewDisposeScope();
            VisionModels.RunAll(model, new Batch((ImageModel.PixelValues, images), ("input_ids", ids), ("attention_mask", mask)));
            Assert.Equal(5 * 3 + 7 + 4 + 1 + 1, scope.DisposablesCount); // attention, hidden states, features, output, mask as bool
        }
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Theory]
    [InlineData("vit", "architectures", "[\"ViTForMaskedImageModeling\"]", "ViTForImageClassification")]
    [InlineData("vit", "quantization_config", "{\"bits\":8}", "quantization_config")]
    [InlineData("resnet", "layer_type", "\"fancy\"", "layer_type")]
    [InlineData("resnet", "architectures", "[\"ResNetBackbone\"]", "ResNetModel")]
    public void WhatIsNotBuiltIsRefusedByName(string family, string option, string value, string word)
    {
        using var model = family == "vit" ? Build("ViTModel") : Build("ResNetModel");
        Hub.Save(model, folder.Path);
        string path = folder.At(Hub.ConfigFile);
        var json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        json[option] = JsonNode.Parse(value);
        File.WriteAllText(path, json.ToJsonString());
        Assert.Contains(word, Assert.Throws<NotSupportedException>(() => Hub.Load(folder.Path)).Message);
    }

    [Fact]
    public void AStemForSmallImagesHasNoFormInACheckpoint()
    {
        using var model = new ResNetForImageClassification(ResNetConfig.Cifar(8), 1);
        Assert.Contains("SafeTensorsWriter", Assert.Throws<NotSupportedException>(() => Hub.Save(model, folder.Path)).Message);
        Assert.False(File.Exists(folder.At(Hub.ConfigFile)));
    }
}
