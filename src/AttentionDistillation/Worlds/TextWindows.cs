using System.Text;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>
/// A long text as windows for a causal language model: <c>input_ids</c> int64 [B, L] and <c>labels</c> [B, L], the token that follows each. The last
/// part of the text is held out. The same seed and step give the same batch.
/// </summary>
public sealed class TextWindows
{
    private readonly int[] tokens;
    private readonly int trained;

    /// <summary>Windows of a text.</summary>
    /// <param name="tokens">The whole text.</param>
    /// <param name="heldOutShare">Which share of it, at its end, is held out.</param>
    /// <exception cref="ArgumentException">The text is empty, or the share is not between 0 and 1.</exception>
    public TextWindows(IReadOnlyList<int> tokens, double heldOutShare = 0.1)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        if (tokens.Count == 0 || !(heldOutShare is > 0 and < 1))
            throw new ArgumentException(
                $"A text of one token or more and a held-out share between 0 and 1 are needed, but there are {tokens.Count} tokens and the share is {heldOutShare}."
            );
        this.tokens = [.. tokens];
        trained = (int)(tokens.Count * (1 - heldOutShare));
    }

    /// <summary>V of texts of bytes.</summary>
    public const int ByteVocabulary = 256;

    /// <summary>The bytes of a text in UTF-8, each a token.</summary>
    public static IReadOnlyList<int> Bytes(string text) => [.. Encoding.UTF8.GetBytes(text).Select(value => (int)value)];

    /// <summary>Reads the text files of a folder (<c>*.txt</c>, or WikiText's <c>*.tokens</c> and <c>*.raw</c>), in the order of their names.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="encode">The tokeniser; null takes the bytes.</param>
    /// <param name="heldOutShare">Which share of the text, at its end, is held out.</param>
    /// <exception cref="DirectoryNotFoundException">The folder does not exist.</exception>
    /// <exception cref="InvalidDataException">It holds no text.</exception>
    public static TextWindows Open(string folder, Func<string, IReadOnlyList<int>>? encode = null, double heldOutShare = 0.1)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"There is no folder '{folder}'. It should hold text files.");
        string[] files =
        [
            .. Directory
                .EnumerateFiles(folder)
                .Where(path => Path.GetExtension(path) is ".txt" or ".tokens" or ".raw")
                .Order(StringComparer.Ordinal),
        ];
        int[] tokens = [.. files.SelectMany(path => (encode ?? Bytes)(File.ReadAllText(path)))];
        return tokens.Length > 0
            ? new TextWindows(tokens, heldOutShare)
            : throw new InvalidDataException($"'{folder}' holds no text (*.txt, *.tokens, *.raw).");
    }

    /// <summary>Tokens in all.</summary>
    public int Count => tokens.Length;

    /// <summary>Windows at random places of the part that is not held out.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L.</param>
    /// <exception cref="ArgumentException">The text is shorter than a window.</exception>
    public IBatchSource Train(long seed, int batchSize, int length)
    {
        Require(batchSize, length, trained);
        return new Source(this, Seeds.Derive(seed, "windows"), batchSize, length);
    }

    /// <summary>Windows of the held-out part, side by side, the same for every model.</summary>
    /// <param name="batches">The most batches.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L.</param>
    /// <exception cref="ArgumentException">The held-out part is shorter than a window.</exception>
    public EvaluationSource HeldOut(int batches, int batchSize, int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batches, 1);
        Require(batchSize, length, tokens.Length - trained);
        int windows = Math.Min(batches * batchSize, (tokens.Length - trained - 1) / length);
        return new(
            (windows + batchSize - 1) / batchSize,
            windows,
            batch =>
                Make(
                    [
                        .. Enumerable
                            .Range(batch * batchSize, Math.Min(batchSize, windows - batch * batchSize))
                            .Select(window => trained + window * length),
                    ],
                    length
                )
        );
    }

    private static void Require(int batchSize, int length, int available)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        if (available <= length)
            throw new ArgumentException(
                $"A window has {length} tokens and the one that follows, but this part of the text has {available}."
            );
    }

    private Batch Make(int[] starts, int length)
    {
        long[] Part(int shift) =>
            [.. starts.SelectMany(start => Enumerable.Range(start + shift, length).Select(place => (long)tokens[place]))];
        return new(("input_ids", tensor(Part(0), [starts.Length, length])), ("labels", tensor(Part(1), [starts.Length, length])));
    }

    private sealed class Source(TextWindows text, long seed, int batchSize, int length) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            var random = SplitMix.At(seed, step);
            var starts = new int[batchSize];
            for (int row = 0; row < batchSize; row++)
                starts[row] = random.NextInt(text.trained - length);
            return text.Make(starts, length);
        }
    }
}
