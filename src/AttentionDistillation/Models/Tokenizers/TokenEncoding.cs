namespace AttentionDistillation.Models.Tokenizers;

/// <summary>A text, or a pair of texts, as tokens. All lists have one entry a token.</summary>
/// <remarks>
/// Offsets are UTF-16 units of the text that was given, as .NET's strings count (Python counts code points: they differ behind characters beyond the
/// basic plane, such as emoji); <c>text[start..end]</c> is what a token came from.
/// </remarks>
public sealed class TokenEncoding
{
    private readonly List<EncodedToken> entries;

    internal TokenEncoding(List<EncodedToken> entries) => this.entries = entries;

    /// <summary>Number of tokens, padding included.</summary>
    public int Length => entries.Count;

    /// <summary>Token numbers.</summary>
    public IReadOnlyList<int> Ids => [.. entries.Select(entry => entry.Id)];

    /// <summary>
    /// The tokens as the vocabulary has them; an added token, and what a unigram model does not know, as it was found in the text. (As in the tokenizers
    /// library. <see cref="Tokenizer.Token"/> gives a number's entry in the vocabulary.)
    /// </summary>
    public IReadOnlyList<string> Tokens => [.. entries.Select(entry => entry.Token)];

    /// <summary>Segment numbers: 0 for the first text, and what the model's template says for the second.</summary>
    public IReadOnlyList<int> TypeIds => [.. entries.Select(entry => entry.Type)];

    /// <summary>Where in its text a token comes from, the end excluded; (0, 0) for special tokens and padding.</summary>
    public IReadOnlyList<(int Start, int End)> Offsets => [.. entries.Select(entry => (entry.Start, entry.End))];

    /// <summary>True for tokens that were added to the text: [CLS], [SEP], padding.</summary>
    public IReadOnlyList<bool> SpecialTokensMask => [.. entries.Select(entry => entry.Special)];

    /// <summary>True for real tokens, false for padding.</summary>
    public IReadOnlyList<bool> Mask => [.. entries.Select(entry => !entry.Padding)];

    /// <summary>The number of the word (piece of the pre-tokenizer) that a token is part of, counted in its text; null for special tokens.</summary>
    public IReadOnlyList<int?> WordIds => [.. entries.Select(entry => entry.Word)];

    /// <summary>Which text a token comes from: 0 or 1; null for special tokens.</summary>
    public IReadOnlyList<int?> SequenceIds => [.. entries.Select(entry => entry.Sequence)];

    internal IReadOnlyList<EncodedToken> Entries => entries;
}

/// <summary>A token with all that is known of it.</summary>
internal readonly record struct EncodedToken(
    int Id,
    string Token,
    int Start,
    int End,
    int Type = 0,
    int? Word = null,
    int? Sequence = null,
    bool Special = false,
    bool Padding = false
);
