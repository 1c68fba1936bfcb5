using System.Globalization;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>Sizes of <see cref="CrossLingualFacts"/>.</summary>
public sealed record CrossLingualFactsOptions
{
    /// <summary>Languages.</summary>
    public int Languages { get; init; } = 6;

    /// <summary>Subjects of facts.</summary>
    public int Subjects { get; init; } = 16;

    /// <summary>Relations.</summary>
    public int Relations { get; init; } = 8;

    /// <summary>Words of objects; a relation takes its objects from a part of them.</summary>
    public int ObjectWords { get; init; } = 48;

    /// <summary>Object words of one relation.</summary>
    public int ObjectWordsPerRelation { get; init; } = 12;

    /// <summary>Facts of a context, at least 2.</summary>
    public int Facts { get; init; } = 4;

    /// <summary>The most words of an object.</summary>
    public int LongestObject { get; init; } = 4;

    /// <summary>Filler words of a language, which mean nothing.</summary>
    public int Fillers { get; init; } = 4;

    internal void Validate()
    {
        int least = new[] { Languages, Subjects, Relations, ObjectWords, ObjectWordsPerRelation, LongestObject, Fillers }.Min();
        if (least < 1 || Facts < 2 || Subjects < 2 || Relations < 2 || ObjectWordsPerRelation > ObjectWords)
            throw new ArgumentException(
                $"Sizes must be at least 1 (2 for facts, subjects and relations), and a relation's object words no more than there are, but are {this}."
            );
    }
}

/// <summary>A fact by its concepts.</summary>
/// <param name="Subject">The subject's number.</param>
/// <param name="Relation">The relation's number.</param>
/// <param name="Object">The object's words, by number.</param>
public sealed record Fact(int Subject, int Relation, IReadOnlyList<int> Object);

/// <summary>A context of facts and which of them is asked for, in no language yet.</summary>
/// <param name="Number">The question's number in its split.</param>
/// <param name="Facts">The context.</param>
/// <param name="Asked">The place of the fact asked for.</param>
public sealed record FactQuestion(int Number, IReadOnlyList<Fact> Facts, int Asked);

/// <summary>
/// Questions about facts in several languages. A language has a word of its own for every concept, an order of subject, relation and object, and a habit of
/// filler words; what is said is the same in all. The context holds facts with the same subject and facts with the same relation as the one asked for, so that
/// neither word alone finds the answer.
/// </summary>
/// <example>
/// <code>
/// question in language 0:   s3 r1                       (what is r1 of s3?)
/// context in language 2:    o17' o4' s3' r1' . s3' ...  (object first, words of its own, fillers)
/// answer:                   o17' o4'
/// </code>
/// </example>
/// <remarks>Everything is a function of the seed, the split's name and a number.</remarks>
public sealed class CrossLingualFacts
{
    private static readonly string[] Special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"];

    // The six orders of subject (0), relation (1) and object (2), common ones first.
    private static readonly int[][] Orders =
    [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [2, 1, 0],
        [1, 2, 0],
        [2, 0, 1],
    ];

    // Chance of a filler before a word, by language in turn.
    private static readonly double[] FillerRates = [0.0, 0.1, 0.05, 0.15, 0.1, 0.05];

    private const int SpecialTokens = 3; // [CLS] question [SEP] context [SEP]
    private const int QuestionWords = 2;
    private const int FillersOfFact = 1; // at most

    private readonly long seed;
    private readonly int[][] words;
    private readonly int[][] objectsOfRelation;

    /// <summary>Makes a world.</summary>
    /// <param name="seed">Everything random follows from it.</param>
    /// <param name="options">Sizes; null means the defaults.</param>
    /// <exception cref="ArgumentException">A size is out of its range.</exception>
    public CrossLingualFacts(long seed, CrossLingualFactsOptions? options = null)
    {
        (this.seed, Options) = (seed, options ?? new());
        Options.Validate();
        var names = new List<string>(Special);
        words = new int[Options.Languages][];
        for (int language = 0; language < Options.Languages; language++)
        {
            int first = names.Count;
            names.AddRange(Concepts().Select(concept => string.Create(CultureInfo.InvariantCulture, $"{concept}·{language}")));
            // A token's number must not give its meaning away, so each language shuffles its own.
            int[] places = [.. Enumerable.Range(0, names.Count - first)];
            var random = SplitMix.At(Seeds.Derive(seed, "words"), language);
            random.Shuffle(places);
            string[] ordered = [.. names.Skip(first)];
            for (int concept = 0; concept < places.Length; concept++)
                names[first + places[concept]] = ordered[concept];
            words[language] = [.. places.Select(place => first + place)];
        }
        Tokens = names;
        Layout = new(Classify: 1, Separator: 2, Mask: 3, Padding: 0, SpecialCount: Special.Length, VocabularySize: names.Count);
        objectsOfRelation =
        [
            .. Enumerable
                .Range(0, Options.Relations)
                .Select(relation =>
                {
                    int[] all = [.. Enumerable.Range(0, Options.ObjectWords)];
                    var random = SplitMix.At(Seeds.Derive(seed, "objects"), relation);
                    random.Shuffle(all);
                    return all[..Options.ObjectWordsPerRelation];
                }),
        ];
    }

    /// <summary>Sizes.</summary>
    public CrossLingualFactsOptions Options { get; }

    /// <summary>The vocabulary of all languages: <c>s3·0</c> is subject 3 in language 0; also relations r, object words o, fillers f and a full stop.</summary>
    public IReadOnlyList<string> Tokens { get; }

    /// <summary>Special tokens.</summary>
    public SentenceLayout Layout { get; }

    /// <summary>The most tokens of a row: what L should be.</summary>
    public int LongestRow => SpecialTokens + QuestionWords + (Options.Facts * (2 + Options.LongestObject + FillersOfFact + 1));

    /// <summary>A question of a split.</summary>
    public FactQuestion Question(string split, int number)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(split);
        ArgumentOutOfRangeException.ThrowIfNegative(number);
        var random = SplitMix.At(Seeds.Derive(seed, "question " + split), number);
        var facts = new List<Fact>();
        int subject = random.NextInt(Options.Subjects),
            relation = random.NextInt(Options.Relations);
        facts.Add(Say(subject, relation, ref random));
        // In turn: the same subject, the same relation, anything; no (subject, relation) twice.
        while (facts.Count < Options.Facts)
        {
            int kind = facts.Count % 3;
            int otherSubject = kind == 1 ? subject : random.NextInt(Options.Subjects),
                otherRelation = kind == 2 ? relation : random.NextInt(Options.Relations);
            if (facts.All(fact => fact.Subject != otherSubject || fact.Relation != otherRelation))
                facts.Add(Say(otherSubject, otherRelation, ref random));
        }
        int[] order = [.. Enumerable.Range(0, facts.Count)];
        random.Shuffle(order);
        return new(number, [.. order.Select(place => facts[place])], Array.IndexOf(order, 0));
    }

    /// <summary>A question put in one language about a context in another.</summary>
    /// <param name="question">The question.</param>
    /// <param name="questionLanguage">From 0.</param>
    /// <param name="contextLanguage">From 0.</param>
    /// <param name="answered">The fact marked as the answer; null for the right one. Another one makes a corrupted example.</param>
    /// <exception cref="ArgumentOutOfRangeException">No such language or fact.</exception>
    public QuestionRow Row(FactQuestion question, int questionLanguage, int contextLanguage, int? answered = null)
    {
        ArgumentNullException.ThrowIfNull(question);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)questionLanguage, (uint)Options.Languages);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)contextLanguage, (uint)Options.Languages);
        int marked = answered ?? question.Asked;
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)marked, (uint)question.Facts.Count);
        var asked = question.Facts[question.Asked];
        var order = Orders[questionLanguage % Orders.Length];
        long[] ask =
        [
            .. order
                .Where(part => part < 2)
                .Select(part =>
                    part == 0 ? Subject(questionLanguage, asked.Subject) : Relation(questionLanguage, asked.Relation)
                ),
        ];
        var (context, spans) = Write(question, contextLanguage);
        return new(ask, context, spans[marked].Start, spans[marked].End, questionLanguage, contextLanguage, question.Number);
    }

    /// <summary>Questions in given pairs of languages.</summary>
    /// <param name="split">The split.</param>
    /// <param name="numbers">The questions' numbers.</param>
    /// <param name="pairs">(question language, context language), all for every question.</param>
    public IReadOnlyList<QuestionRow> Rows(
        string split,
        IEnumerable<int> numbers,
        IReadOnlyList<(int Question, int Context)> pairs
    ) =>
        [
            .. numbers.SelectMany(number =>
            {
                var question = Question(split, number);
                return pairs.Select(pair => Row(question, pair.Question, pair.Context));
            }),
        ];

    /// <summary>Endless new questions with question and context in one language, for the start model.</summary>
    public IBatchSource SameLanguage(long seed, int language, int batchSize, int length) =>
        new Stream(step =>
            new QuestionRows(
                Rows(
                    string.Create(CultureInfo.InvariantCulture, $"start {seed}"),
                    Enumerable.Range((int)(step * batchSize), batchSize),
                    [(language, language)]
                ),
                Layout,
                length
            ).Make([.. Enumerable.Range(0, batchSize)])
        );

    /// <summary>
    /// Masked-language-model batches: two texts in one row, with <c>labels</c> [B, L]. In <paramref name="parallelShare"/> of the rows they say the same in two languages (as in
    /// translation language modelling, Conneau and Lample 2019, section 3.3), in the others different things in one language.
    /// </summary>
    /// <param name="seed">Seed of order and masks.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L; a half that does not fit is cut.</param>
    /// <param name="parallelShare">0 to 1.</param>
    /// <param name="facts">Facts of each text; with one, the words that say the same are easy to find.</param>
    /// <exception cref="ArgumentException">The share is outside 0 to 1, or there are more facts than a context has.</exception>
    public IBatchSource MaskedLanguage(long seed, int batchSize, int length, double parallelShare, int facts = 1)
    {
        if (facts < 1 || facts > Options.Facts)
            throw new ArgumentException($"A text has 1 to {Options.Facts} facts, but {facts} are asked for.", nameof(facts));
        if (parallelShare is not (>= 0 and <= 1))
            throw new ArgumentException($"The share must be from 0 to 1, but is {parallelShare}.", nameof(parallelShare));
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        long stream = Seeds.Derive(seed, "masked language");
        string split = string.Create(CultureInfo.InvariantCulture, $"text {seed}");
        return new Stream(step =>
        {
            var random = SplitMix.At(stream, step);
            var rows = new RowSet(batchSize, length, Layout.Padding);
            for (int row = 0; row < batchSize; row++)
            {
                int number = (int)(((step * batchSize) + row) % (int.MaxValue / 2));
                bool parallel = random.NextDouble() < parallelShare;
                int language = random.NextInt(Options.Languages),
                    other = parallel && Options.Languages > 1
                        ? (language + 1 + random.NextInt(Options.Languages - 1)) % Options.Languages
                        : language;
                long[] left = Begin(Question(split, number), language, facts),
                    right = Begin(Question(split, parallel ? number : number + (int.MaxValue / 2)), other, facts);
                int column = rows.Put(row, [Layout.Classify, .. left, Layout.Separator], 0);
                int room = Math.Max(0, length - column - 1);
                rows.Put(row, [.. right.AsSpan(0, Math.Min(room, right.Length)), Layout.Separator], column, segment: 1);
            }
            return rows.ToBatch(rows.Hide(Layout, random));
        });
    }

    /// <summary>Token numbers in words.</summary>
    public string Text(IEnumerable<long> tokens) => string.Join(' ', tokens.Select(token => Tokens[(int)token]));

    private long[] Begin(FactQuestion question, int language, int facts) =>
        Write(question with { Facts = [.. question.Facts.Take(facts)] }, language).Context;

    private Fact Say(int subject, int relation, ref SplitMix random)
    {
        int count = 1 + random.NextInt(Options.LongestObject);
        var choice = objectsOfRelation[relation];
        var phrase = new int[count];
        for (int at = 0; at < count; at++)
            phrase[at] = choice[random.NextInt(choice.Length)];
        return new(subject, relation, phrase);
    }

    private (long[] Context, (int Start, int End)[] Spans) Write(FactQuestion question, int language)
    {
        // Fillers depend on the question and the language alone: a context reads the same whatever is asked in.
        var random = SplitMix.At(Seeds.Derive(seed, "fillers"), (question.Number * (long)Options.Languages) + language);
        double rate = FillerRates[language % FillerRates.Length];
        var context = new List<long>();
        var spans = new List<(int, int)>();
        foreach (var fact in question.Facts)
        {
            int fillers = 0;
            foreach (int part in Orders[language % Orders.Length])
            {
                if (random.NextDouble() < rate && fillers++ < FillersOfFact)
                    context.Add(words[language][FirstFiller + random.NextInt(Options.Fillers)]);
                int from = context.Count;
                switch (part)
                {
                    case 0:
                        context.Add(Subject(language, fact.Subject));
                        break;
                    case 1:
                        context.Add(Relation(language, fact.Relation));
                        break;
                    default:
                        context.AddRange(fact.Object.Select(word => (long)words[language][FirstObject + word]));
                        spans.Add((from, context.Count - 1));
                        break;
                }
            }
            context.Add(words[language][FullStop]);
        }
        return ([.. context], [.. spans]);
    }

    private int FirstObject => Options.Subjects + Options.Relations;

    private int FirstFiller => FirstObject + Options.ObjectWords;

    private int FullStop => FirstFiller + Options.Fillers;

    private long Subject(int language, int number) => words[language][number];

    private long Relation(int language, int number) => words[language][Options.Subjects + number];

    private IEnumerable<string> Concepts() =>
        Named("s", Options.Subjects)
            .Concat(Named("r", Options.Relations))
            .Concat(Named("o", Options.ObjectWords))
            .Concat(Named("f", Options.Fillers))
            .Append(".");

    private static IEnumerable<string> Named(string kind, int count) =>
        Enumerable.Range(0, count).Select(number => string.Create(CultureInfo.InvariantCulture, $"{kind}{number}"));

    private sealed class Stream(Func<long, Batch> make) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            return make(step);
        }
    }
}
