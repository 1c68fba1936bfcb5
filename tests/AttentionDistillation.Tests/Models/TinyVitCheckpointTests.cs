using System.Runtime.CompilerServices;
using AttentionDistillation.Attention;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>A small TinyViT that timm 1.0.29 made and saved (<c>Peers/make_timm_fixtures.py</c>), beside what timm computed with it.</summary>
[Trait("Kind", "Interop")]
public sealed class TinyVitCheckpointTests : IDisposable
{
    private const double Tolerance = 2e-4;
    private static readonly string Fixture = Folder();
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("square")]
    [InlineData("oblong")] // maps are padded to whole windows
    public void ScoresAreThoseOfTimm(string images)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyVitCheckpoint.Load(Fixture);
        using var expected = SafeTensorsFile.Open(Path.Combine(Fixture, "expected.safetensors"));
        Assert.False(model.training);
        Check.Close(expected.Read(images + "_scores"), model.call(expected.Read(images), null), Tolerance, images);
    }

    [Fact]
    public void AStagesMapsAreThoseOfTimm()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyVitCheckpoint.Load(Fixture);
        using var expected = SafeTensorsFile.Open(Path.Combine(Fixture, "expected.safetensors"));
        var trace = new ForwardTrace(TraceRequest.Features("stage2"), model.Capabilities);
        model.call(expected.Read("square"), trace);
        Check.Close(expected.Read("square_stage2"), trace.Feature("stage2"), Tolerance, "stage 2");
    }

    [Fact]
    public void SizesAreThoseOfTheTensors()
    {
        using var model = TinyVitCheckpoint.Load(Fixture, dropPathRate: 0.1);
        Assert.Equal([16L, 32, 64, 32], model.Config.Stages.Select(stage => stage.Width));
        Assert.Equal([1, 2, 1, 1], model.Config.Stages.Select(stage => stage.Depth));
        Assert.Equal([1L, 2, 4], model.Config.Stages.Skip(1).Select(stage => stage.Heads));
        Assert.Equal([4L, 3, 2], model.Config.Stages.Skip(1).Select(stage => stage.Window!.Value));
        Assert.Equal(64, model.Config.ImageSize.Height);
        Assert.Equal(5, model.Config.Labels.Count);
        Assert.Equal(0.1, model.Config.DropPathRate);
    }

    [Fact]
    public void EveryTensorOfThePublishedModelsHasOneNameThere()
    {
        using var model = new HierarchicalVisionTransformer(HierarchicalConfig.TinyVit5M, 1);
        string[] own =
        [
            .. model.named_parameters().Select(pair => pair.name),
            .. model.named_buffers(include_nonpersistent: false).Select(pair => pair.name),
        ];
        string[] theirs = [.. own.Where(name => !TinyVitCheckpoint.IsComputed(name)).Select(TinyVitCheckpoint.ToTimm)];
        Assert.Equal(theirs.Length, theirs.Distinct().Count());
        using var fixture = Checkpoint.Open(Fixture);
        // The published models are deeper than the fixture, and named alike.
        var kinds = fixture.Entries.Keys.Select(WithoutNumbers).ToHashSet();
        Assert.All(theirs, name => Assert.Contains(WithoutNumbers(name), kinds));

        static string WithoutNumbers(string name) => string.Join('.', name.Split('.').Where(part => !int.TryParse(part, out _)));
    }

    [Fact]
    public void WhatDoesNotFitIsNamed()
    {
        var tensors = Read();
        tensors.Remove("stages.2.blocks.0.mlp.fc2.bias");
        tensors["stages.1.blocks.1.attn.proj.weight"] = zeros(3, 3);
        tensors["head.extra"] = zeros(1);
        Write(tensors);
        var error = Assert.Throws<CheckpointMismatchException>(() => TinyVitCheckpoint.Load(folder.Path));
        Assert.Contains("stages.2.blocks.0.mlp.fc2.bias", Assert.Single(error.Missing));
        Assert.Contains("head.extra", Assert.Single(error.Unexpected));
        Assert.Contains("stages.1.blocks.1.attn.proj.weight", Assert.Single(error.WrongShapes));

        foreach (string part in (string[])["head.fc.weight", "stages.3.blocks.0.attn.attention_biases"])
        {
            tensors = Read();
            tensors.Remove(part);
            Write(tensors);
            Assert.Contains(part, Assert.Throws<NotSupportedException>(() => TinyVitCheckpoint.Load(folder.Path)).Message);
        }
    }

    [Fact]
    public void OtherModelsAreRefused()
    {
        Write(new() { ["encoder.weight"] = zeros(1) });
        Assert.Contains("no TinyViT", Assert.Throws<NotSupportedException>(() => TinyVitCheckpoint.Load(folder.Path)).Message);
        Write(Read());
        string config = Path.Combine(folder.Path, "config.json");
        File.WriteAllText(config, "{\"architecture\": \"resnet50\"}");
        Assert.Contains("resnet50", Assert.Throws<NotSupportedException>(() => TinyVitCheckpoint.Load(folder.Path)).Message);
        File.WriteAllText(config, "{");
        Assert.Contains(config, Assert.Throws<NotSupportedException>(() => TinyVitCheckpoint.Load(folder.Path)).Message);
        File.Delete(config);
        using var model = TinyVitCheckpoint.Load(folder.Path);
        Assert.Equal(224, model.Config.ImageSize.Height);
        Assert.Throws<FileNotFoundException>(() => TinyVitCheckpoint.Load(Path.Combine(folder.Path, "none")));
    }

    private static Dictionary<string, Tensor> Read()
    {
        using var file = Checkpoint.Open(Fixture);
        return file.Entries.Keys.ToDictionary(name => name, name => file.Read(name));
    }

    private void Write(Dictionary<string, Tensor> tensors) =>
        SafeTensorsWriter.Write(Path.Combine(folder.Path, Checkpoint.SingleFile), tensors.Select(pair => (pair.Key, pair.Value)));

    private static string Folder([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "..", "Fixtures", "timm", "tiny-vit");
}
