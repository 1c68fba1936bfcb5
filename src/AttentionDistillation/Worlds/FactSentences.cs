using AttentionDistillation.Runtime;

namespace AttentionDistillation.Worlds;

/// <summary>What a sentence of <see cref="FactSentences"/> says: six facts, each a concept's number.</summary>
/// <param name="Agent">Who acts.</param>
/// <param name="AgentQuality">What the agent is like.</param>
/// <param name="Action">What happens.</param>
/// <param name="Patient">To whom.</param>
/// <param name="PatientQuality">What the patient is like.</param>
/// <param name="Place">Where.</param>
public readonly record struct Scene(int Agent, int AgentQuality, int Action, int Patient, int PatientQuality, int Place)
{
    /// <summary>The number of facts.</summary>
    public const int FactCount = 6;

    /// <summary>The facts in order.</summary>
    public int[] Facts => [Agent, AgentQuality, Action, Patient, PatientQuality, Place];

    /// <summary>The share of equal facts, 0 to 1: the true similarity of two sentences.</summary>
    public double SimilarityTo(Scene other) =>
        Facts.Zip(other.Facts).Count(pair => pair.First == pair.Second) / (double)FactCount;
}

/// <summary>How hard a world of <see cref="FactSentences"/> is.</summary>
public sealed record FactSentencesOptions
{
    /// <summary>Share of pairs of <see cref="FactSentences.HardKind"/>.</summary>
    public double HardShare { get; init; } = 0.25;

    /// <summary>Share of sentences with an aside about a person who has no part in the scene.</summary>
    public double AsideShare { get; init; } = 0.25;

    /// <summary>Share of persons whose quality stands behind them ("the king that is rich").</summary>
    public double TrailingShare { get; init; }

    /// <summary>
    /// How much facts depend on each other: the share of qualities and actions that are among their person's habits, and of places among their action's. Without habits nothing but
    /// pairs could tell a language model that two words are synonyms.
    /// </summary>
    public double Habit { get; init; } = 0.8;

    /// <summary>Persons in use, 2 to 12.</summary>
    public int Persons { get; init; } = 10;

    /// <summary>Qualities, actions and places in use, 2 to 8 each.</summary>
    public int Others { get; init; } = 8;

    internal void Validate()
    {
        double[] shares = [HardShare, AsideShare, TrailingShare, Habit];
        if (shares.Any(share => share is not (>= 0 and <= 1)))
            throw new ArgumentException($"Shares must be from 0 to 1, but are {string.Join(", ", shares)}.");
        if (Persons is < 2 or > 12 || Others is < 2 or > 8)
            throw new ArgumentException(
                $"There can be 2 to 12 persons and 2 to 8 of the others, but {Persons} and {Others} are asked for."
            );
    }
}

/// <summary>
/// A small grammar over scenes, in which similarity is a matter of who did what to whom and not of which words occur. Two sentences of one scene may share few words
/// (synonyms, active or passive, the place in front or at the end), and two of different scenes may share all of them (<see cref="HardKind"/>: agent and patient, or their
/// qualities, change places).
/// </summary>
/// <example>
/// <code>
/// in the park the little doctor thanked the rich king                  1.00, one scene twice
/// the wealthy monarch was praised by the small physician in the garden
///
/// the little doctor thanked the rich king in the park                  0.67, agent and patient swapped
/// the small king thanked the wealthy doctor in the garden
/// </code>
/// </example>
/// <remarks>Everything is a function of the seed, the split's name and a number, so that splits never depend on their sizes.</remarks>
public sealed class FactSentences
{
    /// <summary>The kind of pairs whose facts were changed one by one.</summary>
    public const string PlainKind = "plain";

    /// <summary>The kind of pairs that tell the same facts or swap some: the words' concepts are the same on both sides.</summary>
    public const string HardKind = "hard";

    private static readonly string[][] Persons = Words(
        "doctor/physician king/monarch child/kid thief/robber teacher/instructor lawyer/attorney farmer/grower singer/vocalist guard/sentry writer/author sailor/mariner baker/cook"
    );
    private static readonly string[][] Qualities = Words(
        "small/little big/large rich/wealthy sad/unhappy glad/happy brave/bold quick/fast old/aged"
    );
    private static readonly string[][] Actions = Words(
        "helped/aided watched/observed chased/pursued pushed/shoved thanked/praised blamed/accused greeted/welcomed tricked/fooled"
    );
    private static readonly string[][] Places = Words(
        "park/garden shop/store house/home street/road forest/wood ship/boat office/bureau school/academy"
    );
    private static readonly string[] Function = ["the", "that", "is", "was", "by", "in", "said", "unlike"];
    private static readonly string[] Special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"];

    // A person's habitual qualities and actions, an action's habitual places.
    private const int Habits = 2;

    private readonly long seed;
    private readonly Dictionary<string, long> numbers;
    private readonly string[][] persons;
    private readonly string[][] qualities;
    private readonly string[][] actions;
    private readonly string[][] places;

    /// <summary>The longest sentence with its special tokens: place 3, two persons 5 each, "was ... by" 3, aside 3, [CLS] and [SEP].</summary>
    public const int LongestSentence = 21;

    /// <summary>Makes a world.</summary>
    /// <param name="seed">Everything random follows from it.</param>
    /// <param name="options">How hard it is; null means the defaults.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public FactSentences(long seed, FactSentencesOptions? options = null)
    {
        (this.seed, Options) = (seed, options ?? new());
        Options.Validate();
        (persons, qualities) = (Persons[..Options.Persons], Qualities[..Options.Others]);
        (actions, places) = (Actions[..Options.Others], Places[..Options.Others]);
        Tokens =
        [
            .. Special,
            .. Function,
            .. ((string[][][])[persons, qualities, actions, places]).SelectMany(list => list).SelectMany(words => words),
        ];
        numbers = Tokens.Index().ToDictionary(item => item.Item, item => (long)item.Index, StringComparer.Ordinal);
        Layout = new(
            Classify: numbers["[CLS]"],
            Separator: numbers["[SEP]"],
            Mask: numbers["[MASK]"],
            Padding: numbers["[PAD]"],
            SpecialCount: Special.Length,
            VocabularySize: Tokens.Count
        );
    }

    /// <summary>How hard the world is.</summary>
    public FactSentencesOptions Options { get; }

    /// <summary>The vocabulary; a token's number is its place.</summary>
    public IReadOnlyList<string> Tokens { get; }

    /// <summary>Special tokens, for <see cref="SentencePairs"/>.</summary>
    public SentenceLayout Layout { get; }

    /// <summary>Pairs of a split; their scores are true similarities.</summary>
    /// <param name="split">A name, for example <c>train</c>: other names give other pairs.</param>
    /// <param name="count">How many.</param>
    public IReadOnlyList<SentencePair> Pairs(string split, int count)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(split);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        long stream = Seeds.Derive(seed, "pairs " + split);
        return [.. Enumerable.Range(0, count).Select(number => Pair(SplitMix.At(stream, number)))];
    }

    /// <summary>A sentence in words.</summary>
    public string Text(IReadOnlyList<long> sentence) => string.Join(' ', sentence.Select(token => Tokens[(int)token]));

    /// <summary>Token numbers of words of the vocabulary.</summary>
    /// <exception cref="ArgumentException">A word is not in the vocabulary.</exception>
    public long[] Encode(string text) =>
        [
            .. text.Split(' ', StringSplitOptions.RemoveEmptyEntries)
                .Select(word =>
                    numbers.TryGetValue(word, out long number)
                        ? number
                        : throw new ArgumentException(
                            $"'{word}' is not in the vocabulary. There are: {string.Join(' ', Tokens)}."
                        )
                ),
        ];

    private SentencePair Pair(SplitMix random)
    {
        int agent = random.NextInt(persons.Length),
            patient = Other(agent, persons.Length, ref random),
            action = Habitual("action", agent, actions.Length, ref random),
            quality = Habitual("quality", agent, qualities.Length, ref random),
            patientQuality = Habitual("quality", patient, qualities.Length, ref random);
        // Two different persons and qualities, so that a swap changes both facts.
        if (patientQuality == quality)
            patientQuality = Other(quality, qualities.Length, ref random);
        var scene = new Scene(
            agent,
            quality,
            action,
            patient,
            patientQuality,
            Habitual("place", action, places.Length, ref random)
        );
        bool hard = random.NextDouble() < Options.HardShare;
        var second = hard ? Swap(scene, random.NextInt(4)) : Change(scene, random.NextInt(Scene.FactCount + 1), ref random);
        return new(Write(scene, ref random), Write(second, ref random), scene.SimilarityTo(second), hard ? HardKind : PlainKind);
    }

    // One of the few values that go with a concept, or any.
    private int Habitual(string kind, int concept, int size, ref SplitMix random)
    {
        bool habit = random.NextDouble() < Options.Habit;
        int which = random.NextInt(Habits),
            any = random.NextInt(size);
        return habit ? SplitMix.At(Seeds.Derive(seed, kind), (concept * Habits) + which).NextInt(size) : any;
    }

    private static Scene Swap(Scene scene, int which) =>
        scene with
        {
            Agent = which is 1 or 3 ? scene.Patient : scene.Agent,
            Patient = which is 1 or 3 ? scene.Agent : scene.Patient,
            AgentQuality = which is 2 or 3 ? scene.PatientQuality : scene.AgentQuality,
            PatientQuality = which is 2 or 3 ? scene.AgentQuality : scene.PatientQuality,
        };

    private Scene Change(Scene scene, int count, ref SplitMix random)
    {
        int[] slots = [.. Enumerable.Range(0, Scene.FactCount)];
        random.Shuffle(slots);
        int[] facts = scene.Facts;
        int[] sizes = [persons.Length, qualities.Length, actions.Length, persons.Length, qualities.Length, places.Length];
        foreach (int slot in slots.Take(count))
            facts[slot] = Other(facts[slot], sizes[slot], ref random);
        return new(facts[0], facts[1], facts[2], facts[3], facts[4], facts[5]);
    }

    private static int Other(int value, int size, ref SplitMix random) => (value + 1 + random.NextInt(size - 1)) % size;

    private long[] Write(Scene scene, ref SplitMix random)
    {
        var words = new List<string>();
        string[] place = ["in", "the", Word(places[scene.Place], ref random)];
        bool placeFirst = random.NextInt(2) == 0;
        string[] agent = Person(scene.Agent, scene.AgentQuality, ref random),
            patient = Person(scene.Patient, scene.PatientQuality, ref random);
        string action = Word(actions[scene.Action], ref random);
        if (placeFirst)
            words.AddRange(place);
        if (random.NextInt(2) == 0)
            words.AddRange([.. agent, action, .. patient]);
        else
            words.AddRange([.. patient, "was", action, "by", .. agent]);
        if (!placeFirst)
            words.AddRange(place);
        if (random.NextDouble() < Options.AsideShare)
        {
            string person = Word(persons[random.NextInt(persons.Length)], ref random);
            words.AddRange([random.NextInt(2) == 0 ? "said" : "unlike", "the", person]);
        }
        return [.. words.Select(word => numbers[word])];
    }

    private string[] Person(int person, int quality, ref SplitMix random)
    {
        string who = Word(persons[person], ref random),
            how = Word(qualities[quality], ref random);
        return random.NextDouble() < Options.TrailingShare ? ["the", who, "that", "is", how] : ["the", how, who];
    }

    private static string Word(string[] synonyms, ref SplitMix random) => synonyms[random.NextInt(synonyms.Length)];

    private static string[][] Words(string text) => [.. text.Split(' ').Select(words => words.Split('/'))];
}
