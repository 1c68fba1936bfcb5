using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>Writes a checkpoint's tensors as one file, or as shards with an index where they are larger than a file may be.</summary>
internal static partial class CheckpointShards
{
    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true };

    /// <summary>True for a file of weights, whichever way they were split.</summary>
    public static bool IsWeightFile(string name) => WeightName().IsMatch(name);

    /// <summary>Writes the tensors.</summary>
    /// <param name="staging">Where to.</param>
    /// <param name="tensors">By name.</param>
    /// <param name="most">Most bytes of tensors in a file.</param>
    /// <param name="stem">What the files' names begin with.</param>
    public static void Write(FolderReplacement staging, IReadOnlyDictionary<string, Tensor> tensors, long most, string stem)
    {
        var shards = Split(tensors, most);
        if (shards.Count == 1)
        {
            WriteFile(staging, $"{stem}.safetensors", shards[0]);
            return;
        }
        var map = new SortedDictionary<string, string>(StringComparer.Ordinal);
        for (int number = 0; number < shards.Count; number++)
        {
            string name = $"{stem}-{number + 1:D5}-of-{shards.Count:D5}.safetensors";
            WriteFile(staging, name, shards[number]);
            foreach (var (tensor, _) in shards[number])
                map[tensor] = name;
        }
        var index = new JsonObject
        {
            ["metadata"] = new JsonObject
            {
                ["total_parameters"] = tensors.Values.Sum(tensor => tensor.numel()),
                ["total_size"] = tensors.Values.Sum(Size),
            },
            ["weight_map"] = new JsonObject(map.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value))),
        };
        byte[] bytes = JsonSerializer.SerializeToUtf8Bytes(index, Readable);
        staging.Write($"{stem}.safetensors.index.json", stream => stream.Write(bytes));
    }

    private static void WriteFile(FolderReplacement staging, string name, List<KeyValuePair<string, Tensor>> tensors) =>
        SafeTensorsWriter.Write(
            staging.PathOf(name),
            tensors.Select(pair => (pair.Key, pair.Value)),
            new Dictionary<string, string> { ["format"] = "pt" }
        );

    private static List<List<KeyValuePair<string, Tensor>>> Split(IReadOnlyDictionary<string, Tensor> tensors, long most)
    {
        var shards = new List<List<KeyValuePair<string, Tensor>>> { new() };
        long size = 0;
        foreach (var pair in tensors)
        {
            long bytes = Size(pair.Value);
            if (shards[^1].Count > 0 && size + bytes > most)
            {
                shards.Add([]);
                size = 0;
            }
            shards[^1].Add(pair);
            size += bytes;
        }
        return shards;
    }

    private static long Size(Tensor tensor) => tensor.numel() * SafeTensorsType.Of(tensor.dtype).Bits / 8;

    [GeneratedRegex(@"^(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$")]
    private static partial Regex WeightName();
}
