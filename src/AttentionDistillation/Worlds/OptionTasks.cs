using System.Text.Json;
using AttentionDistillation.Runtime;

namespace AttentionDistillation.Worlds;

/// <summary>One example of a task in words.</summary>
/// <param name="Task">The task's name.</param>
/// <param name="Input">What is asked.</param>
/// <param name="Output">The answer.</param>
/// <param name="Options">What the answer is chosen from; empty for free answers.</param>
public sealed record OptionExample(string Task, string Input, string Output, IReadOnlyList<string> Options);

/// <summary>
/// Reads examples of many tasks in MetaICL's form (EvalMetaICLAll): JSON, one object a line or one array, with <c>task</c>, <c>input</c>,
/// <c>output</c> and <c>options</c>.
/// </summary>
public sealed class OptionTasks
{
    private readonly Dictionary<string, OptionExample[]> byTask;

    private OptionTasks(IEnumerable<OptionExample> examples) =>
        byTask = examples.GroupBy(example => example.Task).ToDictionary(group => group.Key, group => group.ToArray());

    /// <summary>The tasks' names, in the order of the files.</summary>
    public IReadOnlyCollection<string> Names => byTask.Keys;

    /// <summary>A task's examples, in the order of the files.</summary>
    /// <exception cref="KeyNotFoundException">No such task; the message lists those there are.</exception>
    public IReadOnlyList<OptionExample> this[string task] =>
        byTask.TryGetValue(task, out var examples)
            ? examples
            : throw new KeyNotFoundException($"There is no task '{task}'. There are: {string.Join(", ", Names)}.");

    /// <summary>Reads a file, or every .json and .jsonl file under a folder.</summary>
    /// <param name="path">A file or a folder.</param>
    /// <exception cref="FileNotFoundException">There is no such file, or no such file in the folder.</exception>
    /// <exception cref="InvalidDataException">A file is no JSON of that form; the message names file, line and field.</exception>
    public static OptionTasks Read(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string[] files = Directory.Exists(path)
            ?
            [
                .. Directory
                    .EnumerateFiles(path, "*.json*", SearchOption.AllDirectories)
                    .Where(file => Path.GetExtension(file) is ".json" or ".jsonl")
                    .Order(StringComparer.Ordinal),
            ]
            : [path];
        if (files.Length == 0)
            throw new FileNotFoundException($"There is no .json or .jsonl file under '{path}'.", path);
        return new OptionTasks(files.SelectMany(file => JsonRecords.Read(file, Parse)).ToArray());
    }

    /// <summary>Demonstrations for a query: other examples of its task, drawn at random without repetition.</summary>
    /// <param name="task">The task.</param>
    /// <param name="query">The query's number in the task, which is left out.</param>
    /// <param name="count">The most demonstrations; a smaller task gives all it has.</param>
    /// <param name="seed">The seed of the draw.</param>
    public IReadOnlyList<OptionExample> Demonstrations(string task, int query, int count, long seed)
    {
        var examples = this[task];
        ArgumentOutOfRangeException.ThrowIfNegative(query);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(query, examples.Count);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int[] others = [.. Enumerable.Range(0, examples.Count).Where(number => number != query)];
        var random = SplitMix.At(Seeds.Derive(seed, $"demonstrations {task}"), query);
        random.Shuffle(others);
        return [.. others.Take(count).Select(number => examples[number])];
    }

    private static OptionExample Parse(JsonElement record, string place)
    {
        string Field(string name) =>
            record.TryGetProperty(name, out var value)
                ? JsonRecords.Text(value, name, place)
                : throw new InvalidDataException($"{place} has no '{name}'.");

        string[] options = [];
        if (record.TryGetProperty("options", out var given) && given.ValueKind != JsonValueKind.Null)
            options =
                given.ValueKind == JsonValueKind.Array
                    ? [.. given.EnumerateArray().Select(option => JsonRecords.Text(option, "options", place))]
                    : throw new InvalidDataException($"'options' of {place} must be a list, but is {given.ValueKind}.");
        var example = new OptionExample(Field("task"), Field("input"), Field("output"), options);
        return options.Length == 0 || options.Contains(example.Output)
            ? example
            : throw new InvalidDataException(
                $"The output of {place}, '{example.Output}', is none of its options: {string.Join(" | ", options)}."
            );
    }
}
