using AttentionDistillation.Attention;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

/// <summary>Batches of near lengths: each example once a pass, little padding, the same rows and outputs as in batches of one length.</summary>
public sealed class BucketedBatchesTests
{
    private const int Longest = 100;

    // Many short and few long texts, as in real corpora; some longer than the longest row.
    private static int[] Lengths(int count = 333) =>
        [.. Enumerable.Range(0, count).Select(example => 3 + (int)(130 * Math.Pow((example * 37 % count) / (double)count, 3)))];

    [Theory]
    [InlineData(16, null, 8)]
    [InlineData(16, 512, 8)]
    [InlineData(1_000, 256, 16)]
    [InlineData(7, null, 1)]
    [InlineData(1, null, 64)]
    public void APassHoldsEveryExampleOnceInBatchesThatKeepTheLimits(int batchSize, int? tokens, int multiple)
    {
        int[] lengths = Lengths();
        var batches = Plan(lengths, 5, batchSize, new() { TokensPerBatch = tokens, Multiple = multiple });
        for (int pass = 0; pass < 3; pass++)
        {
            var all = Pass(batches, pass);
            Assert.Equal(Enumerable.Range(0, lengths.Length), all.SelectMany(batch => batch.Examples).Order());
            foreach (var (examples, length) in all)
            {
                int longest = examples.Max(example => Math.Min(lengths[example], Longest));
                Assert.Equal(Math.Min(Longest, (longest + multiple - 1) / multiple * multiple), length);
                Assert.InRange(examples.Length, 1, batchSize);
                Assert.True(tokens is null || examples.Length * length <= tokens);
            }
        }
    }

    [Fact]
    public void TheBatchOfAStepIsAPureFunctionAndPassesDiffer()
    {
        int[] lengths = Lengths();
        var batches = Plan(lengths, 5, 16);
        int count = batches.BatchesPerPass;
        long[] steps = [2 * count, 3, count + 1, 0, 3, 5L * count - 1];
        var forward = steps.Order().Distinct().ToDictionary(step => step, batches.ExamplesAt);
        foreach (long step in steps) // another instance, out of order: what a training does that goes on from a checkpoint
        {
            var (examples, length) = Plan(lengths, 5, 16).ExamplesAt(step);
            Assert.Equal(forward[step].Examples, examples);
            Assert.Equal(forward[step].Length, length);
        }
        Assert.NotEqual(LengthsOf(Pass(batches, 0)), LengthsOf(Pass(batches, 1))); // the order of batches
        Assert.NotEqual(Companions(batches, 0), Companions(batches, 1)); // who is with whom
        Assert.NotEqual(LengthsOf(Pass(batches, 0)), LengthsOf(Pass(Plan(lengths, 6, 16), 0))); // the seed
        Assert.NotEqual(LengthsOf(Pass(batches, 0)).Order(), LengthsOf(Pass(batches, 0))); // short ones do not come first

        static int[] LengthsOf((int[] Examples, int Length)[] pass) => [.. pass.Select(batch => batch.Length)];
        static IEnumerable<string> Companions(BucketedBatches batches, int pass) =>
            Pass(batches, pass).Select(batch => string.Join(' ', batch.Examples.Order())).Order(StringComparer.Ordinal);
    }

    [Fact]
    public void ThePaddingItTellsIsThePaddingThereIs()
    {
        var batches = Plan(Lengths(), 5, 16);
        double one = 1 - (double)Lengths().Sum(length => Math.Min(length, Longest)) / (333 * Longest);
        Assert.Equal(one, batches.PaddingShareOfOneLength, 12);
        Assert.Equal(batches.PaddingShare, PaddingShare.Of(batches, batches.BatchesPerPass), 12);
        Assert.Equal(
            batches.PaddingShare,
            PaddingShare.Of(new Shifted(batches, 7L * batches.BatchesPerPass), batches.BatchesPerPass),
            12
        );
        Assert.True(one > 0.5 && batches.PaddingShare < 0.2, batches.ToString());
        using var unmasked = new Batch(("input_ids", zeros(2, 3)));
        Assert.Equal(0.0, PaddingShare.Of(unmasked));
        // Examples of one length are padded by nothing but the multiple.
        Assert.Equal(1 - 11 / 16.0, Plan([.. Enumerable.Repeat(11, 50)], 1, 8).PaddingShare, 12);
    }

    [Fact]
    public void MistakesAreNamed()
    {
        Contains("no examples", () => Plan([], 1, 4));
        Contains("Example 1 has a length of 0", () => Plan([4, 0], 1, 4));
        Contains("longest example needs 24 tokens", () => Plan([4, 20], 1, 4, new() { TokensPerBatch = 23 }));
        Contains("Multiple must be 1 or more", () => new LengthBucketing { Multiple = 0 });
        Contains("TokensPerBatch must be 1 or more", () => new LengthBucketing { TokensPerBatch = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => Plan([4], 1, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Plan([4], 1, 1).BatchAt(-1));

        static void Contains(string part, Func<object> mistake) =>
            Assert.Contains(part, Assert.ThrowsAny<ArgumentException>(mistake).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ABertGivesEachExampleTheSameOutputsAsInPaddedBatches()
    {
        const int Count = 40,
            Length = 48;
        using var folder = new TemporaryFolder();
        var task = Pairs(folder, Count);
        using var model = new BertForSequenceClassification(
            new BertConfig
            {
                VocabularySize = 64,
                HiddenSize = 16,
                Layers = 2,
                Heads = 2,
                IntermediateSize = 32,
                MaximumPositions = Length,
                InitializerRange = 0.5, // outputs that depend on the words
                Labels = ["entailment", "neutral", "contradiction"],
            },
            3
        );
        model.eval();
        var padded = Outputs(model, task.Train(2, Count, Length), 1);
        var bucketing = new LengthBucketing { TokensPerBatch = 160 };
        var source = task.TrainBucketed(2, 8, Length, bucketing);
        var bucketed = Outputs(model, source, source.BatchesPerPass);
        Assert.Equal(Count, padded.Count);
        Assert.Equal(padded.Keys.Order(StringComparer.Ordinal), bucketed.Keys.Order(StringComparer.Ordinal));
        foreach (var (row, expected) in padded)
            for (int at = 0; at < expected.Length; at++)
                Assert.Equal(expected[at], bucketed[row][at], 1e-5f);
        Assert.True(padded.Values.Max(value => value[0]) - padded.Values.Min(value => value[0]) > 0.1); // it can fail
        Assert.True(source.PaddingShare < 0.6 * source.PaddingShareOfOneLength, source.ToString());
    }

    [Fact]
    public void MaskedTextsAreWholeWhateverTheRowsLength()
    {
        var random = new Random(4);
        ushort[][] texts =
        [
            .. Enumerable
                .Range(0, 60)
                .Select(text =>
                    (ushort[])
                        [
                            .. Enumerable
                                .Range(0, 1 + random.Next(40))
                                .Select(_ => (ushort)random.Next(WordPieceVocabulary.SpecialCount, 300)),
                        ]
                ),
        ];
        var source = MaskedLanguageSource.Bucketed(texts, 300, 9, 8, 32, null);
        var seen = new List<string>();
        bool masked = false;
        for (long step = 0; step < source.BatchesPerPass; step++)
        {
            using var batch = source.BatchAt(step);
            using var again = source.BatchAt(step);
            Assert.Equal(batch.InputIds.shape, batch.Labels.shape);
            Assert.Equal(batch.InputIds.data<long>().ToArray(), again.InputIds.data<long>().ToArray());
            for (long row = 0; row < batch.Size; row++)
            {
                long[] ids = [.. batch.InputIds[row].data<long>()],
                    labels = [.. batch.Labels[row].data<long>()];
                int length = (int)batch.Mask![row].sum().item<long>();
                masked |= ids.Contains(WordPieceVocabulary.Mask);
                Assert.Equal(WordPieceVocabulary.Classify, ids[0]);
                Assert.Equal(WordPieceVocabulary.Separator, ids[length - 1]);
                seen.Add(
                    string.Join(
                        ' ',
                        Enumerable.Range(1, length - 2).Select(at => labels[at] == Batch.IgnoredLabel ? ids[at] : labels[at])
                    )
                );
            }
        }
        Assert.True(masked);
        Assert.Equal(
            texts.Select(text => string.Join(' ', text.Take(30))).Order(StringComparer.Ordinal),
            seen.Order(StringComparer.Ordinal)
        );
    }

    private static BucketedBatches Plan(int[] lengths, long seed, int batchSize, LengthBucketing? bucketing = null) =>
        new(
            lengths,
            seed,
            batchSize,
            Longest,
            bucketing,
            (examples, length, _) =>
            {
                var rows = new Rows(examples.Length, length);
                for (int row = 0; row < examples.Length; row++)
                for (int column = 0; column < Math.Min(lengths[examples[row]], Longest); column++)
                    rows.Put(row, column, 1 + examples[row]);
                return rows.ToBatch([.. examples.Select(example => (long)example)]);
            }
        );

    private static (int[] Examples, int Length)[] Pass(BucketedBatches batches, int pass) =>
        [.. Enumerable.Range(pass * batches.BatchesPerPass, batches.BatchesPerPass).Select(step => batches.ExamplesAt(step))];

    // Logits by the row's real tokens.
    private static Dictionary<string, float[]> Outputs(BertForSequenceClassification model, IBatchSource source, long steps)
    {
        var outputs = new Dictionary<string, float[]>(StringComparer.Ordinal);
        using var guard = no_grad();
        for (long step = 0; step < steps; step++)
        {
            using var scope = NewDisposeScope();
            var batch = source.BatchAt(step);
            var trace = new ForwardTrace(TraceRequest.Nothing, model.Capabilities);
            model.Run(batch, trace);
            for (long row = 0; row < batch.Size; row++)
            {
                long length = batch.Mask![row].sum().item<long>();
                string words = string.Join(' ', batch.InputIds[row].narrow(0, 0, length).data<long>().ToArray());
                outputs.Add(words, [.. trace.Output[row].contiguous().data<float>()]);
            }
        }
        return outputs;
    }

    private static GlueTask Pairs(TemporaryFolder folder, int count)
    {
        string[] words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", .. Enumerable.Range(0, 59).Select(word => $"w{word}")];
        var tokens = SpecialTokens.OfBert(words, text => [.. text.Split(' ').Select(word => Array.IndexOf(words, word))]);
        var random = new Random(8);
        string Sentence(int longest) =>
            string.Join(' ', Enumerable.Range(0, 2 + random.Next(longest)).Select(_ => $"w{random.Next(59)}"));
        Directory.CreateDirectory(folder.At("MNLI"));
        foreach (string file in (string[])["train.tsv", "dev_matched.tsv"])
            File.WriteAllLines(
                Path.Combine(folder.At("MNLI"), file),
                [
                    "sentence1\tsentence2\tgold_label",
                    // Every fifth pair is long, and some are longer than a row.
                    .. Enumerable
                        .Range(0, count)
                        .Select(line => $"{Sentence(line % 5 == 0 ? 50 : 8)}\t{Sentence(line % 5 == 0 ? 20 : 6)}\tneutral"),
                ]
            );
        return GlueTask.Read(folder.Path, "MNLI", tokens);
    }

    private sealed class Shifted(IBatchSource source, long by) : IBatchSource
    {
        public Batch BatchAt(long step) => source.BatchAt(step + by);
    }
}

/// <summary>The same over the corpus's own tasks.</summary>
[Collection(CorpusCollection.Name)]
public sealed class BucketedTaskTests(CorpusFixture corpus)
{
    [Theory]
    [InlineData(DocTask.Kind)]
    [InlineData(DocTask.Pair)]
    public void BucketedRowsAreTheRowsOfTheTask(DocTask kind)
    {
        const int Examples = 300,
            Length = 40;
        var task = corpus.Docs.Task(kind);
        var bucketed = task.TrainBucketed(1, 32, Length, null, Examples);
        Assert.Equal(Rows(task.Train(1, Examples, Length, Examples), 1), Rows(bucketed, bucketed.BatchesPerPass));
        Assert.True(bucketed.PaddingShare < 0.5 * bucketed.PaddingShareOfOneLength, bucketed.ToString());
        Assert.Throws<ArgumentOutOfRangeException>(() => task.TrainBucketed(1, 32, 2));
    }

    // Real tokens, segments and label of every row, in one order.
    private static string[] Rows(IBatchSource source, int steps)
    {
        var rows = new List<string>();
        for (int step = 0; step < steps; step++)
        {
            using var batch = source.BatchAt(step);
            for (long row = 0; row < batch.Size; row++)
            {
                int length = (int)batch.Mask![row].sum().item<long>();
                rows.Add(
                    $"{string.Join(' ', batch.InputIds[row].data<long>().Take(length))} | "
                        + $"{string.Join(' ', batch.TokenTypeIds![row].data<long>().Take(length))} | {batch.Labels[row].item<long>()}"
                );
            }
        }
        return [.. rows.Order(StringComparer.Ordinal)];
    }
}
