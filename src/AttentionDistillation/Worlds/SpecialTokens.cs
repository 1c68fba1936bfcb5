using Microsoft.ML.Tokenizers;

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

    /// <summary>A <c>vocab.txt</c> of BERT with its WordPiece tokeniser, lower case.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">It does not exist.</exception>
    /// <exception cref="ArgumentException">A special token is missing; the message names it.</exception>
    public static SpecialTokens ReadBert(string path)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no vocabulary '{path}'. It is the vocab.txt of a BERT checkpoint.", path);
        using var stream = File.OpenRead(path);
        // Words are split here as BERT does, which the package's own splitting does not (see WordPieceVocabulary).
        var tokenizer = BertTokenizer.Create(
            stream,
            new BertOptions
            {
                LowerCaseBeforeTokenization = true,
                ApplyBasicTokenization = false,
                SplitOnSpecialTokens = false,
                PreTokenizer = PreTokenizer.CreateWhiteSpace(),
            }
        );
        return OfBert(
            File.ReadAllLines(path),
            text =>
                tokenizer.EncodeToIds(
                    string.Join(' ', WordPieceTrainer.Words(text)),
                    addSpecialTokens: false,
                    considerPreTokenization: true,
                    considerNormalization: true
                )
        );
    }

    internal bool IsSpecial(long token) => token == Padding || token == Classify || token == Separator || token == Mask;
}
