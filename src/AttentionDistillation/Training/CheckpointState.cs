using System.Text.Json;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>What a training puts into its checkpoint and demands of one before it goes on from it.</summary>
internal static class CheckpointState
{
    public const string OptionPrefix = "option.";
    public const string StepName = "step";
    public const string CurveName = "curve";

    public static string Write(IReadOnlyList<CurvePoint> points) => JsonSerializer.Serialize(points);

    public static CurvePoint[] ReadCurve(string text) => JsonSerializer.Deserialize<CurvePoint[]>(text) ?? [];

    /// <summary>Refuses a checkpoint of a training with other options.</summary>
    /// <exception cref="InvalidDataException">An option differs; the message names each that does.</exception>
    public static void RequireSameOptions(string path, IReadOnlyDictionary<string, string> texts, TrainingOptions options)
    {
        var differences = options
            .Fingerprint()
            .Select(option => (option.Name, option.Value, Stored: texts.GetValueOrDefault(OptionPrefix + option.Name, "unknown")))
            .Where(option => option.Value != option.Stored)
            .Select(option => $"{option.Name} is '{option.Stored}' there and '{option.Value}' here")
            .ToArray();
        if (differences.Length > 0)
            throw new InvalidDataException(
                $"The checkpoint '{path}' belongs to another training: {string.Join("; ", differences)}. "
                    + "Use the same options to go on with it, or name another CheckpointFolder (or empty this one) to start anew."
            );
    }

    /// <summary>Copies stored tensors into the state, after all of them were found to fit.</summary>
    /// <exception cref="InvalidDataException">A tensor is missing, left over, or of another shape or type; nothing was copied.</exception>
    public static void CopyInto(
        string path,
        IReadOnlyDictionary<string, Tensor> stored,
        IReadOnlyList<(string Name, Tensor Value)> state
    )
    {
        InvalidDataException Foreign(string what) =>
            new(
                $"The checkpoint '{path}' belongs to another model: {what}. "
                    + "Build the model as it was, or name another CheckpointFolder (or empty this one) to start anew."
            );
        foreach (var (name, value) in state)
        {
            if (!stored.TryGetValue(name, out var tensor))
                throw Foreign($"it has no '{name}'");
            if (!tensor.shape.SequenceEqual(value.shape) || tensor.dtype != value.dtype)
                throw Foreign(
                    $"'{name}' is {tensor.dtype} {Shapes.Describe(tensor)} there and {value.dtype} {Shapes.Describe(value)} here"
                );
        }
        var known = state.Select(item => item.Name).ToHashSet(StringComparer.Ordinal);
        if (stored.Keys.FirstOrDefault(name => !known.Contains(name)) is { } unknown)
            throw Foreign($"this model has no '{unknown}'");
        if (state.Count > 0)
            TorchScriptOperators.CopyAll([.. state.Select(item => item.Value)], [.. state.Select(item => stored[item.Name])]);
    }
}
