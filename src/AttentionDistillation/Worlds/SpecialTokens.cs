namespace AttentionDistillation.Worlds;

/// <summary>How a text becomes token numbers, and the numbers that have a meaning of their own in a BERT-like vocabulary.</summary>
/// <param name="Encode">The token numbers of a text, without special tokens.</param>
/// <param name="VocabularySize">V.</param>
/// <param name="Padding">The number of padding.</param>
/// <param name="Classify">The number of the first token of every row.</param>
/// <param name="Separator">The number of the token that ends a text.</param>
/// <param name="Mask">The number that stands for what is asked.</param>
public sealed record SpecialTokens(
    Func<string, IReadOnlyList<int>> Encode,
    int VocabularySize,
    int Padding,
    int Classify,
    int Separator,
    int Mask
)
{
    /// <summary>A vocabulary file of BERT, an entry a line, whose special tokens are found by their names.</summary>
    /// <param name="entries">The lines of <c>vocab.txt</c>.</param>
    /// <param name="encode">The tokeniser over it.</param>
    /// <exception cref="ArgumentException">A special token is missing; the message names it.</exception>
    public static SpecialTokens OfBert(IReadOnlyList<string> entries, Func<string, IReadOnlyList<int>> encode)
    {
        ArgumentNullException.ThrowIfNull(entries);
        ArgumentNullException.ThrowIfNull(encode);
        int Number(string name)
        {
            for (int number = 0; number < entries.Count; number++)
                if (entries[number] == name)
                    return number;
            throw new ArgumentException($"The vocabulary of {entries.Count} entries has no {name}: it is no vocab.txt of BERT.");
        }
        return new(encode, entries.Count, Number("[PAD]"), Number("[CLS]"), Number("[SEP]"), Number("[MASK]"));
    }

    internal bool IsSpecial(long token) => token == Padding || token == Classify || token == Separator || token == Mask;
}
