using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>A prompt and the response to it, as token numbers.</summary>
/// <param name="Prompt">1 token or more.</param>
/// <param name="Response">The tokens to learn.</param>
public sealed record PromptExample(IReadOnlyList<long> Prompt, IReadOnlyList<long> Response);

/// <summary>
/// Batches of prompts with responses for causal language models, padded on the right: <c>input_ids</c> and <c>attention_mask</c>; <c>labels</c>
/// int64 [B, L], at each place the response token that follows, else ignored; <see cref="TextLabels"/> the same for every following token;
/// <see cref="ResponseMask"/> bool [B, L], true = the token itself belongs to the response.
/// </summary>
public static class PromptBatches
{
    /// <summary>Name of the mask of response tokens.</summary>
    public const string ResponseMask = "response_mask";

    /// <summary>Name of the labels that ask for every following token.</summary>
    public const string TextLabels = "text_labels";

    /// <summary>A batch of examples in order.</summary>
    /// <param name="examples">1 or more.</param>
    /// <param name="padding">The token that fills up.</param>
    /// <exception cref="ArgumentException">There are no examples, or one has an empty prompt.</exception>
    public static Batch Of(IReadOnlyList<PromptExample> examples, long padding)
    {
        Require(examples);
        return Build(
            [
                .. examples.Select(example =>
                    (
                        (long[])[.. example.Prompt, .. example.Response],
                        (bool[])
                            [
                                .. Enumerable.Repeat(false, example.Prompt.Count),
                                .. Enumerable.Repeat(true, example.Response.Count),
                            ]
                    )
                ),
            ],
            padding
        );
    }

    /// <summary>Training batches, a new order in every epoch.</summary>
    /// <param name="examples">1 or more.</param>
    /// <param name="seed">The seed of the order.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="padding">The token that fills up.</param>
    public static IBatchSource Training(IReadOnlyList<PromptExample> examples, long seed, int batchSize, long padding) =>
        Mixed(examples, batchSize, examples, 0, seed, padding);

    /// <summary>Training batches of two kinds: first so many rows of one, then so many of the other, each in an order of its own.</summary>
    /// <param name="first">Examples of the first kind.</param>
    /// <param name="firstRows">Rows of the first kind in a batch.</param>
    /// <param name="second">Examples of the second kind.</param>
    /// <param name="secondRows">Rows of the second kind in a batch.</param>
    /// <param name="seed">The seed of the orders.</param>
    /// <param name="padding">The token that fills up.</param>
    public static IBatchSource Mixed(
        IReadOnlyList<PromptExample> first,
        int firstRows,
        IReadOnlyList<PromptExample> second,
        int secondRows,
        long seed,
        long padding
    )
    {
        Require(first);
        Require(second);
        ArgumentOutOfRangeException.ThrowIfNegative(firstRows);
        ArgumentOutOfRangeException.ThrowIfNegative(secondRows);
        ArgumentOutOfRangeException.ThrowIfLessThan(firstRows + secondRows, 1, "firstRows + secondRows");
        return new MixedSource(first, firstRows, second, secondRows, seed, padding);
    }

    /// <summary>Every example once, in order.</summary>
    /// <param name="examples">1 or more.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="padding">The token that fills up.</param>
    public static EvaluationSource Evaluation(IReadOnlyList<PromptExample> examples, int batchSize, long padding)
    {
        Require(examples);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return new EvaluationSource(
            (examples.Count + batchSize - 1) / batchSize,
            examples.Count,
            batch => Of([.. examples.Skip(batch * batchSize).Take(batchSize)], padding)
        );
    }

    /// <summary>A batch of token rows, each with its response tokens marked.</summary>
    internal static Batch Build(IReadOnlyList<(long[] Tokens, bool[] IsResponse)> rows, long padding)
    {
        int count = rows.Count,
            length = rows.Max(row => row.Tokens.Length);
        long[] ids = [.. Enumerable.Repeat(padding, count * length)],
            labels = [.. Enumerable.Repeat(Batch.IgnoredLabel, count * length)],
            text = [.. labels];
        var (real, response) = (new bool[count * length], new bool[count * length]);
        for (int row = 0; row < count; row++)
        {
            var (tokens, isResponse) = rows[row];
            for (int place = 0; place < tokens.Length; place++)
            {
                int at = row * length + place;
                (ids[at], real[at], response[at]) = (tokens[place], true, isResponse[place]);
                if (place == 0)
                    continue;
                text[at - 1] = tokens[place];
                if (isResponse[place])
                    labels[at - 1] = tokens[place];
            }
        }
        long[] shape = [count, length];
        return new Batch(
            ("input_ids", tensor(ids, shape)),
            ("attention_mask", tensor(real, shape)),
            ("labels", tensor(labels, shape)),
            (TextLabels, tensor(text, shape)),
            (ResponseMask, tensor(response, shape))
        );
    }

    private static void Require(IReadOnlyList<PromptExample> examples)
    {
        ArgumentNullException.ThrowIfNull(examples);
        if (examples.Count == 0)
            throw new ArgumentException("There are no examples.", nameof(examples));
        if (examples.Any(example => example.Prompt.Count == 0))
            throw new ArgumentException("An example has an empty prompt.", nameof(examples));
    }

    private sealed class MixedSource(
        IReadOnlyList<PromptExample> first,
        int firstRows,
        IReadOnlyList<PromptExample> second,
        int secondRows,
        long seed,
        long padding
    ) : IBatchSource
    {
        private readonly EpochOrder firstOrder = new(first.Count, Seeds.Derive(seed, "first prompts"));
        private readonly EpochOrder secondOrder = new(second.Count, Seeds.Derive(seed, "second prompts"));

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            return Of(
                [
                    .. Enumerable.Range(0, firstRows).Select(row => first[firstOrder.At(step * firstRows + row)]),
                    .. Enumerable.Range(0, secondRows).Select(row => second[secondOrder.At(step * secondRows + row)]),
                ],
                padding
            );
        }
    }
}
