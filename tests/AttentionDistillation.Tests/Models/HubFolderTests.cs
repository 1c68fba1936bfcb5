using System.Text.Json.Nodes;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Runtime;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>What loading costs, what saving writes, and what a save that fails leaves.</summary>
[Collection(FastPathsCollection.Name)]
public sealed class HubFolderTests : IDisposable
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

    private readonly TemporaryFolder temporary = new();

    private string Folder => temporary.At("model");

    public void Dispose() => temporary.Dispose();

    [Fact]
    public void LoadingInHalfPrecisionNeverHoldsTheModelInFull()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "It reads /proc.");
        var config = new BertConfig
        {
            VocabularySize = 60_000,
            HiddenSize = 512,
            Layers = 4,
            Heads = 8,
            IntermediateSize = 2048,
        };
        long parameters;
        using (var scope = NewDisposeScope())
        using (var model = new BertForMaskedLanguageModel(config, 1))
        {
            parameters = model.HubParameters().Values.Sum(tensor => tensor.numel());
            Hub.Save(model, Folder);
        }
        // What the runtime makes once must not be counted.
        using (var first = Hub.Load(Folder, dtype: ScalarType.BFloat16)) { }
        long before = AnonymousBytes(),
            peak = before;
        using var done = new CancellationTokenSource();
        var watch = new Thread(() =>
        {
            while (!done.IsCancellationRequested)
                peak = Math.Max(peak, AnonymousBytes());
        });
        watch.Start();
        using (var model = Hub.Load(Folder, dtype: ScalarType.BFloat16))
        {
            done.Cancel();
            watch.Join();
            Assert.All(model.HubParameters().Values, tensor => Assert.Equal(ScalarType.BFloat16, tensor.dtype));
        }
        // Two bytes a parameter, a staging buffer, and what the garbage collector and the other thread do meanwhile; float32 first would be 6.
        double perParameter = (peak - before) / (double)parameters;
        Assert.True(perParameter < 3.0, $"{perParameter:0.00} bytes a parameter at the peak ({parameters} parameters).");
    }

    [Fact]
    public void BlankTablesAreMovedAndTrainedLikeAnyOther()
    {
        using var scope = NewDisposeScope();
        var table = SeededLayers.BlankOn(null, ScalarType.BFloat16).Embedding(5, 3, padding: 1);
        var weight = Assert.Single(table.parameters());
        Assert.Equal([5L, 3L], weight.shape);
        Assert.Equal(ScalarType.BFloat16, weight.dtype);
        using (no_grad())
            weight.copy_(arange(15).view(5, 3));
        table.to(ScalarType.Float32);
        var rows = table.call(tensor(new long[] { 1, 4 }));
        Assert.Equal(ScalarType.Float32, rows.dtype);
        Assert.Equal([3f, 4f, 5f, 12f, 13f, 14f], rows.data<float>().ToArray());
        rows.sum().backward();
        var gradient = Assert.Single(table.parameters()).grad!;
        Assert.Equal([0f, 0f, 0f, 0f, 3f], gradient.sum(1).data<float>().ToArray());
        Assert.Equal("weight", Assert.Single(table.state_dict()).Key);
    }

    [Theory]
    [InlineData(400)]
    [InlineData(1)]
    [InlineData(long.MaxValue)]
    public void ALargeModelIsWrittenInShardsAndReadBack(long most)
    {
        using var model = new BertForMaskedLanguageModel(Small, 1);
        Hub.Save(model, Folder, most);
        string[] shards = [.. Directory.EnumerateFiles(Folder, "*.safetensors").Order()];
        string index = Path.Combine(Folder, Checkpoint.IndexFile);
        if (most == long.MaxValue)
            Assert.Equal(Checkpoint.SingleFile, Path.GetFileName(Assert.Single(shards)));
        else
        {
            var json = JsonNode.Parse(File.ReadAllText(index))!;
            var map = json["weight_map"]!.AsObject();
            Assert.Equal(model.HubParameters().Keys.Order(), map.Select(pair => pair.Key).Order());
            Assert.Equal(model.HubParameters().Values.Sum(tensor => tensor.numel() * 4), (long)json["metadata"]!["total_size"]!);
            Assert.Equal($"model-00001-of-{shards.Length:D5}.safetensors", Path.GetFileName(shards[0]));
            if (most == 1)
                Assert.Equal(map.Count, shards.Length);
            foreach (string shard in shards)
            {
                using var file = SafeTensorsFile.Open(shard);
                Assert.True(file.Entries.Count == 1 || file.Entries.Values.Sum(entry => entry.Length) <= most);
            }
        }
        using var again = Hub.Load(Folder);
        foreach (var (name, parameter) in model.HubParameters())
            Assert.True(parameter.eq(again.HubParameters()[name]).all().ToBoolean(), name);
        // The other way of splitting replaces the first; nothing of it stays.
        Hub.Save(model, Folder, most == long.MaxValue ? 400 : long.MaxValue);
        Assert.Equal(most == long.MaxValue, File.Exists(index));
        Assert.All(shards, shard => Assert.False(File.Exists(shard)));
        using var third = Hub.Load(Folder);
    }

    [Fact]
    public void FilesBesideTheWeightsGoAlong()
    {
        using (var model = new BertModel(Small, 1))
            Hub.Save(model, Folder);
        File.WriteAllText(Path.Combine(Folder, "generation_config.json"), "{\"eos_token_id\": 3}");
        File.WriteAllText(Path.Combine(Folder, "vocab.txt"), "[PAD]\n");
        File.WriteAllText(Path.Combine(Folder, "training_log.txt"), "not the model's");
        using var loaded = Hub.Load(Folder);
        Directory.Delete(Folder, recursive: true);
        Hub.Save(loaded, temporary.At("copy"));
        Assert.Equal("{\"eos_token_id\": 3}", File.ReadAllText(temporary.At("copy", "generation_config.json")));
        Assert.Equal("[PAD]\n", File.ReadAllText(temporary.At("copy", "vocab.txt")));
        Assert.False(File.Exists(temporary.At("copy", "training_log.txt")));
    }

    [Fact]
    public void AFailedSaveLeavesTheFolderAsItWas()
    {
        using var first = new BertModel(Small, 1);
        Hub.Save(first, Folder);
        File.WriteAllText(Path.Combine(Folder, "notes.txt"), "mine");
        var before = Contents();

        // While writing: the format has no such element type.
        using (var odd = new BertModel(Small, 2))
        {
            odd.to(ScalarType.ComplexFloat64);
            Assert.ThrowsAny<Exception>(() => Hub.Save(odd, Folder));
        }
        Assert.Equal(before, Contents());

        // While renaming: a folder lies where the configuration belongs.
        File.Move(Path.Combine(Folder, Hub.ConfigFile), Path.Combine(Folder, "aside"));
        Directory.CreateDirectory(Path.Combine(Folder, Hub.ConfigFile));
        before = Contents();
        using (var second = new BertModel(Small, 2))
            Assert.ThrowsAny<IOException>(() => Hub.Save(second, Folder));
        Assert.Equal(before, Contents());

        // A folder that was not there is not there.
        using (var odd = new BertModel(Small, 2))
        {
            odd.to(ScalarType.ComplexFloat64);
            Assert.ThrowsAny<Exception>(() => Hub.Save(odd, temporary.At("new")));
        }
        Assert.False(Directory.Exists(temporary.At("new")));
    }

    [Fact]
    public void EveryElementTypeIsConvertedOnTheWay()
    {
        using var scope = NewDisposeScope();
        Directory.CreateDirectory(Folder);
        string path = Path.Combine(Folder, "types.safetensors");
        var values = arange(24, dtype: ScalarType.Float32).view(4, 6);
        SafeTensorsWriter.Write(
            path,
            [
                ("bf16", values.to(ScalarType.BFloat16)),
                ("f16", values.to(ScalarType.Float16)),
                ("f32", values),
                ("f64", values.to(ScalarType.Float64)),
                ("i64", values.to(ScalarType.Int64)),
                ("scalar", tensor(3.0)),
            ]
        );
        using var file = SafeTensorsFile.Open(path);
        foreach (string name in file.Entries.Keys.Except(["scalar"]))
        foreach (var type in (ScalarType[])[ScalarType.BFloat16, ScalarType.Float16, ScalarType.Float32, ScalarType.Float64])
        {
            var target = zeros(4, 6, dtype: type);
            file.CopyTo(name, target);
            Assert.True(target.to(ScalarType.Float32).eq(values).all().ToBoolean(), $"{name} to {type}");
            var strided = zeros(6, 4, dtype: type).transpose(0, 1);
            file.CopyTo(name, strided);
            Assert.True(strided.to(ScalarType.Float32).eq(values).all().ToBoolean(), $"{name} to {type}, transposed");
        }
        var scalar = zeros([], dtype: ScalarType.Float32);
        file.CopyTo("scalar", scalar);
        Assert.Equal(3f, scalar.item<float>());
        Assert.Contains("[2]", Assert.Throws<ArgumentException>(() => file.CopyTo("f32", zeros(2))).Message);
    }

    private string[] Contents() =>
        [
            .. Directory
                .EnumerateFileSystemEntries(Folder, "*", SearchOption.AllDirectories)
                .Order()
                .Select(path => path + (File.Exists(path) ? Convert.ToHexString(File.ReadAllBytes(path)) : "")),
        ];

    private static long AnonymousBytes()
    {
        string line = File.ReadLines("/proc/self/status").First(text => text.StartsWith("RssAnon:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1].Trim()) * 1024;
    }
}
