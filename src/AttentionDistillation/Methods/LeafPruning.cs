namespace AttentionDistillation.Methods;

/// <summary>How flagged tokens are taken out of a prompt.</summary>
public enum LeafPruningStrategy
{
    /// <summary>One counterfactual prompt for every run, without that run alone: the paper's choice.</summary>
    Span,

    /// <summary>One prompt without any run.</summary>
    Collective,
}

/// <summary>What a response-level sample analyses and what it learns.</summary>
/// <param name="PrunableEnd">Tokens before this one, prompt and earlier segments, are analysed and may be pruned.</param>
/// <param name="LabelStart">Tokens from here on are labels.</param>
public readonly record struct LeafResponseLevel(int PrunableEnd, int LabelStart);

/// <summary>
/// Counterfactual prompts of LeaF (arXiv 2506.07851, section 3): the prompt rebuilt without confounders. Later tokens move up, so positions change;
/// masking in place would not be the same.
/// </summary>
public static class LeafPruning
{
    /// <summary>The prompts without flagged tokens; the unchanged prompt when nothing is flagged.</summary>
    /// <param name="prompt">The tokens of the analysed span.</param>
    /// <param name="confounders">What was flagged in it.</param>
    /// <param name="strategy">Run by run, or all at once.</param>
    /// <exception cref="ArgumentException">The numbers of tokens differ.</exception>
    public static IReadOnlyList<long[]> Variants(
        IReadOnlyList<long> prompt,
        LeafConfounders confounders,
        LeafPruningStrategy strategy = LeafPruningStrategy.Span
    )
    {
        ArgumentNullException.ThrowIfNull(prompt);
        ArgumentNullException.ThrowIfNull(confounders);
        if (prompt.Count != confounders.Flags.Count)
            throw new ArgumentException(
                $"The prompt has {prompt.Count} tokens, but flags were found for {confounders.Flags.Count}.",
                nameof(confounders)
            );
        if (confounders.Runs.Count == 0)
            return
            [
                [.. prompt],
            ];
        return strategy switch
        {
            LeafPruningStrategy.Collective =>
            [
                [.. prompt.Where((_, place) => !confounders.Flags[place])],
            ],
            LeafPruningStrategy.Span =>
            [
                .. confounders.Runs.Select(run =>
                    prompt.Where((_, place) => place < run.Start || place >= run.Start + run.Length).ToArray()
                ),
            ],
            _ => throw new ArgumentOutOfRangeException(nameof(strategy), strategy, "Unknown strategy."),
        };
    }

    /// <summary>
    /// The samples of a response that is cut into segments of equal length: at the instruction level the prompt is analysed and the whole response
    /// learned; at the response level the first segments count as prompt, too, and the rest is learned.
    /// </summary>
    /// <param name="promptLength">Tokens of the prompt.</param>
    /// <param name="responseLength">Tokens of the response, at least <paramref name="segments"/>.</param>
    /// <param name="segments">1 for the instruction level alone, 2 or 3 in the paper.</param>
    /// <returns>The instruction level first, then one level for every segment but the last.</returns>
    /// <exception cref="ArgumentException">There are fewer response tokens than segments.</exception>
    public static IReadOnlyList<LeafResponseLevel> Levels(int promptLength, int responseLength, int segments)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(promptLength, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(segments, 1);
        if (responseLength < segments)
            throw new ArgumentException(
                $"A response of {responseLength} tokens cannot be cut into {segments} segments.",
                nameof(responseLength)
            );
        return
        [
            .. Enumerable
                .Range(0, segments)
                .Select(segment => promptLength + responseLength * segment / segments)
                .Select(cut => new LeafResponseLevel(cut, cut)),
        ];
    }
}
