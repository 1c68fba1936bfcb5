using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>
/// A task of the GLUE benchmark from its folder of TSV files, as gluebenchmark.com distributes them: <c>train.tsv</c> and <c>dev.tsv</c> (MNLI:
/// <c>dev_matched.tsv</c>). Columns are found by the header's names; CoLA has none.
/// </summary>
public sealed class GlueTask
{
    private sealed record Layout(string First, string? Second, string Label, string[] Classes, string Dev = "dev.tsv");

    private static readonly string[] Binary = ["0", "1"];
    private static readonly string[] Entailment = ["entailment", "not_entailment"];

    // CoLA's file has no header: source, label, the author's mark, sentence.
    private const int UnnamedLabel = 1;
    private const int UnnamedSentence = 3;

    private static readonly Dictionary<string, Layout> Known = new(StringComparer.OrdinalIgnoreCase)
    {
        ["MNLI"] = new("sentence1", "sentence2", "gold_label", ["entailment", "neutral", "contradiction"], "dev_matched.tsv"),
        ["QNLI"] = new("question", "sentence", "label", Entailment),
        ["RTE"] = new("sentence1", "sentence2", "label", Entailment),
        ["QQP"] = new("question1", "question2", "is_duplicate", Binary),
        ["SST-2"] = new("sentence", null, "label", Binary),
        ["MRPC"] = new("#1 String", "#2 String", "Quality", Binary),
        ["CoLA"] = new("", null, "", Binary),
    };

    private readonly SpecialTokens tokens;
    private readonly (int[] First, int[] Second, int Label)[] train;
    private readonly (int[] First, int[] Second, int Label)[] dev;

    private GlueTask(
        string name,
        IReadOnlyList<string> classes,
        SpecialTokens tokens,
        (int[], int[], int)[] train,
        (int[], int[], int)[] dev
    ) => (Name, ClassNames, this.tokens, this.train, this.dev) = (name, classes, tokens, train, dev);

    /// <summary>The tasks that can be read.</summary>
    public static IReadOnlyCollection<string> Names => Known.Keys;

    /// <summary>The task's name.</summary>
    public string Name { get; }

    /// <summary>The classes, in the order of the labels.</summary>
    public IReadOnlyList<string> ClassNames { get; }

    /// <summary>Examples for training.</summary>
    public int TrainCount => train.Length;

    /// <summary>Examples of the development set.</summary>
    public int DevCount => dev.Length;

    /// <summary>Reads a task.</summary>
    /// <param name="folder">Holds a folder of the task's name with its TSV files.</param>
    /// <param name="name">The task, one of <see cref="Names"/>.</param>
    /// <param name="tokens">Tokeniser and special tokens.</param>
    /// <exception cref="ArgumentException">The task is unknown.</exception>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">A column, a field or a label is not what the task has; the message names file and line.</exception>
    public static GlueTask Read(string folder, string name, SpecialTokens tokens)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(tokens);
        if (!Known.TryGetValue(name, out var layout))
            throw new ArgumentException(
                $"'{name}' is no task that can be read. Those are: {string.Join(", ", Names)}.",
                nameof(name)
            );
        string place = Path.Combine(folder, name);
        return new GlueTask(
            name,
            layout.Classes,
            tokens,
            ReadFile(Path.Combine(place, "train.tsv"), layout, tokens),
            ReadFile(Path.Combine(place, layout.Dev), layout, tokens)
        );
    }

    /// <summary>Training batches: labels int64 [B], a new order in every epoch.</summary>
    /// <param name="seed">The seed of the order.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L; longer texts are cut, shorter ones padded.</param>
    public IBatchSource Train(long seed, int batchSize, int length)
    {
        Require(batchSize, length);
        return new Source(this, new EpochOrder(train.Length, Seeds.Derive(seed, Name)), batchSize, length);
    }

    /// <summary>Training batches of examples of near lengths, cut to what the longest of each needs: the rows of <see cref="Train"/> with less padding.</summary>
    /// <param name="seed">The seed of the order.</param>
    /// <param name="batchSize">The most examples of a batch.</param>
    /// <param name="length">The longest L; longer texts are cut.</param>
    /// <param name="bucketing">How examples come together; null for multiples of 8 without a limit of tokens.</param>
    /// <exception cref="ArgumentException">The limit of tokens is below an example's length.</exception>
    public BucketedBatches TrainBucketed(long seed, int batchSize, int length, LengthBucketing? bucketing = null)
    {
        Require(batchSize, length);
        return new(
            [.. train.Select(example => LengthOf(example.First, example.Second, length))],
            Seeds.Derive(seed, Name),
            batchSize,
            length,
            bucketing,
            (chosen, rowLength, _) => Make([.. chosen.Select(example => train[example])], length, rowLength)
        );
    }

    /// <summary>The development set, each example once, in the file's order.</summary>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L.</param>
    public EvaluationSource Dev(int batchSize, int length)
    {
        Require(batchSize, length);
        return new(
            (dev.Length + batchSize - 1) / batchSize,
            dev.Length,
            batch => Make(dev.AsSpan(batch * batchSize, Math.Min(batchSize, dev.Length - batch * batchSize)), length)
        );
    }

    private static void Require(int batchSize, int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 5);
    }

    private static (int[], int[], int)[] ReadFile(string path, Layout layout, SpecialTokens tokens)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no '{path}'. Download the task's folder from gluebenchmark.com.", path);
        var examples = new List<(int[], int[], int)>();
        (int First, int Second, int Label)? columns = layout.First.Length == 0 ? (UnnamedSentence, -1, UnnamedLabel) : null;
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            string[] fields = line.Split('\t');
            if (columns is not { } column)
            {
                columns = (
                    Column(fields, layout.First, path),
                    layout.Second is null ? -1 : Column(fields, layout.Second, path),
                    Column(fields, layout.Label, path)
                );
                continue;
            }
            int most = Math.Max(column.First, Math.Max(column.Second, column.Label));
            if (fields.Length <= most)
            {
                // QQP's files hold a few broken lines, which every reader of it leaves out.
                if (layout.Label == "is_duplicate")
                    continue;
                throw new InvalidDataException($"'{path}' line {number} has {fields.Length} fields, expected more than {most}.");
            }
            int label = Array.IndexOf(layout.Classes, fields[column.Label]);
            if (label < 0)
                throw new InvalidDataException(
                    $"'{path}' line {number} has the label '{fields[column.Label]}', expected one of {string.Join(", ", layout.Classes)}."
                );
            examples.Add(
                (
                    [.. tokens.Encode(fields[column.First])],
                    column.Second < 0 ? [] : [.. tokens.Encode(fields[column.Second])],
                    label
                )
            );
        }
        return examples.Count > 0 ? [.. examples] : throw new InvalidDataException($"'{path}' holds no examples.");
    }

    private static int Column(string[] header, string name, string path)
    {
        int column = Array.FindIndex(header, field => field.Trim('\uFEFF') == name);
        return column >= 0
            ? column
            : throw new InvalidDataException($"'{path}' has no column '{name}'. It has: {string.Join(", ", header)}.");
    }

    // Tokens of each text that fit a row; the longer text of a pair is cut first, as BERT's scripts do.
    private static (int First, int Second) Fit(int[] first, int[] second, int length)
    {
        int room = length - (second.Length == 0 ? 2 : 3),
            ofFirst = first.Length,
            ofSecond = second.Length;
        while (ofFirst + ofSecond > room)
            _ = ofFirst >= ofSecond ? ofFirst-- : ofSecond--;
        return (ofFirst, ofSecond);
    }

    private static int LengthOf(int[] first, int[] second, int length)
    {
        var (ofFirst, ofSecond) = Fit(first, second, length);
        return ofFirst + ofSecond + (second.Length == 0 ? 2 : 3);
    }

    // Texts are cut to a length; rows may be shorter where no text needs it.
    private Batch Make(ReadOnlySpan<(int[] First, int[] Second, int Label)> chosen, int length, int? rowLength = null)
    {
        int columns = rowLength ?? length;
        var rows = new Rows(chosen.Length, columns);
        var labels = new long[chosen.Length];
        for (int row = 0; row < chosen.Length; row++)
        {
            var (first, second, label) = chosen[row];
            labels[row] = label;
            for (int column = 0; column < columns; column++)
                rows.Fill(row, column, tokens.Padding);
            rows.Put(row, 0, tokens.Classify);
            var (ofFirst, ofSecond) = Fit(first, second, length);
            int at = Append(rows, row, 1, first.AsSpan(0, ofFirst), 0);
            if (second.Length > 0)
                Append(rows, row, at, second.AsSpan(0, ofSecond), 1);
        }
        return rows.ToBatch(labels);
    }

    private int Append(Rows rows, int row, int column, ReadOnlySpan<int> text, long type)
    {
        foreach (int token in text)
            rows.Put(row, column++, token, type);
        rows.Put(row, column++, tokens.Separator, type);
        return column;
    }

    private sealed class Source(GlueTask task, EpochOrder order, int batchSize, int length) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            var chosen = new (int[], int[], int)[batchSize];
            for (int row = 0; row < batchSize; row++)
                chosen[row] = task.train[order.At(step * batchSize + row)];
            return task.Make(chosen, length);
        }
    }
}
