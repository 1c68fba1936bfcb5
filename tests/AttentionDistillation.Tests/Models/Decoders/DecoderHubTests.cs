using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Decoders;

public sealed class DecoderHubTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("decoder-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    public static TheoryData<string> Architectures() =>
        [
            .. typeof(TextDecoder)
                .Assembly.GetTypes()
                .Where(type => type.IsSubclassOf(typeof(TextDecoder)) && !type.IsAbstract)
                .Select(type => type.Name),
        ];

    [Theory]
    [MemberData(nameof(Architectures))]
    public void EveryArchitectureComesBackToTheBit(string name)
    {
        using var scope = NewDisposeScope();
        var type = typeof(TextDecoder).Assembly.GetTypes().Single(candidate => candidate.Name == name);
        string[] labels = ["no", "yes", "maybe"];
        DecoderConfig config = name switch
        {
            _ when name.StartsWith("Gpt2") => TinyDecoders.Gpt2 with
            {
                Labels = labels,
                PaddingToken = 50256,
                IntermediateSize = 20,
            },
            _ when name.StartsWith("Llama") => TinyDecoders.Llama with
            {
                Labels = labels,
                PaddingToken = 0,
                AttentionBias = true,
                EndTokens = [2, 3],
                Rotary = new RotaryOptions
                {
                    Scaling = RotaryScaling.Yarn,
                    Factor = 4,
                    OriginalPositions = 8,
                    Truncate = false,
                },
            },
            _ when name.StartsWith("Qwen2") => TinyDecoders.Qwen2 with
            {
                Labels = labels,
                TieWordEmbeddings = true,
                LayerWindows = [true, false, true],
            },
            _ => TinyDecoders.Mistral with { Labels = labels, HeadWidth = 6, SlidingWindow = null },
        };
        using var model = (TextDecoder)Activator.CreateInstance(type, config, 1L)!;
        model.eval();
        Hub.Save(model, folder);
        using var again = Hub.Load(folder);
        Assert.IsType(type, again);
        foreach (var (key, tensor) in model.HubParameters())
            Assert.True(tensor.eq(again.HubParameters()[key]).all().ToBoolean(), key);
        var tokens = TinyDecoders.Tokens(1, 9);
        Assert.Equal(0.0, TinyDecoders.Difference(model.Run(tokens, null), ((TextDecoder)again).Run(tokens, null)));
        // What is loaded and saved again is written as it was read.
        string config1 = File.ReadAllText(Path.Combine(folder, Hub.ConfigFile));
        Hub.Save(again, folder);
        Assert.Equal(config1, File.ReadAllText(Path.Combine(folder, Hub.ConfigFile)));
    }

    [Fact]
    public void NamesOfOtherHeadsAndOldBuffersAreKnown()
    {
        using var scope = NewDisposeScope();
        using var model = new Gpt2ForCausalLanguageModel(TinyDecoders.Gpt2, 1);
        Hub.Save(model, folder);
        // As the checkpoints of GPT-2's release: no prefix, buffers of masks.
        Rewrite(tensors =>
        {
            foreach (string name in tensors.Keys.ToArray())
            {
                tensors[name["transformer.".Length..]] = tensors[name];
                tensors.Remove(name);
            }
            tensors["h.0.attn.bias"] = ones(1, 1, 4, 4);
            tensors["h.0.attn.masked_bias"] = ones(1);
        });
        using var again = Hub.Load<Gpt2ForCausalLanguageModel>(folder);
        Assert.True(model.WordTable.eq(again.WordTable).all().ToBoolean());
        using var llama = new LlamaForCausalLanguageModel(TinyDecoders.Llama, 1);
        Hub.Save(llama, folder);
        Rewrite(tensors => tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ones(2));
        SetOption("architectures", "[\"LlamaModel\"]");
        using var bare = Hub.Load<LlamaModel>(folder);
        Assert.True(llama.WordTable.eq(bare.WordTable).all().ToBoolean());
    }

    [Theory]
    [InlineData("rope_parameters", "{\"rope_type\":\"spiral\"}", "spiral")]
    [InlineData("rope_parameters", "{\"full_attention\":{\"rope_type\":\"default\"}}", "rope_parameters")]
    [InlineData("quantization_config", "{\"bits\":4}", "quantization_config")]
    [InlineData("architectures", "[\"LlamaForPoetry\"]", "LlamaForCausalLM")]
    public void WhatIsNotBuiltIsRefusedByName(string option, string value, string word)
    {
        using var model = new LlamaModel(TinyDecoders.Llama, 1);
        Hub.Save(model, folder);
        SetOption(option, value);
        Assert.Contains(word, Assert.Throws<NotSupportedException>(() => Hub.Load(folder)).Message);
    }

    [Fact]
    public void ConfigurationsOfEarlierVersionsAreRead()
    {
        using var scope = NewDisposeScope();
        using var model = new LlamaForCausalLanguageModel(
            TinyDecoders.Llama with
            {
                Rotary = new RotaryOptions
                {
                    Theta = 500000,
                    Scaling = RotaryScaling.Llama3,
                    Factor = 8,
                    LowFrequencyFactor = 1,
                    HighFrequencyFactor = 4,
                    OriginalPositions = 16,
                },
            },
            1
        );
        Hub.Save(model, folder);
        var json = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, Hub.ConfigFile)))!.AsObject();
        json.Remove("rope_parameters");
        json["rope_theta"] = 500000;
        json["rope_scaling"] = JsonNode.Parse(
            """{"type":"llama3","factor":8.0,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":16}"""
        );
        json["head_dim"] = null;
        json["num_key_value_heads"] = 2;
        File.WriteAllText(Path.Combine(folder, Hub.ConfigFile), json.ToJsonString());
        using var again = Hub.Load<LlamaForCausalLanguageModel>(folder);
        Assert.Equal(model.Config.Rotary, again.Config.Rotary);
        var tokens = TinyDecoders.Tokens(1, 9);
        Assert.Equal(0.0, TinyDecoders.Difference(model.Run(tokens, null), again.Run(tokens, null)));
    }

    [Fact]
    public void TheLastTokenThatIsNotPaddingIsClassified()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = new Qwen2ForSequenceClassification(TinyDecoders.Qwen2 with { PaddingToken = 0 }, 1);
        model.eval();
        var tokens = TinyDecoders.Tokens(1, 6);
        var zero = zeros(1, 2, dtype: ScalarType.Int64);
        var expected = model.Run(tokens, null);
        Assert.True(TinyDecoders.Difference(expected, model.Run(cat([tokens, zero], 1), null)) < 1e-6);
        var left = cat([zero, tokens], 1);
        var mask = left.ne(0);
        var input = new DecoderInput(left, mask) { Positions = DecoderInput.PositionsOf(mask) };
        Assert.True(TinyDecoders.Difference(expected, model.call(input, null)) < 1e-6);
        using var unpadded = new Qwen2ForSequenceClassification(TinyDecoders.Qwen2, 1);
        Assert.Contains(
            "PaddingToken",
            Assert.Throws<ArgumentException>(() => unpadded.Run(TinyDecoders.Tokens(2, 3), null)).Message
        );
    }

    [Fact]
    public void SpansAreFeaturesToo()
    {
        using var scope = NewDisposeScope();
        using var model = new LlamaForQuestionAnswering(TinyDecoders.Llama, 1);
        var trace = new ForwardTrace(TraceRequest.Features(TextEncoder.StartLogits, TextEncoder.EndLogits), model.Capabilities);
        model.Run(TinyDecoders.Tokens(2, 5), null, trace);
        Assert.Equal(0.0, TinyDecoders.Difference(trace.Output.select(-1, 1), trace.Feature(TextEncoder.EndLogits)));
    }

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
