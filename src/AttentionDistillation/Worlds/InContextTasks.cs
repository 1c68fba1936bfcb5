using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>Sizes of the world of tasks told by demonstrations.</summary>
public sealed record InContextOptions
{
    /// <summary>Classes of symbols; a task's hidden table gives each a label.</summary>
    public int Classes { get; init; } = 8;

    /// <summary>Symbols of each class: which class a symbol belongs to is the same in all tasks.</summary>
    public int SymbolsPerClass { get; init; } = 2;

    /// <summary>Labels.</summary>
    public int Labels { get; init; } = 4;

    /// <summary>Symbols of a demonstration.</summary>
    public int Symbols { get; init; } = 3;

    /// <summary>The share of demonstrations with a negation, which moves the label half way round.</summary>
    public double Negations { get; init; }

    /// <summary>Whether the symbol that decides is another in every task; else it is the first.</summary>
    public bool HidesPosition { get; init; }
}

/// <summary>What is done to demonstrations to see what of them counts.</summary>
public enum DemonstrationChange
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Labels drawn at random.</summary>
    RandomLabels,

    /// <summary>Labels alone, the symbols left out.</summary>
    NoInputs,

    /// <summary>Symbols alone, the labels left out.</summary>
    NoLabels,
}

/// <summary>
/// Tasks that only demonstrations tell: each draws a hidden table from classes of symbols to labels, and a demonstration is a few symbols and the
/// label of the one that decides. Tables are drawn anew, so every test task is new and a model without demonstrations can but guess.
/// </summary>
/// <remarks>
/// With the table {class 0 → Y, class 1 → W, ...} and the first symbol deciding, the demonstrations <c>a0 c1 b0 Y · b1 a1 d0 W</c> say that a's are Y and
/// b's are W; the query <c>a1 d1 c0</c> is answered Y although a1 was never first before: symbols of a class (a0, a1) share their label. A query's
/// class is missing from K demonstrations in (1 - 1/classes)^K of the cases, 12 % for 8 classes and K = 16; there no reader can know.
/// </remarks>
public sealed class InContextTasks
{
    /// <summary>Padding, and the place of a negation that is not there.</summary>
    public const long Padding = 0;

    private const int Negation = 1;
    private const int FirstLabel = 2;

    private readonly InContextOptions options;
    private readonly int firstSymbol;

    /// <summary>Makes a world.</summary>
    /// <param name="options">Sizes; null for the defaults.</param>
    /// <exception cref="ArgumentException">A size is out of its range.</exception>
    public InContextTasks(InContextOptions? options = null)
    {
        this.options = options ??= new InContextOptions();
        if (options.Classes < 2 || options.SymbolsPerClass < 1 || options.Labels < 2 || options.Symbols < 1)
            throw new ArgumentException(
                $"There must be 2 classes and labels or more, and 1 symbol or more, but there are {options.Classes} classes of {options.SymbolsPerClass}, {options.Labels} labels and {options.Symbols} symbols."
            );
        if (!(options.Negations is >= 0 and < 1))
            throw new ArgumentException($"Negations must be a share from 0 to below 1, but is {options.Negations}.");
        firstSymbol = FirstLabel + options.Labels;
    }

    /// <summary>V.</summary>
    public int VocabularySize => firstSymbol + options.Classes * options.SymbolsPerClass;

    /// <summary>Tokens of a demonstration: its symbols, a place for a negation where there are any, and the label.</summary>
    public int DemonstrationLength => options.Symbols + (options.Negations > 0 ? 1 : 0) + 1;

    /// <summary>The labels' tokens.</summary>
    public IReadOnlyList<long> LabelTokens => [.. Enumerable.Range(FirstLabel, options.Labels).Select(label => (long)label)];

    /// <summary>The best accuracy of a reader of so many demonstrations: all but the queries whose class was not shown, which are guessed.</summary>
    /// <param name="demonstrations">K.</param>
    public double Ceiling(int demonstrations)
    {
        double unseen = Math.Pow(1.0 - 1.0 / options.Classes, demonstrations);
        return 1.0 - unseen * (1.0 - 1.0 / options.Labels);
    }

    /// <summary>
    /// Endless text for meta-training and for the first stage of distillation: demonstrations of one task one after another. <c>input_ids</c>
    /// int64 [B, L], <c>labels</c> int64 [B, L] the label that follows a place, else ignored.
    /// </summary>
    /// <param name="seed">The seed; different seeds are different tasks.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="demonstrations">K of a row.</param>
    public IBatchSource Text(long seed, int batchSize, int demonstrations)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(demonstrations, 1);
        return new TextSource(this, Seeds.Derive(seed, "in-context text"), batchSize, demonstrations);
    }

    /// <summary>
    /// Endless tasks: <c>demonstrations</c> int64 [B, Ld], <c>is_label</c> bool [B, Ld], and queries of the same task with their labels at the end,
    /// <c>input_ids</c> int64 [B queries, Lq], the queries of a task side by side.
    /// </summary>
    /// <param name="seed">The seed; different seeds are different tasks.</param>
    /// <param name="tasks">B, tasks of a batch.</param>
    /// <param name="demonstrations">K.</param>
    /// <param name="queries">Queries of each task.</param>
    /// <param name="change">What is done to the demonstrations.</param>
    public IBatchSource Tasks(
        long seed,
        int tasks,
        int demonstrations,
        int queries,
        DemonstrationChange change = DemonstrationChange.None
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tasks, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(demonstrations, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(queries, 1);
        // One stream whatever the change: changed demonstrations are those of the same tasks.
        return new TaskSource(this, Seeds.Derive(seed, "in-context tasks"), tasks, demonstrations, queries, change);
    }

    /// <summary>Tokens for a reader: demonstrations are set apart by dots.</summary>
    public string Read(IEnumerable<long> tokens) =>
        string.Concat(
                tokens
                    .Where(token => token != Padding)
                    .Select(token => token >= FirstLabel && token < firstSymbol ? $"{Word(token)} · " : $"{Word(token)} ")
            )
            .TrimEnd(' ', '·');

    /// <summary>A token in words: classes are letters, symbols numbered within them, labels capitals from the alphabet's end.</summary>
    public string Word(long token)
    {
        int number = (int)token;
        return number switch
        {
            (int)Padding => "_",
            Negation => "not",
            _ when number < firstSymbol => options.Labels <= 26
                ? $"{(char)('Z' - (options.Labels - 1) + (number - FirstLabel))}"
                : $"Y{number - FirstLabel}",
            _ => Symbol(number - firstSymbol),
        };
    }

    private string Symbol(int number)
    {
        int kind = number / options.SymbolsPerClass;
        return $"{(kind < 26 ? $"{(char)('a' + kind)}" : $"{(char)('a' + kind % 26)}{kind / 26}_")}{number % options.SymbolsPerClass}";
    }

    private (int[] Table, int Position) Task(ref SplitMix random)
    {
        int[] table = new int[options.Classes];
        for (int kind = 0; kind < table.Length; kind++)
            table[kind] = random.NextInt(options.Labels);
        return (table, options.HidesPosition ? random.NextInt(options.Symbols) : 0);
    }

    private void Demonstrate(ref SplitMix random, int[] table, int position, List<long> tokens)
    {
        int label = 0;
        for (int place = 0; place < options.Symbols; place++)
        {
            int symbol = random.NextInt(options.Classes * options.SymbolsPerClass);
            tokens.Add(firstSymbol + symbol);
            if (place == position)
                label = table[symbol / options.SymbolsPerClass];
        }
        if (options.Negations > 0)
        {
            bool isNegated = random.NextDouble() < options.Negations;
            tokens.Add(isNegated ? Negation : Padding);
            if (isNegated)
                label = (label + options.Labels / 2) % options.Labels;
        }
        tokens.Add(FirstLabel + label);
    }

    private bool IsLabel(long token) => token >= FirstLabel && token < firstSymbol;

    private sealed class TextSource(InContextTasks world, long seed, int batchSize, int demonstrations) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            long[] shape = [batchSize, demonstrations * world.DemonstrationLength];
            var ids = new List<long>();
            for (int row = 0; row < batchSize; row++)
            {
                var random = SplitMix.At(seed, step * batchSize + row);
                var (table, position) = world.Task(ref random);
                for (int demonstration = 0; demonstration < demonstrations; demonstration++)
                    world.Demonstrate(ref random, table, position, ids);
            }
            var labels = ids.Select(
                (_, place) => (place + 1) % shape[1] != 0 && world.IsLabel(ids[place + 1]) ? ids[place + 1] : Batch.IgnoredLabel
            );
            return new Batch(("input_ids", tensor([.. ids], shape)), ("labels", tensor([.. labels], shape)));
        }
    }

    private sealed class TaskSource(
        InContextTasks world,
        long seed,
        int tasks,
        int demonstrations,
        int queries,
        DemonstrationChange change
    ) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            var (shown, asked) = (new List<long>(), new List<long>());
            for (int row = 0; row < tasks; row++)
            {
                var random = SplitMix.At(seed, step * tasks + row);
                var (table, position) = world.Task(ref random);
                var own = new List<long>();
                for (int demonstration = 0; demonstration < demonstrations; demonstration++)
                    world.Demonstrate(ref random, table, position, own);
                for (int query = 0; query < queries; query++)
                    world.Demonstrate(ref random, table, position, asked);
                shown.AddRange(Changed(own, ref random));
            }
            return new Batch(
                ("demonstrations", tensor([.. shown], [tasks, shown.Count / tasks])),
                ("is_label", tensor([.. shown.Select(world.IsLabel)], [tasks, shown.Count / tasks])),
                ("input_ids", tensor([.. asked], [tasks * queries, world.DemonstrationLength]))
            );
        }

        private List<long> Changed(List<long> tokens, ref SplitMix random)
        {
            switch (change)
            {
                case DemonstrationChange.RandomLabels:
                    for (int place = 0; place < tokens.Count; place++)
                        if (world.IsLabel(tokens[place]))
                            tokens[place] = FirstLabel + random.NextInt(world.options.Labels);
                    return tokens;
                case DemonstrationChange.NoInputs:
                    return [.. tokens.Where(world.IsLabel)];
                case DemonstrationChange.NoLabels:
                    return [.. tokens.Where(token => !world.IsLabel(token))];
                default:
                    return tokens;
            }
        }
    }
}
