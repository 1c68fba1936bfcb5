using System.Text.Json;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>One case of a golden file: inputs and parameters of a mechanism, with its outputs and gradients in float64.</summary>
internal sealed class GoldenCase(string mechanism, string note, JsonElement parameters, Dictionary<string, Tensor> tensors)
{
    internal string Mechanism { get; } = mechanism;
    internal string Note { get; } = note;
    internal JsonElement Parameters { get; } = parameters;
    internal IReadOnlyDictionary<string, Tensor> Inputs { get; } = Part(tensors, "in");
    internal IReadOnlyDictionary<string, Tensor> Outputs { get; } = Part(tensors, "out");
    internal IReadOnlyDictionary<string, Tensor> Gradients { get; } = Part(tensors, "grad");

    private static Dictionary<string, Tensor> Part(Dictionary<string, Tensor> tensors, string part) =>
        tensors
            .Where(pair => pair.Key.StartsWith(part + "/", StringComparison.Ordinal))
            .ToDictionary(pair => pair.Key[(part.Length + 1)..], pair => pair.Value);
}

/// <summary>
/// Golden files: safetensors named <c>NN-slug.safetensors</c> whose metadata key <c>cases</c> is a JSON list of {mechanism, params, note} and
/// whose tensors are named <c>K/in/NAME</c>, <c>K/out/NAME</c>, <c>K/grad/NAME</c> for case K. A gradient is that of the output <c>loss</c>.
/// </summary>
internal static class GoldenFile
{
    /// <summary>The folder of golden files: the environment variable GOLDENS, or the copies beside the tests.</summary>
    internal static string Folder { get; } =
        Environment.GetEnvironmentVariable("GOLDENS") is { Length: > 0 } named
            ? named
            : RepositoryFolder.At("tests", "AttentionDistillation.Tests", "Fixtures", "goldens");

    /// <summary>All golden files of the folder, by name.</summary>
    internal static IReadOnlyList<string> Names { get; } =
    [.. Directory.EnumerateFiles(Folder, "*.safetensors").Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    /// <summary>The mechanisms of a file, a name a case.</summary>
    internal static IReadOnlyList<string> Mechanisms(string name)
    {
        using var file = SafeTensorsFile.Open(Path.Combine(Folder, name));
        return [.. Cases(file, name).Select(entry => entry.GetProperty("mechanism").GetString()!)];
    }

    /// <summary>Reads one case.</summary>
    internal static GoldenCase Read(string name, int index)
    {
        using var file = SafeTensorsFile.Open(Path.Combine(Folder, name));
        var entry = Cases(file, name)[index];
        string prefix = $"{index}/";
        var tensors = file
            .Entries.Keys.Where(tensor => tensor.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(tensor => tensor[prefix.Length..], tensor => file.Read(tensor));
        return new GoldenCase(
            entry.GetProperty("mechanism").GetString()!,
            entry.TryGetProperty("note", out var note) ? note.GetString() ?? "" : "",
            entry.GetProperty("params"),
            tensors
        );
    }

    private static JsonElement[] Cases(SafeTensorsFile file, string name) =>
        file.Metadata.TryGetValue("cases", out string? cases)
            ? [.. JsonDocument.Parse(cases).RootElement.EnumerateArray()]
            : throw new InvalidDataException($"{name} has no metadata key 'cases'; it is no golden file.");
}
