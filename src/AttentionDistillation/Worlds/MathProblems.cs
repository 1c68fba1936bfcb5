using System.Text.Json;

namespace AttentionDistillation.Worlds;

/// <summary>A problem with its worked solution.</summary>
/// <param name="Problem">The text.</param>
/// <param name="Solution">The worked solution.</param>
/// <param name="Answer">The answer alone.</param>
public sealed record MathProblem(string Problem, string Solution, string Answer);

/// <summary>Problems from JSON as OpenR1-Math-220k exports them: objects with <c>problem</c>, <c>solution</c> and <c>answer</c>, one a line or in an array; others are ignored.</summary>
public static class MathProblems
{
    /// <summary>Reads a file.</summary>
    /// <param name="path">A JSON array or JSON lines.</param>
    /// <param name="most">How many problems at most; null for all.</param>
    /// <exception cref="InvalidDataException">The file is not JSON, or a record lacks a text; the message names it.</exception>
    public static IReadOnlyList<MathProblem> Read(string path, int? most = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        var problems = JsonRecords
            .Read(path)
            .Take(most ?? int.MaxValue)
            .Select(
                (item, number) =>
                {
                    string place = $"{path}, problem {number + 1}";
                    return new MathProblem(
                        Text(item, "problem", place),
                        Text(item, "solution", place),
                        Text(item, "answer", place)
                    );
                }
            )
            .ToArray();
        return problems.Length > 0 ? problems : throw new InvalidDataException($"{path} holds no problem.");
    }

    private static string Text(JsonElement item, string name, string place) =>
        item.ValueKind == JsonValueKind.Object
        && item.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.String
            ? value.GetString()!
            : throw new InvalidDataException(
                $"{place} has no text '{name}'. Expected objects with \"problem\", \"solution\" and \"answer\"."
            );
}
