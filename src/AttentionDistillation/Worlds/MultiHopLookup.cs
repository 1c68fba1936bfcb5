using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>Sizes of the multi-hop world.</summary>
public sealed record MultiHopOptions
{
    /// <summary>Names there are.</summary>
    public int Names { get; init; } = 16;

    /// <summary>The fewest links of a text, at least 4 (so that one, two and three hops end at different names).</summary>
    public int FewestLinks { get; init; } = 5;

    /// <summary>The most links of a text, at most <see cref="Names"/>.</summary>
    public int MostLinks { get; init; } = 6;

    /// <summary>Statements of a text, each a fact that follows from the links.</summary>
    public int Statements { get; init; } = 3;

    /// <summary>The share of links that are asked for, too; one can be told from the others because the links of a text form a circle.</summary>
    public double AskedLinks { get; init; } = 0.05;
}

/// <summary>
/// Texts of links between names, a → b, and statements that follow from them in one or two hops. What a statement says can only be told by finding
/// its first name among the links and following them: attention has to look up, and for two hops to look up what it has looked up.
/// </summary>
/// <remarks>
/// A text of the links D→B, A→C, B→A, C→D and the statements "one hop from D: B", "two hops from D: A" reads, the answers masked,
/// <c>[CLS] D→B A→C B→A C→D [SEP] 1 D [MASK] 2 D [MASK] [SEP]</c>; a link is one token. The links of a text form one circle, in random order, over names
/// drawn anew, so no answer can be learned by heart; guessing among the names of a text is right in one of 5 to 6 cases. Texts have different numbers
/// of links, and the short ones are padded.
/// </remarks>
public sealed class MultiHopLookup
{
    /// <summary>Padding.</summary>
    public const long Padding = 0;

    /// <summary>The first token of every text.</summary>
    public const long Classify = 1;

    /// <summary>Ends the links, and the text.</summary>
    public const long Separator = 2;

    /// <summary>Stands for what is asked.</summary>
    public const long Mask = 3;

    private const int FirstHop = 4;
    private const int MostHops = 2;
    private const int FirstName = FirstHop + MostHops;

    private readonly MultiHopOptions options;

    /// <summary>Makes a world.</summary>
    /// <param name="options">Sizes; null for the defaults.</param>
    /// <exception cref="ArgumentException">A size is out of its range.</exception>
    public MultiHopLookup(MultiHopOptions? options = null)
    {
        this.options = options ?? new MultiHopOptions();
        var (fewest, most) = (this.options.FewestLinks, this.options.MostLinks);
        if (fewest < 4 || most < fewest || most > this.options.Names || this.options.Statements < 1)
            throw new ArgumentException(
                $"The links must be at least 4 and at most the {this.options.Names} names, with 1 statement or more, but are {fewest} to {most} with {this.options.Statements} statements."
            );
        if (!(this.options.AskedLinks is >= 0 and < 1))
            throw new ArgumentException($"AskedLinks must be a share from 0 to below 1, but is {this.options.AskedLinks}.");
    }

    /// <summary>V.</summary>
    public int VocabularySize => FirstLink + options.Names * options.Names;

    /// <summary>L, to which every row is padded.</summary>
    public int Length => 1 + options.MostLinks + 1 + 3 * options.Statements + 1;

    private int FirstLink => FirstName + options.Names;

    /// <summary>The classes of the query task: how many hops lie between the two names of a query.</summary>
    public IReadOnlyList<string> QueryClasses { get; } = ["1 hop", "2 hops", "3 hops"];

    /// <summary>Unlabelled text for masked-language modelling: answers are masked, labels hold what stood there.</summary>
    /// <param name="seed">The seed; different seeds are different texts.</param>
    /// <param name="batchSize">B.</param>
    public IBatchSource Text(long seed, int batchSize) =>
        new Source(batchSize, Seeds.Derive(seed, "multi-hop text"), random => Masked(random, null));

    /// <summary>Held-out text, the same for every model.</summary>
    /// <param name="batches">How many batches.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="hops">Only statements of so many hops, and no links, are asked for; null asks for all.</param>
    public EvaluationSource HeldOutText(int batches, int batchSize, int? hops = null)
    {
        if (hops is < 1 or > MostHops)
            throw new ArgumentException($"Statements have 1 to {MostHops} hops, not {hops}.", nameof(hops));
        return Fixed(batches, batchSize, $"multi-hop held out {hops}", random => Masked(random, hops));
    }

    /// <summary>The labelled task: links and a query of two names; the label is the number of hops from the first to the second, less one.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="batchSize">B.</param>
    public IBatchSource Queries(long seed, int batchSize) =>
        new Source(batchSize, Seeds.Derive(seed, "multi-hop queries"), Query);

    /// <summary>Held-out queries, the same for every model.</summary>
    /// <param name="batches">How many batches.</param>
    /// <param name="batchSize">B.</param>
    public EvaluationSource HeldOutQueries(int batches, int batchSize) =>
        Fixed(batches, batchSize, "multi-hop held-out queries", Query);

    /// <summary>A row of a batch for a reader: names are letters, masks show what is asked.</summary>
    /// <param name="batch">A batch of this world.</param>
    /// <param name="row">The row.</param>
    public string Read(Batch batch, int row)
    {
        ArgumentNullException.ThrowIfNull(batch);
        using var ids = batch.InputIds[row].cpu();
        using var labels = batch.Labels.dim() == 2 ? batch.Labels[row].cpu() : batch.Labels.cpu();
        long[] tokens = [.. ids.data<long>()],
            wanted = [.. labels.data<long>()];
        var words = tokens.Select((token, place) => token == Mask ? $"[{Word(wanted[place])}?]" : Word(token));
        string text = string.Join(" ", words.Where((_, place) => tokens[place] != Padding));
        return batch.Labels.dim() == 2 ? text : $"{text} : {QueryClasses[(int)wanted[row]]}";
    }

    /// <summary>The tokens of the vocabulary in words.</summary>
    public string Word(long token) =>
        token switch
        {
            Padding => "·",
            Classify => "[CLS]",
            Separator => "[SEP]",
            Mask => "[MASK]",
            < FirstName => $"{token - FirstHop + 1}",
            _ when token < FirstLink => NameOf((int)token - FirstName),
            _ => $"{NameOf((int)(token - FirstLink) / options.Names)}→{NameOf((int)(token - FirstLink) % options.Names)}",
        };

    private static string NameOf(int number) =>
        number < 26 ? $"{(char)('A' + number)}" : $"{(char)('A' + number % 26)}{number / 26}";

    // A circle of names; link i leads from its i-th name to the next.
    private int[] Circle(ref SplitMix random)
    {
        int[] names = [.. Enumerable.Range(0, options.Names)];
        random.Shuffle(names);
        return names[..(options.FewestLinks + random.NextInt(options.MostLinks - options.FewestLinks + 1))];
    }

    private long LinkToken(int[] circle, int link) =>
        FirstLink + circle[link] * options.Names + circle[(link + 1) % circle.Length];

    private static int[] Links(ref SplitMix random, int count)
    {
        int[] order = [.. Enumerable.Range(0, count)];
        random.Shuffle(order);
        return order;
    }

    private Row Masked(SplitMix random, int? onlyHops)
    {
        var row = new Row(Length);
        int[] circle = Circle(ref random);
        row.Add(Classify);
        foreach (int link in Links(ref random, circle.Length))
        {
            bool asked = random.NextDouble() < options.AskedLinks && onlyHops is null;
            row.Add(LinkToken(circle, link), asked);
        }
        row.Add(Separator);
        for (int statement = 0; statement < options.Statements; statement++)
        {
            int hops = 1 + random.NextInt(MostHops),
                start = random.NextInt(circle.Length);
            row.Add(FirstHop + hops - 1);
            row.Add(FirstName + circle[start]);
            // What is not asked for stays masked, so that it gives no hint.
            row.Add(FirstName + circle[(start + hops) % circle.Length], true, counts: onlyHops is null || onlyHops == hops);
        }
        row.Add(Separator);
        return row;
    }

    private Row Query(SplitMix random)
    {
        var row = new Row(Length);
        int[] circle = Circle(ref random);
        row.Add(Classify);
        foreach (int link in Links(ref random, circle.Length))
            row.Add(LinkToken(circle, link));
        row.Add(Separator);
        int hops = 1 + random.NextInt(QueryClasses.Count),
            start = random.NextInt(circle.Length);
        row.Add(FirstName + circle[start]);
        row.Add(FirstName + circle[(start + hops) % circle.Length]);
        row.Add(Separator);
        row.Class = hops - 1;
        return row;
    }

    private static EvaluationSource Fixed(int batches, int batchSize, string stream, Func<SplitMix, Row> make)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batches, 1);
        var source = new Source(batchSize, Seeds.Derive(0, stream), make);
        return new EvaluationSource(batches, batches * batchSize, batch => source.BatchAt(batch));
    }

    private sealed class Row(int length)
    {
        private int used;

        public long[] Tokens { get; } = new long[length];

        public long[] Labels { get; } = [.. Enumerable.Repeat(Batch.IgnoredLabel, length)];

        public int Used => used;

        public int? Class { get; set; }

        public void Add(long token, bool masked = false, bool counts = true)
        {
            Tokens[used] = masked ? Mask : token;
            if (masked && counts)
                Labels[used] = token;
            used++;
        }
    }

    private sealed class Source : IBatchSource
    {
        private readonly int batchSize;
        private readonly long seed;
        private readonly Func<SplitMix, Row> make;

        public Source(int batchSize, long seed, Func<SplitMix, Row> make)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
            (this.batchSize, this.seed, this.make) = (batchSize, seed, make);
        }

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            Row[] rows = [.. Enumerable.Range(0, batchSize).Select(number => make(SplitMix.At(seed, step * batchSize + number)))];
            int length = rows[0].Tokens.Length;
            long[] labels = rows[0].Class is null
                ? [.. rows.SelectMany(row => row.Labels)]
                : [.. rows.Select(row => (long)row.Class!.Value)];
            using var scope = NewDisposeScope();
            var asked = tensor(labels);
            return new Batch(
                ("input_ids", tensor([.. rows.SelectMany(row => row.Tokens)]).view(batchSize, length).MoveToOuterDisposeScope()),
                (
                    "attention_mask",
                    (
                        arange(length).unsqueeze(0) < tensor([.. rows.Select(row => (long)row.Used)]).unsqueeze(1)
                    ).MoveToOuterDisposeScope()
                ),
                ("labels", (rows[0].Class is null ? asked.view(batchSize, length) : asked).MoveToOuterDisposeScope())
            );
        }
    }
}
