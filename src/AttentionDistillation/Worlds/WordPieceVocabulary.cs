using System.Security.Cryptography;
using System.Text;
using Microsoft.ML.Tokenizers;

namespace AttentionDistillation.Worlds;

/// <summary>A WordPiece vocabulary and the tokeniser over it (Microsoft.ML.Tokenizers, lower case).</summary>
public sealed class WordPieceVocabulary
{
    /// <summary>The number of [PAD].</summary>
    public const int Padding = 0;

    /// <summary>The number of [UNK].</summary>
    public const int Unknown = 1;

    /// <summary>The number of [CLS].</summary>
    public const int Classify = 2;

    /// <summary>The number of [SEP].</summary>
    public const int Separator = 3;

    /// <summary>The number of [MASK].</summary>
    public const int Mask = 4;

    /// <summary>How many special tokens open the vocabulary.</summary>
    public const int SpecialCount = 5;

    private const string Resource = "AttentionDistillation.dotnet-docs-wordpiece-8k.txt";
    private static readonly Lazy<WordPieceVocabulary> Shared = new(ReadResource);
    private readonly BertTokenizer tokenizer;

    /// <summary>A vocabulary from its entries.</summary>
    /// <param name="tokens">The entries in the order of their numbers, the special tokens first.</param>
    /// <exception cref="ArgumentException">The special tokens are not where BERT has them, or there are more than 65,536 entries.</exception>
    public WordPieceVocabulary(IReadOnlyList<string> tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        if (!tokens.Take(SpecialCount).SequenceEqual(WordPieceTrainer.SpecialTokens) || tokens.Count > ushort.MaxValue + 1)
            throw new ArgumentException(
                $"A vocabulary begins with {string.Join(' ', WordPieceTrainer.SpecialTokens)} and has at most 65536 entries; this one begins with "
                    + $"{string.Join(' ', tokens.Take(SpecialCount))} and has {tokens.Count}.",
                nameof(tokens)
            );
        Tokens = tokens;
        byte[] file = Encoding.UTF8.GetBytes(string.Join('\n', tokens) + "\n");
        Fingerprint = Convert.ToHexStringLower(SHA256.HashData(file));
        using var stream = new MemoryStream(file);
        // The package's own basic tokenisation drops symbols such as '+' and keeps '_' inside words, unlike BERT's; so it gets the words of
        // WordPieceTrainer.Words, already in lower case, and splits at spaces only.
        tokenizer = BertTokenizer.Create(
            stream,
            new BertOptions
            {
                LowerCaseBeforeTokenization = true,
                ApplyBasicTokenization = false,
                SplitOnSpecialTokens = false,
                PreTokenizer = PreTokenizer.CreateWhiteSpace(),
            }
        );
    }

    /// <summary>The committed vocabulary of the .NET reference documentation, about 8,000 entries; it travels inside this assembly.</summary>
    public static WordPieceVocabulary Default => Shared.Value;

    /// <summary>The entries in the order of their numbers.</summary>
    public IReadOnlyList<string> Tokens { get; }

    /// <summary>V, the number of entries.</summary>
    public int Size => Tokens.Count;

    /// <summary>SHA-256 of the vocabulary file.</summary>
    public string Fingerprint { get; }

    /// <summary>The token numbers of a text, without special tokens.</summary>
    public IReadOnlyList<int> Encode(string text) =>
        tokenizer.EncodeToIds(
            string.Join(' ', WordPieceTrainer.Words(text)),
            addSpecialTokens: false,
            considerPreTokenization: true,
            considerNormalization: true
        );

    /// <summary>The text of token numbers, pieces joined into words; special tokens stay visible, padding is left out.</summary>
    public string Decode(IEnumerable<long> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var text = new StringBuilder();
        foreach (long id in ids.Where(id => id != Padding))
        {
            string token = Tokens[checked((int)id)];
            if (token.StartsWith("##", StringComparison.Ordinal) && token.Length > 2)
                text.Append(token, 2, token.Length - 2);
            else
                text.Append(text.Length > 0 ? " " : "").Append(token);
        }
        return text.ToString();
    }

    private static WordPieceVocabulary ReadResource()
    {
        using var stream =
            typeof(WordPieceVocabulary).Assembly.GetManifestResourceStream(Resource)
            ?? throw new InvalidOperationException(
                $"This assembly was built without {Resource}; build it from the complete repository."
            );
        using var reader = new StreamReader(stream);
        return new([.. reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.TrimEnd('\r'))]);
    }
}
