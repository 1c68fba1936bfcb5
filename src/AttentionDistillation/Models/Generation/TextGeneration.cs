using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Generation;

/// <summary>What was generated.</summary>
/// <param name="NewTokens">int64 [N, T], N = prompts x samples; padding after an end.</param>
/// <param name="Lengths">New tokens of each text, its end token included.</param>
public sealed record GeneratedTokens(Tensor NewTokens, IReadOnlyList<int> Lengths) : IDisposable
{
    /// <summary>The new tokens of one text, without padding.</summary>
    /// <param name="sequence">Its number from 0.</param>
    public long[] Of(int sequence)
    {
        using var scope = NewDisposeScope();
        return NewTokens[sequence].narrow(0, 0, Lengths[sequence]).cpu().data<long>().ToArray();
    }

    /// <summary>Frees the tokens.</summary>
    public void Dispose() => NewTokens.Dispose();
}

/// <summary>Continues prompts with a language model: greedy or sampled, in batches, with a cache.</summary>
public static class TextGeneration
{
    /// <summary>Continues prompts.</summary>
    /// <param name="model">The model; put it into evaluation mode before.</param>
    /// <param name="inputIds">int64 [B, P], prompts padded on the left.</param>
    /// <param name="mask">bool [B, P], true = real token; null when nothing is padded.</param>
    /// <param name="options">How to go on.</param>
    /// <param name="onTokens">Called after every step with the step's number and the new token of each text (the host waits for the device); null for none.</param>
    /// <param name="cancellation">Stops between two steps.</param>
    /// <returns>The new tokens.</returns>
    /// <exception cref="ArgumentException">An option is out of its range, or a prompt ends in padding.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static GeneratedTokens Generate(
        CausalLanguageModel model,
        Tensor inputIds,
        Tensor? mask,
        GenerationOptions options,
        Action<int, long[]>? onTokens = null,
        CancellationToken cancellation = default
    ) => Generate(model, new DecoderInput(inputIds, mask), options, onTokens, cancellation);

    /// <summary>Continues prompts that may be embeddings, go on from a cache, or run with changed heads.</summary>
    /// <param name="model">The model; put it into evaluation mode before.</param>
    /// <param name="prompt">The prompts; a cache among it is appended to and stays the caller's.</param>
    /// <param name="options">How to go on.</param>
    /// <param name="onTokens">Called after every step with the step's number and the new token of each text; null for none.</param>
    /// <param name="cancellation">Stops between two steps.</param>
    /// <returns>The new tokens.</returns>
    public static GeneratedTokens Generate(
        CausalLanguageModel model,
        DecoderInput prompt,
        GenerationOptions options,
        Action<int, long[]>? onTokens = null,
        CancellationToken cancellation = default
    )
    {
        using var scope = NewDisposeScope();
        using var run = new GenerationRun(model, prompt, options);
        while (run.Step < options.MaxNewTokens)
        {
            cancellation.ThrowIfCancellationRequested();
            using (var next = run.Next())
                onTokens?.Invoke(run.Step - 1, ToHost(next));
            if (run.Step % options.StepsBetweenChecks == 0 && run.HasEnded())
                break;
        }
        var all = run.NewTokens();
        var lengths = Lengths(all, options.EndTokens);
        return new GeneratedTokens(all.narrow(1, 0, lengths.Max()).clone().MoveToOuterDisposeScope(), lengths);
    }

    /// <summary>Continues prompts and gives each step's tokens as they come.</summary>
    /// <param name="model">The model; put it into evaluation mode before.</param>
    /// <param name="prompt">The prompts.</param>
    /// <param name="options">How to go on.</param>
    /// <param name="cancellation">Stops between two steps.</param>
    /// <returns>For each step the new token of each text; padding for texts that have ended. It ends when all have.</returns>
    public static async IAsyncEnumerable<long[]> Stream(
        CausalLanguageModel model,
        DecoderInput prompt,
        GenerationOptions options,
        [EnumeratorCancellation] CancellationToken cancellation = default
    )
    {
        using var run = new GenerationRun(model, prompt, options);
        while (run.Step < options.MaxNewTokens)
        {
            cancellation.ThrowIfCancellationRequested();
            // A step on another thread leaves the reader's free; dispose scopes belong to threads, and a step's end with it.
            long[] tokens = await Task.Run(
                () =>
                {
                    using var next = run.Next();
                    return ToHost(next);
                },
                cancellation
            );
            yield return tokens;
            if (run.HasEnded())
                yield break;
        }
    }

    private static long[] ToHost(Tensor tokens)
    {
        using var scope = NewDisposeScope();
        return tokens.reshape(-1).cpu().data<long>().ToArray();
    }

    private static List<int> Lengths(Tensor tokens, IReadOnlyList<long> endTokens)
    {
        using var scope = NewDisposeScope();
        int steps = (int)tokens.size(1);
        long[] flat = tokens.cpu().contiguous().data<long>().ToArray();
        var ends = endTokens.ToHashSet();
        return
        [
            .. flat.Chunk(steps)
                .Select(row =>
                {
                    int end = Array.FindIndex(row, ends.Contains);
                    return end < 0 ? steps : end + 1;
                }),
        ];
    }
}
