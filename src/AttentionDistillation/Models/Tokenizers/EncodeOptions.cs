namespace AttentionDistillation.Models.Tokenizers;

/// <summary>Which text loses tokens when a pair is too long.</summary>
public enum TruncationStrategy
{
    /// <summary>The longer one, until both are as long; then both.</summary>
    LongestFirst,

    /// <summary>The first only.</summary>
    OnlyFirst,

    /// <summary>The second only.</summary>
    OnlySecond,
}

/// <summary>How far texts of a batch are padded.</summary>
public enum PaddingStrategy
{
    /// <summary>Not at all; then a batch must be of one length.</summary>
    None,

    /// <summary>To the longest of the batch.</summary>
    Longest,

    /// <summary>To <see cref="EncodeOptions.MaximumLength"/>.</summary>
    MaximumLength,
}

/// <summary>The end of a text at which something happens.</summary>
public enum TextSide
{
    /// <summary>At its end.</summary>
    Right,

    /// <summary>At its beginning.</summary>
    Left,
}

/// <summary>How texts become tokens.</summary>
public sealed record EncodeOptions
{
    /// <summary>Whether the model's special tokens ([CLS], [SEP], &lt;s&gt;) are added.</summary>
    public bool AddSpecialTokens { get; init; } = true;

    /// <summary>Most tokens, special ones included; longer texts are cut. Null cuts nothing.</summary>
    public int? MaximumLength { get; init; }

    /// <summary>Which text of a pair is cut.</summary>
    public TruncationStrategy Truncation { get; init; }

    /// <summary>Where texts are cut; null means what the tokenizer's files say.</summary>
    public TextSide? TruncationSide { get; init; }

    /// <summary>How far a batch is padded.</summary>
    public PaddingStrategy Padding { get; init; } = PaddingStrategy.Longest;

    /// <summary>Padded lengths are rounded up to a multiple of this (8 suits tensor cores).</summary>
    public int PadToMultipleOf { get; init; } = 1;

    /// <summary>Where padding goes; null means what the tokenizer's files say. Language models that generate want it left.</summary>
    public TextSide? PaddingSide { get; init; }

    internal void Validate()
    {
        if (MaximumLength is { } length)
            ArgumentOutOfRangeException.ThrowIfLessThan(length, 1, nameof(MaximumLength));
        ArgumentOutOfRangeException.ThrowIfLessThan(PadToMultipleOf, 1, nameof(PadToMultipleOf));
        if (Padding == PaddingStrategy.MaximumLength && MaximumLength is null)
            throw new ArgumentException(
                $"{nameof(Padding)} is {nameof(PaddingStrategy.MaximumLength)}, but no {nameof(MaximumLength)} is set. Set it."
            );
    }
}
