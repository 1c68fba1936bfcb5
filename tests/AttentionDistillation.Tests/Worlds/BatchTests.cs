using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

[Collection(CorpusCollection.Name)]
public sealed class BatchTests
{
    private readonly CorpusFixture corpus;

    public BatchTests(CorpusFixture corpus)
    {
        this.corpus = corpus;
        TorchRuntime.EnsureLoaded();
    }

    [Theory]
    [InlineData(RowLayout.Packed)]
    [InlineData(RowLayout.OneText)]
    public void Masking_has_the_promised_shares(RowLayout layout)
    {
        var source = corpus.Docs.MaskedLanguage(seed: 3, batchSize: 64, length: 64, layout);
        double tokens = 0,
            asked = 0,
            masked = 0,
            kept = 0;
        for (long step = 0; step < 40; step++)
        {
            using var batch = source.BatchAt(step);
            long[] ids = [.. batch.InputIds.data<long>()];
            long[] labels = [.. batch.Labels.data<long>()];
            bool[] real = [.. batch.Mask!.data<bool>()];
            for (int at = 0; at < ids.Length; at++)
            {
                Assert.InRange(ids[at], 0, corpus.Docs.Vocabulary.Size - 1);
                Assert.Equal(real[at], ids[at] != WordPieceVocabulary.Padding);
                if (labels[at] == Batch.IgnoredLabel)
                {
                    tokens += ids[at] >= WordPieceVocabulary.SpecialCount ? 1 : 0;
                    continue;
                }
                Assert.True(labels[at] >= WordPieceVocabulary.SpecialCount);
                tokens++;
                asked++;
                masked += ids[at] == WordPieceVocabulary.Mask ? 1 : 0;
                kept += ids[at] == labels[at] ? 1 : 0;
            }
            if (layout == RowLayout.Packed)
                Assert.DoesNotContain(false, real);
        }
        // Five standard deviations of a binomial share.
        static void Near(double share, double expected, double of) =>
            Assert.True(Math.Abs(share - expected) < 5 * Math.Sqrt(expected * (1 - expected) / of), $"{share} is not {expected}");
        Near(asked / tokens, 0.15, tokens);
        Near(masked / asked, 0.8, asked);
        Near(kept / asked, 0.1 + (0.1 / corpus.Docs.Vocabulary.Size), asked);
    }

    [Fact]
    public void Batches_are_a_function_of_seed_and_step()
    {
        var first = corpus.Docs.MaskedLanguage(1, 8, 32);
        using var late = first.BatchAt(1000);
        using var again = corpus.Docs.MaskedLanguage(1, 8, 32).BatchAt(1000);
        using var other = corpus.Docs.MaskedLanguage(2, 8, 32).BatchAt(1000);
        foreach (string name in late.Names)
            Assert.True(late[name].Equals(again[name]));
        Assert.False(late.InputIds.Equals(other.InputIds));
    }

    [Fact]
    public void Evaluation_gives_every_example_once()
    {
        var task = corpus.Docs.Task(DocTask.Kind);
        var source = task.Test(batchSize: 50, length: 32);
        long rows = 0;
        foreach (var batch in source.All())
            using (batch)
                rows += batch.Size;
        Assert.Equal(task.ExampleCount(DocSplit.Test), rows);
        Assert.Throws<ArgumentOutOfRangeException>(() => source.BatchAt(source.Count));
    }

    [Fact]
    public void A_pair_has_two_segments_and_one_label()
    {
        using var batch = corpus.Docs.Task(DocTask.Pair).Train(1, 16, 40).BatchAt(7);
        Assert.Equal([16L], batch.Labels.shape);
        for (int row = 0; row < 16; row++)
        {
            long[] ids = [.. batch.InputIds[row].data<long>()];
            long[] types = [.. batch.TokenTypeIds![row].data<long>()];
            Assert.Equal(WordPieceVocabulary.Classify, ids[0]);
            Assert.Equal(2, ids.Count(id => id == WordPieceVocabulary.Separator));
            Assert.Equal(0, types[Array.IndexOf(ids, (long)WordPieceVocabulary.Separator)]);
            Assert.Equal(1, types[Array.LastIndexOf(ids, (long)WordPieceVocabulary.Separator)]);
        }
    }
}
