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

/// <summary>
/// A small grammar over scenes, in which similarity is a matter of who did what to whom and not of which words occur. Two sentences of one scene may share few words
/// (synonyms, active or passive, qualities before or behind, the place in front or at the end), and two of different scenes may share all of them
/// (<see cref="HardKind"/>: agent and patient, or their qualities, change places). An aside names a person who has no part in the scene.
/// </summary>
/// <example>
/// <code>
/// in the park the little doctor thanked the king that is rich          similarity 1.00
/// the wealthy monarch was praised by the physician that is small in the garden
///
/// the little doctor thanked the rich king in the park                  similarity 0.67, hard
/// the rich king thanked the ... : agent and patient swapped, qualities stay with their roles
/// </code>
/// </example>
/// <remarks>Everything is a function of the seed and a number, so that splits never depend on their sizes.</remarks>
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
        "helped/aided watched/observed chased/pursued pushed/shoved thanked/praised blamed/accused greeted/welcomed tricked/fooled trained/coached followed/trailed"
    );
    private static readonly string[][] Places = Words(
        "park/garden shop/store house/home street/road forest/wood ship/boat office/bureau school/academy"
    );
    private static readonly string[] Function = ["the", "that", "is", "was", "by", "in", "said", "unlike"];
    private static readonly string[] Special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"];

    private readonly long seed;
    private readonly Dictionary<string, long> numbers;

    /// <summary>The longest sentence with its special tokens: place 3, two persons 5 each, "was ... by" 3, aside 3, [CLS] and [SEP].</summary>
    public const int LongestSentence = 21;

    /// <summary>Makes a world.</summary>
    /// <param name="seed">Everything random follows from it.</param>
    /// <param name="hardShare">Share of pairs of <see cref="HardKind"/>, 0 to 1.</param>
    /// <param name="asideShare">Share of sentences with an aside, 0 to 1.</param>
    /// <exception cref="ArgumentException">A share is outside 0 to 1.</exception>
    public FactSentences(long seed, double hardShare = 0.25, double asideShare = 0.5)
    {
        if (hardShare is not (>= 0 and <= 1) || asideShare is not (>= 0 and <= 1))
            throw new ArgumentException(
                $"Shares must be from 0 to 1, but are {hardShare} (hard pairs) and {asideShare} (asides)."
            );
        (this.seed, HardShare, AsideShare) = (seed, hardShare, asideShare);
        Tokens =
        [
            .. Special,
            .. Function,
            .. ((string[][][])[Persons, Qualities, Actions, Places]).SelectMany(list => list).SelectMany(words => words),
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

    /// <summary>Share of hard pairs.</summary>
    public double HardShare { get; }

    /// <summary>Share of sentences with an aside.</summary>
    public double AsideShare { get; }

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
        var scene = new Scene(
            random.NextInt(Persons.Length),
            random.NextInt(Qualities.Length),
            random.NextInt(Actions.Length),
            0,
            0,
            random.NextInt(Places.Length)
        );
        // Two different persons and qualities, so that a swap changes both facts.
        scene = scene with
        {
            Patient = Other(scene.Agent, Persons.Length, ref random),
            PatientQuality = Other(scene.AgentQuality, Qualities.Length, ref random),
        };
        bool hard = random.NextDouble() < HardShare;
        var second = hard ? Swap(scene, random.NextInt(4)) : Change(scene, random.NextInt(Scene.FactCount + 1), ref random);
        return new(Write(scene, ref random), Write(second, ref random), scene.SimilarityTo(second), hard ? HardKind : PlainKind);
    }

    private static Scene Swap(Scene scene, int which) =>
        scene with
        {
            Agent = which is 1 or 3 ? scene.Patient : scene.Agent,
            Patient = which is 1 or 3 ? scene.Agent : scene.Patient,
            AgentQuality = which is 2 or 3 ? scene.PatientQuality : scene.AgentQuality,
            PatientQuality = which is 2 or 3 ? scene.AgentQuality : scene.PatientQuality,
        };

    private static Scene Change(Scene scene, int count, ref SplitMix random)
    {
        int[] slots = [.. Enumerable.Range(0, Scene.FactCount)];
        random.Shuffle(slots);
        int[] facts = scene.Facts;
        int[] sizes = [Persons.Length, Qualities.Length, Actions.Length, Persons.Length, Qualities.Length, Places.Length];
        foreach (int slot in slots.Take(count))
            facts[slot] = Other(facts[slot], sizes[slot], ref random);
        return new(facts[0], facts[1], facts[2], facts[3], facts[4], facts[5]);
    }

    private static int Other(int value, int size, ref SplitMix random) => (value + 1 + random.NextInt(size - 1)) % size;

    private long[] Write(Scene scene, ref SplitMix random)
    {
        var words = new List<string>();
        string[] place = ["in", "the", Word(Places[scene.Place], ref random)];
        bool placeFirst = random.NextInt(2) == 0;
        string[] agent = Person(scene.Agent, scene.AgentQuality, ref random),
            patient = Person(scene.Patient, scene.PatientQuality, ref random);
        string action = Word(Actions[scene.Action], ref random);
        if (placeFirst)
            words.AddRange(place);
        if (random.NextInt(2) == 0)
            words.AddRange([.. agent, action, .. patient]);
        else
            words.AddRange([.. patient, "was", action, "by", .. agent]);
        if (!placeFirst)
            words.AddRange(place);
        if (random.NextDouble() < AsideShare)
        {
            string person = Word(Persons[random.NextInt(Persons.Length)], ref random);
            words.AddRange([random.NextInt(2) == 0 ? "said" : "unlike", "the", person]);
        }
        return [.. words.Select(word => numbers[word])];
    }

    private static string[] Person(int person, int quality, ref SplitMix random)
    {
        string who = Word(Persons[person], ref random),
            how = Word(Qualities[quality], ref random);
        return random.NextInt(2) == 0 ? ["the", how, who] : ["the", who, "that", "is", how];
    }

    private static string Word(string[] synonyms, ref SplitMix random) => synonyms[random.NextInt(synonyms.Length)];

    private static string[][] Words(string text) => [.. text.Split(' ').Select(words => words.Split('/'))];
}
