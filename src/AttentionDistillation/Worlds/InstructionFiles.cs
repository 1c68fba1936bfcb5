using System.Text.Json;

namespace AttentionDistillation.Worlds;

/// <summary>A task and its solution in words.</summary>
/// <param name="Instruction">What is asked.</param>
/// <param name="Output">The solution.</param>
public sealed record InstructionText(string Instruction, string Output);

/// <summary>
/// Reads tasks with solutions from JSON: an array, or one object a line, of objects with <c>instruction</c> and <c>output</c> (LeaF's data) or
/// <c>problem</c> and <c>solution</c> (NuminaMath-CoT).
/// </summary>
public static class InstructionFiles
{
    private static readonly (string Instruction, string Output)[] Names = [("instruction", "output"), ("problem", "solution")];

    /// <summary>Reads a file.</summary>
    /// <param name="path">A .json or .jsonl file.</param>
    /// <param name="most">The most tasks to read; null for all.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no JSON of that form; the message names the task and what is missing.</exception>
    public static IReadOnlyList<InstructionText> Read(string path, int? most = null) =>
        [.. JsonRecords.Read(path, Parse).Take(most ?? int.MaxValue)];

    private static InstructionText Parse(JsonElement record, string place)
    {
        foreach (var (instruction, output) in Names)
            if (record.TryGetProperty(instruction, out var asked) && record.TryGetProperty(output, out var solved))
                return new InstructionText(JsonRecords.Text(asked, instruction, place), JsonRecords.Text(solved, output, place));
        throw new InvalidDataException(
            $"{place} has neither 'instruction' and 'output' nor 'problem' and 'solution'. It has: {string.Join(", ", record.EnumerateObject().Select(property => property.Name))}."
        );
    }
}
