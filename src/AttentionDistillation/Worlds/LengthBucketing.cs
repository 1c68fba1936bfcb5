namespace AttentionDistillation.Worlds;

/// <summary>How examples of near lengths come together in batches.</summary>
public sealed record LengthBucketing
{
    /// <summary>8: the lengths of batches are multiples of it, as tensor cores want them, and examples that need equally many multiples mix freely.</summary>
    public const int DefaultMultiple = 8;

    /// <summary>Lengths of batches are multiples of this, and at most the longest length allowed.</summary>
    public int Multiple
    {
        get;
        init =>
            field =
                value >= 1
                    ? value
                    : throw new ArgumentException(
                        $"LengthBucketing.Multiple must be 1 or more, but is {value}. Usual values are 8 and 64."
                    );
    } = DefaultMultiple;

    /// <summary>
    /// The most tokens of a batch, B x L with its padding: short examples come in larger batches. Null leaves the size to the number of examples alone.
    /// </summary>
    public int? TokensPerBatch
    {
        get;
        init =>
            field = value is null or >= 1
                ? value
                : throw new ArgumentException(
                    $"LengthBucketing.TokensPerBatch must be 1 or more, or null for no limit, but is {value}."
                );
    }
}
