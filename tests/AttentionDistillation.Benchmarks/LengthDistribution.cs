using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using AttentionDistillation.Worlds;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// Texts of random tokens whose lengths are log-normal, as those of sentences and paragraphs are to a good approximation, cut at the longest length.
/// </summary>
/// <param name="Name">What it is like.</param>
/// <param name="Median">The median length in tokens.</param>
/// <param name="Spread">Standard deviation of the logarithm.</param>
/// <param name="Longest">L, where texts are cut.</param>
/// <param name="BatchSize">B at one length; B x L is the budget of all forms.</param>
internal sealed record LengthDistribution(string Name, double Median, double Spread, int Longest, int BatchSize)
{
    private const int Shortest = 4;

    /// <summary>Sentence pairs of classification tasks, and paragraphs of an encyclopedia.</summary>
    internal static LengthDistribution[] OnDevice { get; } =
    [new("sentences", 32, 0.5, 128, 256), new("paragraphs", 110, 0.8, 512, 64)];

    /// <summary>Only to see that it runs.</summary>
    internal static LengthDistribution[] OnCpu { get; } = [new("sentences", 8, 0.5, 32, 8)];

    /// <summary>How batches are made of the texts.</summary>
    internal static string[] Forms { get; } = ["padded", "cut", "bucketed"];

    internal int[] Draw(int count)
    {
        var random = SplitMix.At(Seeds.Derive(1, Name), 0);
        int[] lengths = new int[count];
        for (int text = 0; text < count; text++)
            lengths[text] = (int)Math.Clamp(Median * Math.Exp(Spread * random.NextNormals().First), Shortest, Longest);
        return lengths;
    }

    /// <summary>The batches of a form: at one length; of texts in random order, cut to the longest of each batch; of texts of near lengths.</summary>
    internal IBatchSource Batches(string form, int[] lengths, long vocabulary)
    {
        if (form == "bucketed")
        {
            var budget = new LengthBucketing { TokensPerBatch = BatchSize * Longest };
            // As many short texts as the budget holds.
            return new BucketedBatches(lengths, 2, int.MaxValue, Longest, budget, (texts, length, _) => Make(texts, length));
        }
        return new RandomOrder(this, lengths, form == "cut", Make);

        Batch Make(int[] texts, int length)
        {
            var rows = new Rows(texts.Length, length);
            for (int row = 0; row < texts.Length; row++)
            {
                var random = SplitMix.At(3, texts[row]);
                for (int column = 0; column < lengths[texts[row]]; column++)
                    rows.Put(row, column, 1 + random.NextInt((int)vocabulary - 1));
            }
            return rows.ToBatch(new long[texts.Length]);
        }
    }

    private sealed class RandomOrder(LengthDistribution of, int[] lengths, bool cut, Func<int[], int, Batch> make) : IBatchSource
    {
        private readonly EpochOrder order = new(lengths.Length, 2);

        public Batch BatchAt(long step)
        {
            int[] texts = [.. Enumerable.Range(0, of.BatchSize).Select(row => order.At((step * of.BatchSize) + row))];
            int longest = texts.Max(text => lengths[text]);
            const int Multiple = LengthBucketing.DefaultMultiple;
            return make(texts, cut ? Math.Min(of.Longest, (longest + Multiple - 1) / Multiple * Multiple) : of.Longest);
        }
    }
}
