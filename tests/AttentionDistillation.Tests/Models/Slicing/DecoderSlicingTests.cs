using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Slicing;

public class DecoderSlicingTests
{
    private static readonly Tensor Ids = tensor(
        new long[,]
        {
            { 1, 5, 7, 2, 9 },
            { 1, 6, 3, 9, 2 },
        }
    );

    private static LlamaConfig Config { get; } =
        new()
        {
            VocabularySize = 128,
            HiddenSize = 12,
            IntermediateSize = 20,
            Layers = 3,
            Heads = 4,
            KeyValueHeads = 2,
            HeadWidth = 4,
            MaximumPositions = 32,
            InitializerRange = 0.4,
        };

    private static Tensor Output(TextDecoder model)
    {
        using var guard = no_grad();
        return model.Run(Ids, null);
    }

    [Fact]
    public void KeepingAllOfALlamaInAnotherOrderChangesNothing()
    {
        using var model = new LlamaForCausalLanguageModel(Config, 1);
        model.eval();
        using var shuffled = ModelSlicer.Slice(
            model,
            new SlicePlan
            {
                Channels = [3, 1, 0, 2, 11, 10, 4, 5, 6, 9, 8, 7],
                // Group by group, each group's heads turned round.
                Heads = [HeadCut.Keep(3, 2, 1, 0)],
                Neurons =
                [
                    [.. Enumerable.Range(0, 20).Reverse()],
                ],
            }
        );
        Check.Close(Output(model), Output(shuffled), 1e-5);
    }

    [Fact]
    public void GroupsKeepTheirKeys()
    {
        using var model = new LlamaForCausalLanguageModel(Config, 1);
        using var one = ModelSlicer.Slice(model, new SlicePlan { Heads = [HeadCut.Highest([1, 9, 5, 3], 2, keyHeads: 2)] });
        Assert.Equal((2, 2, 4), (one.Config.Heads, one.Config.KeyValueHeads, one.Config.HeadWidth));
        var (whole, cut) = (model.HubParameters(), one.HubParameters());
        const string Attention = "model.layers.1.self_attn.";
        Assert.Equal(whole[Attention + "k_proj.weight"], cut[Attention + "k_proj.weight"]);
        Assert.Equal(
            cat([whole[Attention + "q_proj.weight"][4..8], whole[Attention + "q_proj.weight"][8..12]]),
            cut[Attention + "q_proj.weight"]
        );
        using var group = ModelSlicer.Slice(model, new SlicePlan { Heads = [HeadCut.Keep(2, 3)] });
        Assert.Equal(1, group.Config.KeyValueHeads);
        Assert.Equal(whole[Attention + "v_proj.weight"][4..], group.HubParameters()[Attention + "v_proj.weight"]);
        Assert.Contains(
            "group by group",
            Assert
                .Throws<ArgumentException>(() => ModelSlicer.Slice(model, new SlicePlan { Heads = [HeadCut.Keep(0, 2, 3)] }))
                .Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Gpt2IsCutThroughItsFusedProjection()
    {
        using var model = new Gpt2ForCausalLanguageModel(
            new Gpt2Config
            {
                VocabularySize = 16,
                HiddenSize = 12,
                Layers = 2,
                Heads = 3,
                MaximumPositions = 8,
                InitializerRange = 0.4,
            },
            1
        );
        model.eval();
        using var shuffled = ModelSlicer.Slice(
            model,
            new SlicePlan
            {
                Channels = [.. Enumerable.Range(0, 12).Reverse()],
                Heads = [HeadCut.Keep(2, 0, 1)],
                Neurons =
                [
                    [.. Enumerable.Range(0, 48).Reverse()],
                ],
            }
        );
        Check.Close(Output(model), Output(shuffled), 1e-5);
        Assert.Contains(
            "Cut heads and channels alike",
            Assert.Throws<ArgumentException>(() => ModelSlicer.Slice(model, new SlicePlan { Heads = [HeadCut.Keep(0)] })).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void WhatWritesNothingScoresLowestAndCanGo()
    {
        using var model = new LlamaForCausalLanguageModel(Config, 1);
        model.eval();
        var weights = model.HubParameters();
        using (no_grad())
        {
            // Values of group 1 are zero: its heads mix nothing. Neurons 4 to 19 have no input. Layer 2 writes nothing at all.
            foreach (int layer in new[] { 0, 1, 2 })
            {
                weights[$"model.layers.{layer}.self_attn.v_proj.weight"][4..].zero_();
                weights[$"model.layers.{layer}.mlp.up_proj.weight"][4..].zero_();
            }
            weights["model.layers.2.self_attn.o_proj.weight"].zero_();
            weights["model.layers.2.mlp.down_proj.weight"].zero_();
        }
        Batch[] Data() => [new Batch(("input_ids", Ids.clone())), new Batch(("input_ids", Ids + 1))];
        var scores = DecoderImportance.Measure(model, Data());
        Assert.All(scores.Heads, layer => Assert.Equal([0.0, 0.0], layer.Skip(2)));
        Assert.All(scores.Neurons, layer => Assert.All(layer.Skip(4), score => Assert.Equal(0.0, score)));
        Assert.Equal(0.0, scores.Layers[2], 5);
        Assert.True(scores.Layers[0] > 1e-3 && scores.Channels.All(score => score > 0));
        var plan = MinitronPlan.Of(scores, new MinitronTarget { Layers = 2, Neurons = 4 }, keyHeads: 2);
        Assert.Equal([0, 1], plan.Layers);
        using var pruned = ModelSlicer.Slice(model, plan with { Heads = [HeadCut.Keep(0, 1)] });
        Check.Close(Output(model), Output(pruned), 1e-5);
        Assert.Equal(scores.Channels.Count, scores.Random(3).Channels.Count);
        Assert.NotEqual(scores.Random(3).Channels, scores.Random(4).Channels);
    }

    [Fact]
    public void APrunedModelIsSavedAndLoaded()
    {
        using var folder = new TemporaryFolder();
        using var model = new LlamaForCausalLanguageModel(Config, 1);
        var scores = DecoderImportance.Measure(model, new ByteSkills(24).HeldOut(1, 2).All());
        using var pruned = ModelSlicer.Slice(
            model,
            MinitronPlan.Of(
                scores,
                new MinitronTarget
                {
                    Layers = 2,
                    Channels = 8,
                    Heads = 2,
                    Neurons = 10,
                    MergesHeads = true,
                },
                keyHeads: 2
            )
        );
        Hub.Save(pruned, folder.Path);
        using var loaded = Hub.Load<LlamaForCausalLanguageModel>(folder.Path);
        Check.Close(Output(pruned), Output(loaded), 1e-12);
        // And a loaded model is cut again.
        using var smaller = ModelSlicer.Slice(loaded, SlicePlan.OfLayers([1]));
        Assert.Equal((1, 8), (smaller.Config.Layers, smaller.Config.HiddenSize));
        Hub.Save(smaller, folder.Path);
        using var again = Hub.Load<LlamaForCausalLanguageModel>(folder.Path);
        Check.Close(Output(smaller), Output(again), 1e-12);
    }
}
