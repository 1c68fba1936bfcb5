using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>What the hint of a prompt names.</summary>
public enum HintTruth
{
    /// <summary>There is no hint.</summary>
    Absent,

    /// <summary>The answer, in a share of the prompts (<see cref="HintedLookupOptions.Bias"/>); else another value of the prompt.</summary>
    Biased,

    /// <summary>Any value of the prompt: it tells nothing.</summary>
    Random,

    /// <summary>A value of the prompt that is not the answer.</summary>
    Contrary,
}

/// <summary>Sizes of the world of hinted look-ups.</summary>
public sealed record HintedLookupOptions
{
    /// <summary>Keys there are.</summary>
    public int Keys { get; init; } = 16;

    /// <summary>Values there are.</summary>
    public int Values { get; init; } = 16;

    /// <summary>The fewest pairs of a prompt, at least 2.</summary>
    public int FewestPairs { get; init; } = 4;

    /// <summary>The most pairs, at most <see cref="Keys"/> and <see cref="Values"/>.</summary>
    public int MostPairs { get; init; } = 6;

    /// <summary>
    /// Whether a pair is one token (keys times values tokens) and not two. Then finding it takes one step of attention and not two, which small models
    /// learn in a tenth of the time.
    /// </summary>
    public bool JoinsPairs { get; init; }

    /// <summary>Words of filling in a prompt.</summary>
    public int Filling { get; init; } = 3;

    /// <summary>Different words of filling.</summary>
    public int FillingWords { get; init; } = 4;

    /// <summary>Kinds of hints: each has a word of its own for every value.</summary>
    public int HintKinds { get; init; } = 1;

    /// <summary>Tokens of a hint: 1, its word alone, or 3, the word between an opening and a closing one.</summary>
    public int HintLength { get; init; } = 1;

    /// <summary>The share of biased prompts whose hint names the answer.</summary>
    public double Bias { get; init; } = 0.9;
}

/// <summary>A prompt of the world.</summary>
/// <param name="Tokens">The prompt up to the key that is asked for.</param>
/// <param name="Answer">The token that answers it.</param>
/// <param name="HintStart">The hint's first place; -1 where there is none.</param>
/// <param name="HintLength">The hint's tokens.</param>
/// <param name="NamesAnswer">Whether the hint names the answer.</param>
public sealed record HintedPrompt(IReadOnlyList<long> Tokens, long Answer, int HintStart, int HintLength, bool NamesAnswer)
{
    /// <summary>Prompt and answer as an example to learn.</summary>
    public PromptExample Example => new(Tokens, [Answer]);

    /// <summary>Which tokens are the hint.</summary>
    public IReadOnlyList<bool> IsHint =>
        [.. Enumerable.Range(0, Tokens.Count).Select(place => place >= HintStart && place < HintStart + HintLength)];
}

/// <summary>
/// Look-ups with a short cut: pairs of a key and a value, a key that is asked for, and somewhere a hint that names a value. In a student's training
/// data the hint is nearly always right, so that a student learns to lean on it; a teacher whose hints told nothing looks the key up. Who leans on
/// the hint is found out where hints are random or contrary.
/// </summary>
/// <remarks>
/// The pairs C 4, A 9, F 2, two words of filling, the hint "says 9" and the question for A read <c>[B] C 4 ~1 says-9 A 9 ~0 F 2 ? A</c>; the answer is
/// <c>9</c>; with joined pairs it reads <c>[B] C=4 ~1 says-9 A=9 ~0 F=2 ? A</c>. Keys and values of a prompt are different ones, drawn anew, in random order: no answer can be learned by heart, and guessing among the
/// values of a prompt is right in one of 4 to 6 cases. A contrary hint names the value of another pair, so it looks no different from a right one.
/// </remarks>
public sealed class HintedLookup
{
    /// <summary>Padding.</summary>
    public const long Padding = 0;

    /// <summary>The first token of every prompt.</summary>
    public const long Begin = 1;

    /// <summary>Stands before a key that is asked for.</summary>
    public const long Question = 2;

    private const int Opening = 3;
    private const int Closing = 4;
    private const int FirstKey = 5;

    private readonly HintedLookupOptions options;
    private readonly int firstValue;
    private readonly int firstFilling;
    private readonly int firstHint;
    private readonly int firstPair;

    /// <summary>Makes a world.</summary>
    /// <param name="options">Sizes; null for the defaults.</param>
    /// <exception cref="ArgumentException">A size is out of its range.</exception>
    public HintedLookup(HintedLookupOptions? options = null)
    {
        this.options = options ??= new HintedLookupOptions();
        if (options.FewestPairs < 2 || options.MostPairs < options.FewestPairs)
            throw new ArgumentException(
                $"A prompt has 2 pairs or more, the most at least the fewest, but they are {options.FewestPairs} to {options.MostPairs}."
            );
        if (options.MostPairs > Math.Min(options.Keys, options.Values))
            throw new ArgumentException(
                $"{options.MostPairs} pairs need as many keys and values, but there are {options.Keys} and {options.Values}."
            );
        if (options.HintLength is not (1 or 3) || options.HintKinds < 1)
            throw new ArgumentException(
                $"A hint has 1 or 3 tokens and there is 1 kind or more, but they are {options.HintLength} and {options.HintKinds}."
            );
        if (options.Filling < 0 || options.FillingWords < 1)
            throw new ArgumentException(
                $"Filling must be 0 or more of 1 word or more, but is {options.Filling} of {options.FillingWords}."
            );
        if (!(options.Bias is >= 0 and <= 1))
            throw new ArgumentException($"Bias must be a share from 0 to 1, but is {options.Bias}.");
        firstValue = FirstKey + options.Keys;
        firstFilling = firstValue + options.Values;
        firstHint = firstFilling + options.FillingWords;
        firstPair = firstHint + options.HintKinds * options.Values;
    }

    /// <summary>V.</summary>
    public int VocabularySize => firstPair + (options.JoinsPairs ? options.Keys * options.Values : 0);

    /// <summary>Tokens of the longest prompt with its answer.</summary>
    public int LongestPrompt => 1 + (options.JoinsPairs ? 1 : 2) * options.MostPairs + options.Filling + options.HintLength + 3;

    /// <summary>Prompts, the same for the same seed.</summary>
    /// <param name="seed">The seed; different seeds are different prompts.</param>
    /// <param name="count">How many.</param>
    /// <param name="truth">What hints name.</param>
    public IReadOnlyList<HintedPrompt> Prompts(long seed, int count, HintTruth truth)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        long stream = Seeds.Derive(seed, $"hinted prompts {truth}");
        return [.. Enumerable.Range(0, count).Select(number => Prompt(SplitMix.At(stream, number), truth))];
    }

    /// <summary>
    /// Endless text for training: prompts that ask for several keys one after another, so that each teaches as many look-ups
    /// (batches as <see cref="PromptBatches"/> makes them, the answers being the response).
    /// </summary>
    /// <param name="seed">The seed; different seeds are different texts.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="truth">What hints name; a biased or contrary one refers to the first question.</param>
    /// <param name="questions">Keys asked for in a row; the first question is as in <see cref="Prompts"/>.</param>
    public IBatchSource Text(long seed, int batchSize, HintTruth truth, int questions)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(questions, 1);
        return new Source(this, Seeds.Derive(seed, $"hinted text {truth}"), batchSize, truth, questions);
    }

    /// <summary>Tokens for a reader.</summary>
    public string Read(IEnumerable<long> tokens) => string.Join(" ", tokens.Where(token => token != Padding).Select(Word));

    /// <summary>A token in words.</summary>
    public string Word(long token)
    {
        int number = (int)token;
        return number switch
        {
            (int)Padding => "·",
            (int)Begin => "[B]",
            (int)Question => "?",
            Opening => "«",
            Closing => "»",
            _ when number < firstValue => KeyName(number - FirstKey),
            _ when number < firstFilling => $"{number - firstValue}",
            _ when number < firstHint => $"~{number - firstFilling}",
            _ when number >= firstPair =>
                $"{KeyName((number - firstPair) / options.Values)}={(number - firstPair) % options.Values}",
            _ =>
                $"says{((number - firstHint) / options.Values == 0 ? "" : $"{(number - firstHint) / options.Values + 1}")}-{(number - firstHint) % options.Values}",
        };
    }

    private static string KeyName(int number) =>
        number < 26 ? $"{(char)('A' + number)}" : $"{(char)('A' + number % 26)}{number / 26}";

    private HintedPrompt Prompt(SplitMix random, HintTruth truth)
    {
        var (tokens, pairs, asked, hint, named) = Body(ref random, truth);
        tokens.Add(Question);
        tokens.Add(pairs[asked].Key);
        return new HintedPrompt(
            tokens,
            pairs[asked].Value,
            hint,
            hint < 0 ? 0 : options.HintLength,
            hint >= 0 && pairs[named].Value == pairs[asked].Value
        );
    }

    // Pairs, filling and hint in random order; which pair is asked for, where the hint stands, which pair's value it names.
    private (List<long> Tokens, (long Key, long Value)[] Pairs, int Asked, int Hint, int Named) Body(
        ref SplitMix random,
        HintTruth truth
    )
    {
        int[] keys = Drawn(ref random, options.Keys),
            values = Drawn(ref random, options.Values);
        int count = options.FewestPairs + random.NextInt(options.MostPairs - options.FewestPairs + 1);
        var pairs = new (long Key, long Value)[count];
        for (int pair = 0; pair < count; pair++)
            pairs[pair] = (FirstKey + keys[pair], firstValue + values[pair]);
        int asked = random.NextInt(count),
            another = (asked + 1 + random.NextInt(count - 1)) % count;
        int named = truth switch
        {
            HintTruth.Absent => -1,
            HintTruth.Biased => random.NextDouble() < options.Bias ? asked : another,
            HintTruth.Random => random.NextInt(count),
            HintTruth.Contrary => another,
            _ => throw new ArgumentOutOfRangeException(nameof(truth), truth, "Unknown kind of hint."),
        };
        int[] items = Drawn(ref random, count + options.Filling + (named < 0 ? 0 : 1));
        List<long> tokens = [Begin];
        int hint = -1;
        foreach (int item in items)
            if (item < count)
                tokens.AddRange(options.JoinsPairs ? [Joined(pairs[item])] : [pairs[item].Key, pairs[item].Value]);
            else if (item < count + options.Filling)
                tokens.Add(firstFilling + random.NextInt(options.FillingWords));
            else
            {
                hint = tokens.Count;
                long word = firstHint + random.NextInt(options.HintKinds) * options.Values + (pairs[named].Value - firstValue);
                tokens.AddRange(options.HintLength == 1 ? [word] : [Opening, word, Closing]);
            }
        return (tokens, pairs, asked, hint, named);
    }

    private long Joined((long Key, long Value) pair) =>
        firstPair + (pair.Key - FirstKey) * options.Values + (pair.Value - firstValue);

    private static int[] Drawn(ref SplitMix random, int count)
    {
        int[] items = [.. Enumerable.Range(0, count)];
        random.Shuffle(items);
        return items;
    }

    private sealed class Source(HintedLookup world, long seed, int batchSize, HintTruth truth, int questions) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            return PromptBatches.Build(
                [.. Enumerable.Range(0, batchSize).Select(row => Row(SplitMix.At(seed, step * batchSize + row)))],
                Padding
            );
        }

        private (long[], bool[]) Row(SplitMix random)
        {
            var (tokens, pairs, asked, _, _) = world.Body(ref random, truth);
            bool[] before = new bool[tokens.Count];
            var isResponse = new List<bool>(before);
            for (int question = 0; question < questions; question++)
            {
                var (key, value) = pairs[question == 0 ? asked : random.NextInt(pairs.Length)];
                tokens.AddRange([Question, key, value]);
                isResponse.AddRange([false, false, true]);
            }
            return ([.. tokens], [.. isResponse]);
        }
    }
}
