using System.Text.Json.Nodes;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public sealed class HubTests : IDisposable
{
    private static readonly BertConfig Small = new()
    {
        VocabularySize = 30,
        HiddenSize = 8,
        Layers = 2,
        Heads = 2,
        IntermediateSize = 16,
        MaximumPositions = 10,
    };

    private readonly string folder = Directory.CreateTempSubdirectory("hub-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void AModelBuiltHereComesBackToTheBit()
    {
        using var model = new BertForSequenceClassification(
            Small with
            {
                Labels = ["no", "yes", "maybe"],
                ClassifierDropout = 0.3,
            },
            1
        );
        Hub.Save(model, folder);
        using var again = Hub.Load<BertForSequenceClassification>(folder);
        Assert.Equal(
            model.Config with
            {
                Labels = [],
            },
            again.Config with
            {
                Labels = [],
            } with
            {
                Labels = (model.Config with { Labels = [] }).Labels,
            }
        );
        Assert.Equal(model.Config.Labels, again.Config.Labels);
        foreach (var (name, parameter) in model.HubParameters())
            Assert.True(parameter.eq(again.HubParameters()[name]).all().ToBoolean(), name);
        Assert.False(again.training);
    }

    [Fact]
    public void AnotherElementTypeIsKeptOrAskedFor()
    {
        using var model = new BertModel(Small, 1);
        model.to(ScalarType.BFloat16);
        Hub.Save(model, folder);
        using var kept = Hub.Load(folder);
        Assert.Equal(ScalarType.BFloat16, kept.HubParameters().Values.First().dtype);
        using var wide = Hub.Load(folder, dtype: ScalarType.Float32);
        Assert.Equal(ScalarType.Float32, wide.HubParameters().Values.First().dtype);
        Assert.Contains("BertModel", Assert.Throws<ArgumentException>(() => Hub.Load<RobertaModel>(folder)).Message);
    }

    [Fact]
    public void EveryDifferenceIsInOneMessage()
    {
        using var scope = NewDisposeScope();
        using var model = new BertForMaskedLanguageModel(Small, 1);
        Hub.Save(model, folder);
        Rewrite(tensors =>
        {
            tensors.Remove("bert.embeddings.LayerNorm.bias");
            tensors.Remove("cls.predictions.bias");
            tensors["surplus"] = ones(2);
            tensors["bert.embeddings.word_embeddings.weight"] = ones(31, 8);
        });
        var error = Assert.Throws<CheckpointMismatchException>(() => Hub.Load(folder));
        Assert.Equal(2, error.Missing.Count);
        Assert.Single(error.Unexpected);
        Assert.Single(error.WrongShapes);
        foreach (
            string name in new[] { "bert.embeddings.LayerNorm.bias", "cls.predictions.bias", "surplus", "[31, 8]", "[30, 8]" }
        )
            Assert.Contains(name, error.Message);
    }

    [Fact]
    public void WhatOlderCheckpointsHoldBesidesIsTolerated()
    {
        using var scope = NewDisposeScope();
        using var model = new BertForMaskedLanguageModel(Small, 1);
        Hub.Save(model, folder);
        Rewrite(tensors =>
        {
            tensors["bert.embeddings.position_ids"] = arange(10).unsqueeze(0);
            tensors["bert.pooler.dense.weight"] = ones(8, 8);
            tensors["bert.pooler.dense.bias"] = ones(8);
            tensors["cls.seq_relationship.weight"] = ones(2, 8);
            tensors["cls.seq_relationship.bias"] = ones(2);
            tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone();
            tensors["bert.embeddings.LayerNorm.gamma"] = tensors["bert.embeddings.LayerNorm.weight"];
            tensors["bert.embeddings.LayerNorm.beta"] = tensors["bert.embeddings.LayerNorm.bias"];
            tensors.Remove("bert.embeddings.LayerNorm.weight");
            tensors.Remove("bert.embeddings.LayerNorm.bias");
        });
        using var again = Hub.Load(folder);
        foreach (var (name, parameter) in model.HubParameters())
            Assert.True(parameter.eq(again.HubParameters()[name]).all().ToBoolean(), name);
    }

    [Fact]
    public void ADecoderThatDiffersFromTheTableItIsTiedToIsRefused()
    {
        using var scope = NewDisposeScope();
        using var model = new BertForMaskedLanguageModel(Small, 1);
        Hub.Save(model, folder);
        Rewrite(tensors => tensors["cls.predictions.decoder.weight"] = ones(30, 8));
        Assert.Contains("tie_word_embeddings", Assert.Throws<ArgumentException>(() => Hub.Load(folder)).Message);
    }

    [Theory]
    [InlineData("position_embedding_type", "\"relative_key\"")]
    [InlineData("is_decoder", "true")]
    [InlineData("add_cross_attention", "true")]
    [InlineData("model_type", "\"gpt9\"")]
    [InlineData("architectures", "[\"BertLMHeadModel\"]")]
    [InlineData("quantization_config", "{\"bits\":8}")]
    public void WhatIsNotBuiltIsRefusedByName(string option, string value)
    {
        using var model = new BertModel(Small, 1);
        Hub.Save(model, folder);
        SetOption(option, value);
        string message = Assert.Throws<NotSupportedException>(() => Hub.Load(folder)).Message;
        Assert.Contains(option is "architectures" ? "BertForMaskedLM" : option, message);
    }

    [Theory]
    [InlineData("hidden_size", "\"wide\"")]
    [InlineData("hidden_act", "\"gelo\"")]
    [InlineData("num_attention_heads", "3")]
    [InlineData("id2label", "{\"0\":\"a\",\"2\":\"b\"}")]
    public void WrongOptionsAreRefused(string option, string value)
    {
        using var model = new BertModel(Small, 1);
        Hub.Save(model, folder);
        SetOption(option, value);
        Assert.Throws<ArgumentException>(() => Hub.Load(folder));
    }

    [Fact]
    public void AShardedFolderIsLoaded()
    {
        using var scope = NewDisposeScope();
        using var model = new BertModel(Small, 1);
        Hub.Save(model, folder);
        File.Delete(Path.Combine(folder, Checkpoint.SingleFile));
        var map = new JsonObject();
        foreach (
            var half in model
                .HubParameters()
                .Select((pair, number) => (pair, Shard: $"model-0000{number % 2 + 1}-of-00002.safetensors"))
                .GroupBy(item => item.Shard)
        )
        {
            SafeTensorsWriter.Write(
                Path.Combine(folder, half.Key),
                half.Select(item => (item.pair.Key, (Tensor)item.pair.Value))
            );
            foreach (var item in half)
                map[item.pair.Key] = half.Key;
        }
        File.WriteAllText(Path.Combine(folder, Checkpoint.IndexFile), new JsonObject { ["weight_map"] = map }.ToJsonString());
        using var again = Hub.Load(folder);
        foreach (var (name, parameter) in model.HubParameters())
            Assert.True(parameter.eq(again.HubParameters()[name]).all().ToBoolean(), name);
    }

    [Fact]
    public void AnEmptyFolderIsRefused() =>
        Assert.Contains(Hub.ConfigFile, Assert.Throws<FileNotFoundException>(() => Hub.Load(folder)).Message);

    private void Rewrite(Action<Dictionary<string, Tensor>> change)
    {
        string path = Path.Combine(folder, Checkpoint.SingleFile);
        Dictionary<string, Tensor> tensors;
        using (var file = SafeTensorsFile.Open(path))
            tensors = file.Entries.Keys.ToDictionary(name => name, name => file.Read(name));
        change(tensors);
        SafeTensorsWriter.Write(path, tensors.Select(pair => (pair.Key, pair.Value)));
    }

    private void SetOption(string option, string value)
    {
        string path = Path.Combine(folder, Hub.ConfigFile);
        var json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        json[option] = JsonNode.Parse(value);
        File.WriteAllText(path, json.ToJsonString());
    }
}
