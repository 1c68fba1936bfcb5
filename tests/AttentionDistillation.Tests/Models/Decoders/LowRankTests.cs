using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Decoders;

public sealed class LowRankTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("lora-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData("gpt2", "c_attn,c_proj")]
    [InlineData("llama", "q_proj,v_proj,up_proj")]
    [InlineData("llama", "all-linear")]
    [InlineData("qwen2-window", @".*layers\.[12]\..*(k_proj|down_proj)")]
    public void AdaptersChangeMergeUnmergeAndComeBack(string name, string targets)
    {
        using var scope = NewDisposeScope();
        using var model = TinyDecoders.Build(name);
        var tokens = TinyDecoders.Tokens(2, 7);
        var before = model.Run(tokens, null);
        var options = new LowRankOptions
        {
            Rank = 3,
            Alpha = 6,
            Targets = targets.Split(','),
            RankStabilized = name == "gpt2",
        };
        using var adapters = LowRankAdapters.Attach(model, options, 1);
        Assert.Equal(0.0, TinyDecoders.Difference(before, model.Run(tokens, null)));
        Assert.Equal(2 * adapters.Adapters.Count, adapters.TrainableParameters.Count());
        using (no_grad())
            foreach (var adapter in adapters.Adapters.Values)
                adapter.Up.add_(randn(adapter.Up.shape, dtype: ScalarType.Float64) * 0.3);
        var changed = model.Run(tokens, null);
        Assert.True(TinyDecoders.Difference(before, changed) > 1e-3);
        changed.sum().backward();
        Assert.All(adapters.Adapters.Values, adapter => Assert.NotNull(adapter.Down.grad));
        Assert.True(model.WordTable.grad is null);

        adapters.Save(folder, "base");
        adapters.Merge();
        Assert.True(TinyDecoders.Difference(changed, model.Run(tokens, null)) < 1e-9);
        adapters.Unmerge();
        Assert.Equal(0.0, TinyDecoders.Difference(changed, model.Run(tokens, null)));
        adapters.Dispose();
        Assert.Equal(0.0, TinyDecoders.Difference(before, model.Run(tokens, null)));
        Assert.All(model.parameters(), parameter => Assert.True(parameter.requires_grad));

        using var again = LowRankAdapters.Load(model, folder);
        Assert.Equal(0.0, TinyDecoders.Difference(changed, model.Run(tokens, null)));
    }

    [Fact]
    public void TheFormatIsThatOfPeft()
    {
        using var scope = NewDisposeScope();
        using var model = new LlamaForSequenceClassification(TinyDecoders.Llama, 1);
        using var adapters = LowRankAdapters.Attach(
            model,
            new LowRankOptions
            {
                Targets = ["q_proj"],
                TrainedModules = ["score"],
                Dropout = 0.1,
            },
            1
        );
        adapters.Save(folder);
        using var file = SafeTensorsFile.Open(Path.Combine(folder, "adapter_model.safetensors"));
        Assert.Equal(3 * 2 + 1, file.Entries.Count);
        Assert.Equal([8, 16], file.Entries["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"].Shape.ToArray());
        Assert.Equal([16, 8], file.Entries["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"].Shape.ToArray());
        Assert.Equal([2, 16], file.Entries["base_model.model.score.weight"].Shape.ToArray());
        var json = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "adapter_config.json")))!;
        Assert.Equal("LORA", json["peft_type"]!.ToString());
        Assert.Equal("SEQ_CLS", json["task_type"]!.ToString());
        Assert.Equal("8", json["r"]!.ToString());

        json["use_dora"] = true;
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), json.ToJsonString());
        Assert.Contains("use_dora", Assert.Throws<NotSupportedException>(() => LowRankAdapters.Load(model, folder)).Message);
        Assert.Contains(
            "q_proj",
            Assert
                .Throws<ArgumentException>(() => LowRankAdapters.Attach(model, new LowRankOptions { Targets = ["query"] }, 1))
                .Message
        );
    }
}
