namespace AttentionDistillation.Worlds.Driving;

/// <summary>Words and sentences of <see cref="StreetScenes"/>: who of two crossing agents yields is said here and nowhere else.</summary>
public static class SceneCaptions
{
    /// <summary>Tokens of a caption, padding included.</summary>
    public const int Length = 12;

    /// <summary>The number of the padding word.</summary>
    public const int Padding = 0;

    /// <summary>Names of the agents' classes.</summary>
    public static IReadOnlyList<string> ClassNames { get; } = ["pedestrian", "cyclist", "car", "van"];

    /// <summary>Names of the agents' colours.</summary>
    public static IReadOnlyList<string> ColourNames { get; } = ["red", "green", "blue", "yellow", "white", "purple"];

    /// <summary>All words; a word's place is its token. "{0}" and "{1}" of a sentence stand for a colour and a class.</summary>
    public static IReadOnlyList<string> Words { get; } =
    [
        "<pad>",
        .. ClassNames,
        .. ColourNames,
        "the",
        "a",
        "give",
        "way",
        "to",
        "let",
        "pass",
        "first",
        "does",
        "not",
        "stop",
        "stops",
        "waits",
        "for",
        "you",
        "lets",
        "is",
        "coming",
        "watch",
        "out",
        "ahead",
        "slows",
        "down",
        "road",
        "at",
        "crossing",
        "here",
        "now",
        "and",
    ];

    // The agent named is the one that matters.
    private static readonly string[] Going =
    [
        "give way to the {0} {1}",
        "let the {0} {1} pass first",
        "the {0} {1} does not stop",
        "watch out for the {0} {1} ahead",
    ];

    // The agent named yields; the other one matters.
    private static readonly string[] Yielding =
    [
        "the {0} {1} stops",
        "the {0} {1} waits for you",
        "the {0} {1} lets you pass first",
        "the {0} {1} slows down and stops",
    ];

    private static readonly Dictionary<string, int> Numbers = Words.Select((word, number) => (word, number)).ToDictionary();

    /// <summary>How many sentences there are for either kind.</summary>
    public static int Forms => Going.Length;

    /// <summary>Tokens of a sentence's words.</summary>
    /// <param name="text">Words of <see cref="Words"/>, separated by blanks.</param>
    /// <exception cref="ArgumentException">A word is not in the vocabulary; the message names it.</exception>
    public static int[] Tokens(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return
        [
            .. text.Split(' ', StringSplitOptions.RemoveEmptyEntries)
                .Select(word =>
                    Numbers.TryGetValue(word, out int number) && number != Padding
                        ? number
                        : throw new ArgumentException(
                            $"'{word}' is no word of street captions. See SceneCaptions.Words for the {Words.Count - 1} there are.",
                            nameof(text)
                        )
                ),
        ];
    }

    /// <summary>Words of tokens, padding left out.</summary>
    public static string Read(IEnumerable<long> tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        return string.Join(' ', tokens.Where(token => token != Padding).Select(token => Words[(int)token]));
    }

    /// <summary>The token of a class, the same as its place among the words.</summary>
    internal static int ClassToken(int kind) => 1 + kind;

    /// <summary>The token of a colour.</summary>
    internal static int ColourToken(int colour) => 1 + ClassNames.Count + colour;

    /// <summary>A teacher's sentence that names an agent.</summary>
    internal static int[] Sentence(bool yields, int form, int colour, int kind) =>
        Tokens(string.Format(null, (yields ? Yielding : Going)[form], ColourNames[colour], ClassNames[kind]));

    /// <summary>A student's version: every word is dropped or exchanged for any word, each with half of the chance.</summary>
    internal static int[] Noisy(int[] sentence, double chance, ref SplitMix random)
    {
        var heard = new List<int>();
        foreach (int word in sentence)
        {
            double draw = random.NextDouble();
            int other = 1 + random.NextInt(Words.Count - 1);
            if (draw >= chance)
                heard.Add(word);
            else if (draw >= chance / 2)
                heard.Add(other);
        }
        return [.. heard];
    }
}
