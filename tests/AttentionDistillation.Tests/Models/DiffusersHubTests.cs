using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>Checkpoint folders of diffusers, in and out.</summary>
public sealed class DiffusersHubTests
{
    private static readonly DiffusionTransformerConfig Transformer = new()
    {
        SampleSize = 8,
        HiddenSize = 32,
        Layers = 2,
        Heads = 4,
        Classes = 3,
        Time = new SinusoidalTime(256, DownscaleShift: 1),
    };

    public static TheoryData<string> Models => new("unet", "dit", "joint");

    private static IHubModel Build(string name) =>
        name switch
        {
            "unet" => new LatentDiffusionUNet(
                LatentDiffusionUNetConfig.Tiny with
                {
                    Classes = 4,
                    TimeScalesAndShifts = true,
                    PooledTextWidth = 6,
                    TimeIdCount = 6,
                    TimeIdWidth = 4,
                },
                1
            ),
            "dit" => new DiffusionTransformer(Transformer, 1),
            _ => new JointDiffusionTransformer(JointDiffusionTransformerConfig.Tiny, 1),
        };

    [Theory]
    [MemberData(nameof(Models))]
    public void AModelBuiltHereComesBackToTheBit(string name)
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        using var model = Build(name);
        DenoiserChecks.Perturb(model.Module, 2);
        foreach (long size in new[] { Hub.DefaultShardSize, 50_000 })
        {
            Hub.Save(model, folder.Path, size);
            Assert.NotEmpty(Directory.GetFiles(folder.Path, "diffusion_pytorch_model*.safetensors"));
            Assert.Empty(Directory.GetFiles(folder.Path, "model*"));
            using var again = Hub.Load(folder.Path);
            Assert.Equal(model.GetType(), again.GetType());
            Assert.Equal(model.ToHubConfig().ToJsonString(), again.ToHubConfig().ToJsonString());
            foreach (var (key, parameter) in model.HubParameters())
                Assert.True(parameter.eq(again.HubParameters()[key]).all().ToBoolean(), key);
        }
        var config = JsonNode.Parse(File.ReadAllText(folder.At("config.json")))!.AsObject();
        Assert.Equal(model.Architecture, config["_class_name"]!.ToString());
        Assert.False(config.ContainsKey("architectures"));
    }

    [Fact]
    public void AConfigurationAsDiffusersWroteItForStableDiffusionIsRead()
    {
        using var folder = new TemporaryFolder();
        const string Written = """
            {"_class_name":"UNet2DConditionModel","_diffusers_version":"0.6.0","act_fn":"silu","attention_head_dim":4,"block_out_channels":[32,64],
             "center_input_sample":false,"cross_attention_dim":24,"down_block_types":["CrossAttnDownBlock2D","DownBlock2D"],"downsample_padding":1,
             "flip_sin_to_cos":true,"freq_shift":0,"in_channels":4,"layers_per_block":2,"mid_block_scale_factor":1,"norm_eps":1e-05,
             "norm_num_groups":32,"out_channels":4,"sample_size":64,"up_block_types":["UpBlock2D","CrossAttnUpBlock2D"]}
            """;
        var expected = new LatentDiffusionUNetConfig { Levels = [new(32, 1, 4), new(64, 0, 4)], ContextWidth = 24 };
        using var model = new LatentDiffusionUNet(expected, 1);
        Hub.Save(model, folder.Path);
        File.WriteAllText(folder.At("config.json"), Written);
        using var again = Hub.Load<LatentDiffusionUNet>(folder.Path);
        Assert.Equal(expected.Levels, again.Config.Levels);
        Assert.Equal(expected.ContextWidth, again.Config.ContextWidth);
        // Saved again, what was not ours to know is still there.
        Hub.Save(again, folder.Path);
        Assert.Contains("0.6.0", File.ReadAllText(folder.At("config.json")));

        foreach (
            var (option, value) in new[]
            {
                ("time_cond_proj_dim", "256"),
                ("dual_cross_attention", "true"),
                ("mid_block_type", "\"UNetMidBlock2DSimpleCrossAttn\""),
                ("conv_in_kernel", "5"),
            }
        )
        {
            var json = JsonNode.Parse(Written)!.AsObject();
            json[option] = JsonNode.Parse(value);
            File.WriteAllText(folder.At("config.json"), json.ToJsonString());
            Assert.Contains(option, Assert.Throws<NotSupportedException>(() => Hub.Load(folder.Path)).Message);
        }
    }

    [Fact]
    public void CopiesOfSharedEmbeddingsMustAgree()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        using var model = new DiffusionTransformer(Transformer, 1);
        Hub.Save(model, folder.Path);
        string path = folder.At("diffusion_pytorch_model.safetensors");
        var tensors = new Dictionary<string, Tensor>();
        using (var file = SafeTensorsFile.Open(path))
            foreach (string name in file.Entries.Keys)
                tensors[name] = file.Read(name);
        const string Copy = "transformer_blocks.1.norm1.emb.timestep_embedder.linear_1.bias";
        tensors[Copy] = tensors[Copy] + 1;
        SafeTensorsWriter.Write(path, tensors.Select(pair => (pair.Key, pair.Value)));
        Assert.Contains(Copy, Assert.Throws<ArgumentException>(() => Hub.Load(folder.Path)).Message);
    }
}
