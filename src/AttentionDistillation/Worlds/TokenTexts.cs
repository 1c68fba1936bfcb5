namespace AttentionDistillation.Worlds;

/// <summary>Token sequences, stored end to end.</summary>
internal sealed class TokenTexts
{
    private readonly ushort[] tokens;
    private readonly int[] starts;

    /// <summary>Texts from their tokens and lengths.</summary>
    public TokenTexts(ushort[] tokens, int[] lengths)
    {
        this.tokens = tokens;
        starts = new int[lengths.Length + 1];
        for (int text = 0; text < lengths.Length; text++)
            starts[text + 1] = checked(starts[text] + lengths[text]);
        if (starts[^1] != tokens.Length)
            throw new InvalidDataException(
                $"The texts have {starts[^1]} tokens by their lengths, but {tokens.Length} are stored."
            );
    }

    /// <summary>The number of texts.</summary>
    public int Count => starts.Length - 1;

    /// <summary>The number of tokens of all texts.</summary>
    public int TokenCount => tokens.Length;

    /// <summary>The tokens of a text.</summary>
    public ReadOnlySpan<ushort> this[int text] => tokens.AsSpan(starts[text], starts[text + 1] - starts[text]);

    /// <summary>Encodes texts, in their order.</summary>
    public static TokenTexts Encode(IReadOnlyList<string> texts, WordPieceVocabulary vocabulary)
    {
        var encoded = new ushort[texts.Count][];
        Parallel.For(
            0,
            texts.Count,
            text => encoded[text] = [.. vocabulary.Encode(texts[text]).Select(id => checked((ushort)id))]
        );
        return new([.. encoded.SelectMany(ids => ids)], [.. encoded.Select(ids => ids.Length)]);
    }

    /// <summary>Writes the texts.</summary>
    public void Write(BinaryWriter writer)
    {
        writer.Write(Count);
        for (int text = 0; text < Count; text++)
            writer.Write(starts[text + 1] - starts[text]);
        foreach (ushort token in tokens)
            writer.Write(token);
    }

    /// <summary>Reads what <see cref="Write"/> wrote.</summary>
    public static TokenTexts Read(BinaryReader reader)
    {
        int[] lengths = new int[reader.ReadInt32()];
        for (int text = 0; text < lengths.Length; text++)
            lengths[text] = reader.ReadInt32();
        var tokens = new ushort[lengths.Sum()];
        for (int at = 0; at < tokens.Length; at++)
            tokens[at] = reader.ReadUInt16();
        return new(tokens, lengths);
    }
}

/// <summary>The tokenised corpus: one row a member, in the order of the ids, and the further passages of the training members.</summary>
/// <param name="Version">Which packs it was made from.</param>
/// <param name="Splits">The split of each member.</param>
/// <param name="Kinds">The kind of each member.</param>
/// <param name="Areas">The namespace area of each member.</param>
/// <param name="Summaries">The summary of each member.</param>
/// <param name="Signatures">The signature of each member.</param>
/// <param name="Passages">Remarks, parameters and return values of training members.</param>
internal sealed record TokenCorpus(
    string Version,
    byte[] Splits,
    byte[] Kinds,
    byte[] Areas,
    TokenTexts Summaries,
    TokenTexts Signatures,
    TokenTexts Passages
)
{
    /// <summary>The members of a split.</summary>
    public int[] Members(DocSplit split) =>
        [.. Enumerable.Range(0, Splits.Length).Where(member => Splits[member] == (byte)split)];
}
