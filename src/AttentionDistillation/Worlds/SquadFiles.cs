using System.Text.Json;

namespace AttentionDistillation.Worlds;

/// <summary>A question of a SQuAD-format file.</summary>
/// <param name="Id">The question's id; parallel files of XQuAD and MLQA share ids across languages.</param>
/// <param name="Question">The question.</param>
/// <param name="Context">The paragraph.</param>
/// <param name="Answers">Acceptable answers and the character of the context at which each starts.</param>
public sealed record SquadExample(string Id, string Question, string Context, IReadOnlyList<(string Text, int Start)> Answers);

/// <summary>A token and the characters it covers.</summary>
/// <param name="Id">The token's number.</param>
/// <param name="Start">Its first character.</param>
/// <param name="End">The character after its last.</param>
public readonly record struct TextToken(long Id, int Start, int End);

/// <summary>A row made of a question and a window of its context, with what is needed to read an answer's text back.</summary>
/// <param name="Row">The tokens and the answer's place.</param>
/// <param name="Example">The question.</param>
/// <param name="Tokens">The window's tokens with their characters.</param>
public sealed record SquadWindow(QuestionRow Row, SquadExample Example, IReadOnlyList<TextToken> Tokens)
{
    /// <summary>The text of a span, in tokens of the window.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The span lies outside the window.</exception>
    public string Text(int start, int end) => Example.Context[Tokens[start].Start..Tokens[end].End];
}

/// <summary>Reads SQuAD-format JSON (SQuAD 1.1, XQuAD, MLQA, TyDiQA-GoldP) and cuts contexts into windows.</summary>
public static class SquadFiles
{
    /// <summary>Reads a file.</summary>
    /// <exception cref="InvalidDataException">It is no SQuAD-format JSON, or an answer is not where the file says.</exception>
    public static IReadOnlyList<SquadExample> Read(string path)
    {
        using var document = Parse(path);
        if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty("data", out var data))
            throw new InvalidDataException($"{path} has no 'data': it is no SQuAD-format file.");
        var examples = new List<SquadExample>();
        try
        {
            foreach (var article in data.EnumerateArray())
            foreach (var paragraph in article.GetProperty("paragraphs").EnumerateArray())
            {
                string context = paragraph.GetProperty("context").GetString()!;
                foreach (var question in paragraph.GetProperty("qas").EnumerateArray())
                    examples.Add(Example(question, context));
            }
        }
        catch (Exception error) when (error is KeyNotFoundException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}, question {examples.Count + 1}: {error.Message}", error);
        }
        foreach (var example in examples)
        foreach (var (text, start) in example.Answers)
            if (
                start < 0
                || start + text.Length > example.Context.Length
                || example.Context[start..(start + text.Length)] != text
            )
                throw new InvalidDataException(
                    $"{path}, question {example.Id}: the answer '{text}' is not at character {start} of its context."
                );
        return examples;
    }

    /// <summary>
    /// Cuts a context into overlapping windows (Devlin et al. 2019's treatment of SQuAD). A window that does not hold the whole first answer has none.
    /// </summary>
    /// <param name="example">The question.</param>
    /// <param name="number">The example's number, which its rows share.</param>
    /// <param name="encode">A tokenizer that tells characters.</param>
    /// <param name="layout">Special tokens.</param>
    /// <param name="length">L of a row.</param>
    /// <param name="stride">Tokens by which windows advance.</param>
    /// <param name="longestQuestion">Questions are cut to this many tokens.</param>
    /// <param name="languages">Question and context language of the rows.</param>
    /// <exception cref="ArgumentException">The length has no room for a context, or the stride is below 1.</exception>
    public static IReadOnlyList<SquadWindow> Windows(
        SquadExample example,
        int number,
        Func<string, IReadOnlyList<TextToken>> encode,
        SentenceLayout layout,
        int length = 384,
        int stride = 128,
        int longestQuestion = 64,
        (int Question, int Context) languages = default
    )
    {
        ArgumentNullException.ThrowIfNull(example);
        ArgumentNullException.ThrowIfNull(encode);
        ArgumentNullException.ThrowIfNull(layout);
        long[] question = [.. encode(example.Question).Take(longestQuestion).Select(token => token.Id)];
        var context = encode(example.Context);
        int room = length - question.Length - (layout.DoublesSeparator ? 4 : 3);
        if (room < 1 || stride < 1)
            throw new ArgumentException(
                $"A row of {length} tokens has room for {room} tokens of context beside a question of {question.Length}, and the stride is {stride}; both must be at least 1."
            );
        var windows = new List<SquadWindow>();
        for (int from = 0; ; from += stride)
        {
            TextToken[] tokens = [.. context.Skip(from).Take(room)];
            var (start, end) = Locate(example, tokens);
            windows.Add(
                new(
                    new(
                        question,
                        [.. tokens.Select(token => token.Id)],
                        start,
                        end,
                        languages.Question,
                        languages.Context,
                        number
                    ),
                    example,
                    tokens
                )
            );
            if (from + room >= context.Count)
                return windows;
        }
    }

    private static (int Start, int End) Locate(SquadExample example, TextToken[] tokens)
    {
        if (example.Answers.Count == 0)
            return (-1, -1);
        var (text, first) = example.Answers[0];
        int last = first + text.Length;
        int start = Array.FindIndex(tokens, token => token.Start <= first && first < token.End),
            end = Array.FindLastIndex(tokens, token => token.Start < last && last <= token.End);
        return start < 0 || end < start ? (-1, -1) : (start, end);
    }

    private static SquadExample Example(JsonElement question, string context) =>
        new(
            question.GetProperty("id").ToString(),
            question.GetProperty("question").GetString()!,
            context,
            [
                .. question
                    .GetProperty("answers")
                    .EnumerateArray()
                    .Select(answer => (answer.GetProperty("text").GetString()!, answer.GetProperty("answer_start").GetInt32())),
            ]
        );

    private static JsonDocument Parse(string path)
    {
        try
        {
            using var stream = File.OpenRead(path);
            return JsonDocument.Parse(stream);
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{path} is no JSON: {error.Message}", error);
        }
    }
}
