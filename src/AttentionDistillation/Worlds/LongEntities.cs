using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>Sizes of the world of long documents.</summary>
public sealed record LongEntityOptions
{
    /// <summary>Kinds of names; a document gives each kind a class.</summary>
    public int Kinds { get; init; } = 3;

    /// <summary>Classes of entities.</summary>
    public int Classes { get; init; } = 3;

    /// <summary>First names of each kind.</summary>
    public int Names { get; init; } = 6;

    /// <summary>Ordinary words.</summary>
    public int Words { get; init; } = 24;

    /// <summary>The share of places in the text at which an entity is mentioned.</summary>
    public double Mentions { get; init; } = 0.15;

    /// <summary>The share of long documents that declare one of the kinds in a section header in their middle instead of their opening.</summary>
    public double LateHeaders { get; init; } = 0.25;
}

/// <summary>
/// Named entities whose class is declared once. A name tells its kind (alpha, beta, gamma), and a document says, once, which class each kind is in this document; all mentions
/// of the document follow it. In a long document the declarations open it (a quarter of the documents declare one kind in a section header instead): whoever
/// sees only the words around a mention knows that it is an entity, and not which. In a short document a declaration stands right before each mention.
/// </summary>
/// <remarks>
/// A short document reads, tags after the slash, <c>&lt;s&gt; w3 beta=LOC w11 b4/B-LOC s2/I-LOC w7 alpha=PER a0/B-PER &lt;/s&gt;</c>; a long one
/// <c>&lt;s&gt; beta=LOC alpha=PER gamma=ORG w3 w11 b4/B-LOC s2/I-LOC w7 w20 ... a0/B-PER ... &lt;/s&gt;</c>. Surnames (s0, s1, ...) are inside an entity after a first name and
/// ordinary words elsewhere. Tags: 0 outside, 2c + 1 begins class c, 2c + 2 continues it. Documents fill three quarters of their length or more; the rest is
/// padding. Guessing a class is right in one of <see cref="LongEntityOptions.Classes"/> cases.
/// </remarks>
public sealed class LongEntities
{
    /// <summary>Begins a document.</summary>
    public const long Begin = 0;

    /// <summary>Padding.</summary>
    public const long Padding = 1;

    /// <summary>Ends a document.</summary>
    public const long End = 2;

    /// <summary>The mask token, which RoBERTa's vocabularies have; documents do not use it.</summary>
    public const long Mask = 3;

    /// <summary>The batch's tensor, int64 [B, L]: tokens between an entity's first token and the declaration of its kind; -1 elsewhere.</summary>
    public const string Distance = "distance";

    private const int FirstDeclaration = 4;
    private const int Surnames = 6;
    private const int MostSurnames = 2;

    /// <summary>The share of ordinary places that hold a surname as a word.</summary>
    private const double SurnameWords = 0.05;

    private static readonly string[] KindNames = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
    private static readonly string[] ClassWords = ["PER", "LOC", "ORG", "MISC", "EVT", "LAW"];

    private readonly LongEntityOptions options;

    /// <summary>Makes a world.</summary>
    /// <param name="options">Sizes; null for the defaults.</param>
    /// <exception cref="ArgumentException">A size is out of its range.</exception>
    public LongEntities(LongEntityOptions? options = null)
    {
        this.options = options ?? new LongEntityOptions();
        var given = this.options;
        if (given.Kinds < 1 || given.Kinds > KindNames.Length || given.Classes < 2 || given.Classes > ClassWords.Length)
            throw new ArgumentException(
                $"There can be 1 to {KindNames.Length} kinds and 2 to {ClassWords.Length} classes, but {given.Kinds} and {given.Classes} were asked for."
            );
        if (given.Names < 1 || given.Words < 1)
            throw new ArgumentException($"There must be names and words, but there are {given.Names} and {given.Words}.");
        if (!(given.Mentions is > 0 and < 1) || !(given.LateHeaders is >= 0 and <= 1))
            throw new ArgumentException(
                $"Mentions must lie between 0 and 1 and late headers from 0 to 1, but they are {given.Mentions} and {given.LateHeaders}."
            );
    }

    /// <summary>V.</summary>
    public int VocabularySize => FirstWord + options.Words;

    /// <summary>The tags' names: O, B-PER, I-PER, ...</summary>
    public IReadOnlyList<string> Tags =>
        ["O", .. ClassWords.Take(options.Classes).SelectMany(name => new[] { $"B-{name}", $"I-{name}" })];

    /// <summary>The first token of a document's body, after its begin token and a declaration of every kind.</summary>
    public int OpeningLength => 1 + options.Kinds;

    private int FirstName => FirstDeclaration + options.Kinds * options.Classes;

    private int FirstSurname => FirstName + options.Kinds * options.Names;

    private int FirstWord => FirstSurname + Surnames;

    /// <summary>Long documents: classes declared once.</summary>
    /// <param name="seed">The seed; different seeds are different documents.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L.</param>
    /// <exception cref="ArgumentException">The length leaves no room for text.</exception>
    public IBatchSource Long(long seed, int batchSize, int length) =>
        new Source(this, batchSize, length, Seeds.Derive(seed, "long entities"), isLong: true);

    /// <summary>Short documents: a declaration before every mention.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L.</param>
    /// <exception cref="ArgumentException">The length leaves no room for text.</exception>
    public IBatchSource Short(long seed, int batchSize, int length) =>
        new Source(this, batchSize, length, Seeds.Derive(seed, "short entities"), isLong: false);

    /// <summary>A mixture: of every <paramref name="period"/> steps the last is a batch of short documents, all others of long ones.</summary>
    /// <param name="longDocuments">Long documents.</param>
    /// <param name="shortDocuments">Short documents.</param>
    /// <param name="period">2 or more.</param>
    /// <exception cref="ArgumentException">The period is below 2.</exception>
    public static IBatchSource Mixture(IBatchSource longDocuments, IBatchSource shortDocuments, int period = 2)
    {
        ArgumentNullException.ThrowIfNull(longDocuments);
        ArgumentNullException.ThrowIfNull(shortDocuments);
        return period >= 2
            ? new Mixed(longDocuments, shortDocuments, period)
            : throw new ArgumentException($"A mixture's period must be 2 or more, but is {period}.", nameof(period));
    }

    /// <summary>Held-out documents, the same for every model.</summary>
    /// <param name="isLong">True for long documents.</param>
    /// <param name="batches">How many batches.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L.</param>
    public EvaluationSource HeldOut(bool isLong, int batches, int batchSize, int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batches, 1);
        var source = new Source(this, batchSize, length, Seeds.Derive(0, $"entities held out {isLong}"), isLong);
        return new EvaluationSource(batches, batches * batchSize, number => source.BatchAt(number));
    }

    /// <summary>A token in words.</summary>
    public string Word(long token)
    {
        int number = (int)token;
        return token switch
        {
            Begin => "<s>",
            Padding => "·",
            End => "</s>",
            Mask => "<mask>",
            _ when number < FirstName =>
                $"{KindNames[(number - FirstDeclaration) / options.Classes]}={ClassWords[(number - FirstDeclaration) % options.Classes]}",
            _ when number < FirstSurname =>
                $"{KindNames[(number - FirstName) / options.Names][0]}{(number - FirstName) % options.Names}",
            _ when number < FirstWord => $"s{number - FirstSurname}",
            _ => $"w{number - FirstWord}",
        };
    }

    /// <summary>A row of a batch for a reader, tags after slashes.</summary>
    /// <param name="batch">A batch of this world.</param>
    /// <param name="row">The row.</param>
    public string Read(Batch batch, int row)
    {
        ArgumentNullException.ThrowIfNull(batch);
        using var scope = NewDisposeScope();
        long[] tokens = [.. batch.InputIds[row].cpu().data<long>()],
            tags = [.. batch.Labels[row].cpu().data<long>()];
        return string.Join(
            " ",
            tokens
                .Zip(tags)
                .Where(pair => pair.First != Padding)
                .Select(pair => pair.Second > 0 ? $"{Word(pair.First)}/{Tags[(int)pair.Second]}" : Word(pair.First))
        );
    }

    private sealed class Document(int length)
    {
        private readonly Dictionary<int, int> declared = [];
        private readonly List<(int Place, int Kind)> mentions = [];

        public List<long> Tokens { get; } = [Begin];

        public List<long> Tags { get; } = [0];

        public void Add(long token, long tag = 0)
        {
            Tokens.Add(token);
            Tags.Add(tag);
        }

        public void Declare(int kind, long token)
        {
            declared[kind] = Tokens.Count;
            Add(token);
        }

        public void Mention(int kind) => mentions.Add((Tokens.Count, kind));

        // In short documents the latest declaration counts, which stands before the mention; in long ones the only one.
        public long[] Distances(bool isLong, IReadOnlyDictionary<int, int> latest)
        {
            long[] distances = [.. Enumerable.Repeat(-1L, length)];
            foreach (var (place, kind) in mentions)
                distances[place] = Math.Abs(place - (isLong ? declared[kind] : latest[place]));
            return distances;
        }
    }

    private (long[] Tokens, long[] Tags, long[] Distances) Make(SplitMix random, int length, bool isLong)
    {
        var document = new Document(length);
        int end = length - 1 - random.NextInt(Math.Max(1, length / 4)); // the place of the end token
        int[] classes = [.. Enumerable.Range(0, options.Kinds).Select(_ => random.NextInt(options.Classes))];
        long Declaration(int kind) => FirstDeclaration + kind * options.Classes + classes[kind];
        int lateKind = -1,
            latePlace = -1;
        var latest = new Dictionary<int, int>();
        if (isLong)
        {
            int[] order = [.. Enumerable.Range(0, options.Kinds)];
            random.Shuffle(order);
            if (random.NextDouble() < options.LateHeaders)
                (lateKind, latePlace) = (order[^1], OpeningLength + random.NextInt(Math.Max(1, end - OpeningLength - 1)));
            foreach (int kind in order)
                if (kind != lateKind)
                    document.Declare(kind, Declaration(kind));
        }
        while (document.Tokens.Count < end)
        {
            int room = end - document.Tokens.Count;
            if (lateKind >= 0 && document.Tokens.Count >= latePlace)
            {
                document.Declare(lateKind, Declaration(lateKind));
                lateKind = -1;
            }
            else if (random.NextDouble() < options.Mentions && room > 3)
            {
                int kind = random.NextInt(options.Kinds),
                    before = document.Tokens.Count;
                if (!isLong)
                {
                    // A short document may change its mind: the nearest declaration counts, so nothing can be read off another mention.
                    classes[kind] = random.NextInt(options.Classes);
                    document.Declare(kind, Declaration(kind));
                    if (random.NextInt(2) == 0 && room > 4)
                        document.Add(Ordinary(ref random));
                    latest[document.Tokens.Count] = before;
                }
                document.Mention(kind);
                document.Add(FirstName + kind * options.Names + random.NextInt(options.Names), 2 * classes[kind] + 1);
                int surnames = Math.Min(random.NextInt(MostSurnames + 1), end - document.Tokens.Count);
                for (int number = 0; number < surnames; number++)
                    document.Add(FirstSurname + random.NextInt(Surnames), 2 * classes[kind] + 2);
                // An ordinary word between an entity and what follows, so that a surname as a word is never taken for its end.
                if (document.Tokens.Count < end)
                    document.Add(FirstWord + random.NextInt(options.Words));
            }
            else
                document.Add(Ordinary(ref random));
        }
        if (lateKind >= 0)
            document.Declare(lateKind, Declaration(lateKind)); // the header came last: it takes the end token's place
        else
            document.Add(End);
        long[] Filled(List<long> values, long filling) => [.. values, .. Enumerable.Repeat(filling, length - values.Count)];
        return (Filled(document.Tokens, Padding), Filled(document.Tags, Batch.IgnoredLabel), document.Distances(isLong, latest));
    }

    private long Ordinary(ref SplitMix random) =>
        random.NextDouble() < SurnameWords ? FirstSurname + random.NextInt(Surnames) : FirstWord + random.NextInt(options.Words);

    private sealed class Source : IBatchSource
    {
        private readonly LongEntities world;
        private readonly int batchSize;
        private readonly int length;
        private readonly long seed;
        private readonly bool isLong;

        public Source(LongEntities world, int batchSize, int length, long seed, bool isLong)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
            int least = 2 * (world.OpeningLength + 4);
            if (length < least)
                throw new ArgumentException(
                    $"A document needs {least} tokens or more, but its length is {length}.",
                    nameof(length)
                );
            (this.world, this.batchSize, this.length, this.seed, this.isLong) = (world, batchSize, length, seed, isLong);
        }

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            var rows = Enumerable
                .Range(0, batchSize)
                .Select(number => world.Make(SplitMix.At(seed, step * batchSize + number), length, isLong))
                .ToArray();
            using var scope = NewDisposeScope();
            Tensor Stacked(Func<(long[] Tokens, long[] Tags, long[] Distances), long[]> part) =>
                tensor([.. rows.SelectMany(part)]).view(batchSize, length).MoveToOuterDisposeScope();
            var tokens = Stacked(row => row.Tokens);
            return new Batch(
                ("input_ids", tokens),
                ("attention_mask", tokens.ne(Padding).MoveToOuterDisposeScope()),
                ("labels", Stacked(row => row.Tags)),
                (Distance, Stacked(row => row.Distances))
            );
        }
    }

    private sealed class Mixed(IBatchSource longDocuments, IBatchSource shortDocuments, int period) : IBatchSource
    {
        public Batch BatchAt(long step) =>
            step % period == period - 1 ? shortDocuments.BatchAt(step / period) : longDocuments.BatchAt(step - step / period);
    }
}
