namespace AttentionDistillation.Models.Tokenizers;

/// <summary>Cuts texts to a length, as the tokenizers library does.</summary>
internal static class Truncation
{
    /// <summary>Cuts a text or a pair.</summary>
    /// <param name="first">The first text's tokens.</param>
    /// <param name="second">The second's; null for a single text.</param>
    /// <param name="room">Most tokens of both together.</param>
    /// <param name="strategy">Which is cut.</param>
    /// <param name="side">At which end.</param>
    /// <exception cref="ArgumentException">The text that is to be cut is too short to make room.</exception>
    public static void Apply(
        List<EncodedToken> first,
        List<EncodedToken>? second,
        int room,
        TruncationStrategy strategy,
        TextSide side
    )
    {
        int surplus = first.Count + (second?.Count ?? 0) - room;
        if (surplus <= 0)
            return;
        if (second is null && strategy != TruncationStrategy.OnlySecond)
            Cut(first, Math.Max(0, room), side);
        else if (strategy == TruncationStrategy.LongestFirst)
        {
            var (one, two) = Longest(first.Count, second!.Count, Math.Max(0, room));
            Cut(first, one, side);
            Cut(second, two, side);
        }
        else
        {
            var target = strategy == TruncationStrategy.OnlyFirst ? first : second;
            if (target is null || target.Count <= surplus)
                throw new ArgumentException(
                    $"{surplus} tokens must go, but {strategy} leaves only the {target?.Count ?? 0} of {(target == first ? "the first" : "the second")} text to take them from. "
                        + $"Raise {nameof(EncodeOptions.MaximumLength)} or use {nameof(TruncationStrategy.LongestFirst)}."
                );
            Cut(target, target.Count - surplus, side);
        }
    }

    private static (int First, int Second) Longest(int first, int second, int room)
    {
        bool swapped = first > second;
        var (shorter, longer) = swapped ? (second, first) : (first, second);
        longer = shorter > room ? shorter : Math.Max(shorter, room - shorter);
        if (shorter + longer > room)
            (shorter, longer) = (room / 2, room / 2 + room % 2);
        return swapped ? (longer, shorter) : (shorter, longer);
    }

    private static void Cut(List<EncodedToken> tokens, int length, TextSide side)
    {
        if (tokens.Count <= length)
            return;
        if (side == TextSide.Right)
            tokens.RemoveRange(length, tokens.Count - length);
        else
            tokens.RemoveRange(0, tokens.Count - length);
    }
}
